# make            lists what can be made
# PYTHON=...      the Python to build the environment with (3.10 or newer)
# VENV=...        where the environment lives; VENV=none uses the Python that is active (conda, Binder, a class server)
# ARGS=...        passed on, for instance: make tutorial ARGS="--profile full"    make lab ARGS="--no-browser --port 8900"
# JOBS=...        processes for `make test`, notebooks at a time for `make tutorial`

# An activated conda environment is used as it is, unless it is conda's own `base`.
ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
VENV ?= none
endif
VENV ?= .venv
ARGS ?=
JOBS ?= 2

ifeq ($(VENV),none)
PYTHON ?= python
RUN := $(PYTHON)
READY := active
else
PYTHON ?= python3
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed
endif

.PHONY: help tutorial results notebooks test browser lab lint clean active

help:
	@echo "make tutorial   execute every notebook (quick profile, minutes on a CPU); pages land in data/tutorial/"
	@echo "make test       run the tests"
	@echo "make lab        open JupyterLab on the course (elsewhere: ARGS=\"--no-browser --port 8900\"; as root: ARGS=--allow-root)"
	@echo "make results    renew the tables and pictures in README and docs/ from the records in data/results"
	@echo "make notebooks  execute the committed notebooks again, in place"
	@echo "make browser    drive two notebooks in a headless browser (needs Chromium or Chrome)"
	@echo "make lint       check the style of code and notebooks"
	@echo "make clean      remove the environment, executed notebooks and caches; downloads and trained runs stay"
	@echo "The environment ($(VENV)) is made when first needed. Another Python: PYTHON=python3.12; the active one: VENV=none"

tutorial: $(READY)
	@echo "Executing the notebooks, $(JOBS) at a time ..."
	@$(RUN) -m dcd_utils.notebooks --jobs $(JOBS) $(ARGS)

results: $(READY)
	@echo "Renewing tables and pictures from data/results ..."
	@$(RUN) -m dcd_utils report data/results --into README.md docs/results.md docs/speed.md
	@$(RUN) -m dcd_utils report data/results/shapes --plot docs/results.png > /dev/null
	@$(RUN) -m dcd_utils report data/results/benchmark --plot docs/speed.png > /dev/null

notebooks: $(READY)
	@echo "Executing the committed notebooks in place ..."
	@$(RUN) -m dcd_utils.notebooks --in-place $(ARGS)

# One thread a process: small networks gain more from a second process than from a second thread.
test: $(READY)
	@echo "Running the tests in $(JOBS) processes ..."
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) --durations 5 $(ARGS)

browser: $(READY)
	@echo "Running two notebooks in JupyterLab, in a headless browser ..."
	@$(RUN) -m pytest -m browser -rs tests/browser $(ARGS)

lab: $(READY)
	@echo "Opening JupyterLab; stop it with Ctrl-C ..."
	@JUPYTER_PREFER_ENV_PATH=1 $(RUN) -m jupyterlab --ServerApp.root_dir=notebooks $(ARGS)

lint: $(READY)
	@echo "Checking style ..."
	@$(RUN) -m ruff check --output-format concise .

clean:
	@echo "Removing .venv, data/tutorial and caches ..."
	@rm -rf .venv data/tutorial build dist *.egg-info .pytest_cache .ruff_cache
	@find dcd_utils tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# Python 2 and old 3 must reach these messages too, so they are plain.
$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON): install Python 3.10 or newer, or name one: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 10))" || \
	  { echo "$$("$(PYTHON)" --version 2>&1) is too old: the course needs 3.10 or newer. Name one: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c "import venv, ensurepip" 2>/dev/null || \
	  { echo "$(PYTHON) cannot make environments: install its venv package (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	@echo "Making the environment $(VENV) with $$("$(PYTHON)" --version): some minutes, up to 6 GB with PyTorch's CUDA libraries ..."
	@"$(PYTHON)" -m venv "$(VENV)"
	@"$(RUN)" -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e ".[notebooks,test]"
	@touch $@
	@echo "Installed."

# From another folder, as a notebook's kernel would: the checkout itself is importable only if installed.
active:
	@cd data && $(RUN) -c "import dcd_utils, papermill, pytest" 2>/dev/null || \
	  { echo "The active Python lacks the course: run $(RUN) -m pip install -c constraints.txt -e '.[notebooks,test]'"; exit 1; }
