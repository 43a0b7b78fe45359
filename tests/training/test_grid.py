import json
from pathlib import Path

import pytest

from dcd_utils import training
from dcd_utils.__main__ import main
from dcd_utils.training import api

FAST = training.Recipe(epochs=1, batch_size=16, schedule="one_cycle", milestones=(), precision="fp32")
PAIR = [("resnet14", "resnet8")]


def test_grid_writes_a_log_a_run_and_goes_on_where_it_stopped(tiny_sets, tmp_path, monkeypatch):
    training.reproduce(PAIR, ["alone"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    trained = []
    monkeypatch.setattr(api, "fit", lambda *arguments, original=api.fit: trained.append(1) or original(*arguments))
    training.reproduce(PAIR, ["alone", "dcd+kd"], [0, 1], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    assert len(trained) == 3, "teacher and first student were there already"
    table = training.read_results(tmp_path / "logs")
    assert sorted(zip(table.method, table.seed, strict=True)) == [
        ("alone", 0), ("alone", 1), ("dcd+kd", 0), ("dcd+kd", 1), ("teacher", 0),
    ]  # fmt: skip
    text = training.report(tmp_path / "logs")
    assert "| student alone (resnet8) |" in text and "| DCD+KD |" in text and "| 2 |" in text
    log = json.loads((tmp_path / "logs" / "resnet14-resnet8-dcd+kd-seed1.json").read_text())
    assert (
        log["config"]["recipe"]["epochs"] == 1
        and len(log["history"]) == 1
        and log["hardware"]
        and log["versions"]["torch"]
    )


def test_a_log_of_another_config_is_not_overwritten(tiny_sets, tmp_path):
    training.reproduce(PAIR, [], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    [path] = (tmp_path / "logs").iterdir()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="log of another config"):
        training.reproduce(PAIR, [], [0], *tiny_sets, FAST.but(epochs=2), tmp_path / "logs", "tiny")
    assert path.read_bytes() == before


def test_the_teacher_has_a_seed_of_its_own(tiny_sets, tmp_path):
    training.reproduce(
        PAIR, ["alone"], [1], *tiny_sets, FAST, tmp_path / "logs", "tiny", FAST.but(epochs=2), teacher_seed=5
    )
    table = training.read_results(tmp_path / "logs").set_index("method")
    assert table.seed.to_dict() == {"alone": 1, "teacher": 5} and table.epochs.to_dict() == {"alone": 1, "teacher": 2}


def test_bad_grids_train_nothing(tiny_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match="resnet8, resnet14"):
        training.reproduce([("resnet14", "alexnet")], ["alone"], [0], *tiny_sets, FAST, tmp_path, "tiny")
    with pytest.raises(ValueError, match="kd, dcd"):
        training.reproduce(PAIR, ["dcb"], [0], *tiny_sets, FAST, tmp_path, "tiny")
    with pytest.raises(FileNotFoundError, match="no logs"):
        training.read_results(tmp_path / "nowhere")


CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", sorted((CHECKOUT / "data" / "results").glob("*")), ids=lambda path: path.name)
def test_the_readme_shows_what_the_committed_logs_say(folder):
    readme = (CHECKOUT / "README.md").read_text()
    block = readme.split(f"<!-- results: {folder.name} -->\n")[1].split("<!-- end -->")[0]
    assert block == training.report(folder)


def test_report_into_a_file_and_a_picture(tiny_sets, tmp_path, capsys):
    training.reproduce(PAIR, ["alone", "dcd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results: logs -->\nold\n<!-- end -->\nafter\n")
    assert main(["report", str(tmp_path / "logs"), "--into", str(page), "--plot", str(tmp_path / "all.png")]) == 0
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "| DCD |" in text and "old" not in text
    assert (tmp_path / "all.png").stat().st_size > 5000
    page.write_text("nothing")
    assert main(["report", str(tmp_path / "logs"), "--into", str(page)]) == 1
    assert "<!-- end -->" in capsys.readouterr().err and page.read_text() == "nothing"


@pytest.fixture
def small_shapes(shapes, monkeypatch):
    monkeypatch.setattr(
        training.Profile, "load", lambda self: (shapes[0].subset(range(48)), shapes[1].subset(range(20)))
    )


def test_command_line(small_shapes, tmp_path, capsys):
    common = ["--epochs", "1", "--precision", "fp32", "--batch-size", "16"]
    assert main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out
    assert main(["train", "--network", "resnet8", "--run-dir", str(tmp_path / "run"), *common]) == 0
    assert (tmp_path / "run" / "result.json").exists()
    pair = ["--teacher", "resnet8", "--student", "resnet8"]
    assert main(["distill", *pair, "--method", "dcd", *common]) == 0
    assert "resnet8-dcd-seed0" in capsys.readouterr().out
    grid = ["--pairs", "resnet8:resnet8", "--methods", "kd", "--seeds", "0", "--results", str(tmp_path / "logs")]
    assert main(["reproduce", *grid, *common]) == 0
    assert main(["report", str(tmp_path / "logs")]) == 0
    assert "| KD |" in capsys.readouterr().out


def test_command_line_says_what_is_wrong(small_shapes, capsys):
    assert main(["train", "--network", "resnet9"]) == 1
    assert "resnet8, resnet14" in capsys.readouterr().err
    assert main(["reproduce", "--pairs", "resnet8"]) == 1
    assert "TEACHER:STUDENT" in capsys.readouterr().err
    assert main(["train", "--epochs", "0"]) == 1
    assert "epochs=0" in capsys.readouterr().err
