"""No stale number: a figure that the prose of a notebook quotes is printed there, or stands in a table that it names.

A figure is a number with a decimal point, or with a unit of results (%, points, s, MB, ...). It is looked up, as
printed or rounded, in the outputs of its own section (from one "## " heading to the next) and of the sections that its
cell names ("Section 5", "Section 5 of notebook 03"); in a summary and among exercises in the whole notebook; and, as
written, in README.md, docs/results.md, docs/speed.md or the published figures where the cell names them ("published"
names these). A whole notebook prints so much that more than half of all wrong numbers would be found somewhere in it.
Of a picture, title and annotations count as printed; what is only drawn does not.

Left alone: formulas and code, settings (numbers of the section's code, of the recipes and losses), round bounds ("below
0.1"), and whole minutes and hours, which are estimates for a reader. Numbers in words are not read.
"""

import ast
import dataclasses
import html
import inspect
import re
from collections import defaultdict

import nbformat
import pytest
from notebook_code import NOTEBOOKS
from scipy.stats import t

from dcd_utils import losses, training

# {notebook: {number as written: why it can stand in no output}}; one that is no longer needed fails the test
EXEMPT = {
    "07_evidence": {"71.5": "a re-run by others, known from its report"},
    "08_transfer": {"2.6": "the size of a download", "250": "the size of a download"},
}

NAMES = [path.stem for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))]
ROOT = NOTEBOOKS.parent
TABLES = {  # a word that names the table in a cell: its files
    "README": [ROOT / "README.md"],
    "results.md": [ROOT / "docs" / "results.md"],
    "speed.md": [ROOT / "docs" / "speed.md"],
    "published": sorted((ROOT / "dcd_utils" / "experiments" / "figures").glob("*.csv")),
}

HIDDEN = re.compile(
    r"""```.*?``` | (?:\A|(?<=\n\n))(?:[ ]{4}.*(?:\n|\Z))+ | `[^`]*`   # code
    | \$\$.*?\$\$ | \$[^$]*\$                                          # formulas
    | !\[.*?\]\(.*?\) | \]\([^)]*\) | <[^>]*> | arXiv:[\d.]+           # pictures, addresses
    | ^\#+\ [\d.]+ | \*\*\d\d\.\d+                                     # numbers of headings and exercises
    | (?:Section|[Ee]xercise|[Ee]quation|Table|Figure)s?\ [\d.]*\d | (?:Python|PyTorch|torch\w*|numpy)\ \d[\d.]*
    | 95\ %\ (?=confidence|interval) | (?<=at\ )95\ %                  # the confidence that the course always asks for
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
NUMBER = r"(?<![\w.\-+−^])[+\-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w|\.\d|,\d{3})"
NO_RESULT = ("nats", "million", "times", "steps")  # units of settings, too
UNIT = rf"%|(?:percent|points?|s|ms|seconds?|minutes?|hours?|MB|GB|{'|'.join(NO_RESULT)})\b"
LIST = re.compile(rf"{NUMBER}(?:(?:,| and| to| or|,? against)\s{NUMBER})*(?:\s?({UNIT}))?")
PRINTED = re.compile(r"(?<![\w.])[+\-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?(?!\.\d)")
ABOUT = re.compile(r"(?:about|some|nearly|almost|around|roughly)\s$")
BOUND = re.compile(r"(?:more than|less than|at least|at most|below|above|under|over|up to|within)\s$")
MULTIPLES = {f"{t.ppf(0.975, n - 1):.1f}" for n in (2, 3, 5)}  # standard errors that make a difference, for n seeds


def quoted(source):
    """(number as written, unit or None, whether it is rounded by eye, its sentence) for every figure of a cell."""
    bare = re.sub(r"\$([+\-]?[\d.,]*\d)\$", r" \1 ", source)  # a formula that is nothing but a number
    bare = HIDDEN.sub(lambda match: " " * len(match[0]), bare)
    for group in LIST.finditer(bare):
        for match in re.finditer(NUMBER, group[0]):
            written, start = match[0], group.start() + match.start()
            unit, before = group[1], bare[:start]
            if "." not in written and (not unit or re.match("minute|hour", unit)):
                continue
            if BOUND.search(before) and len(re.sub(r"\D", "", written).strip("0")) == 1:
                continue
            if written in MULTIPLES and re.match(r"\S+\sstandard\serror", bare[start:]):
                continue
            ends = [0, *(end.end() for end in re.finditer(r"(?<=[.!?:;])\s|\n\n|\n(?=\s*[*|])", source)), len(source)]
            first, last = max(end for end in ends if end <= start), min(end for end in ends if end > start)
            yield written, unit, bool(ABOUT.search(before)), " ".join(source[first:last].split())


def value(written):
    """(number, digits behind its point); digits of a number with an exponent count as many."""
    number = float(written.replace(",", "").replace("−", "-"))
    return number, 99 if "e" in written else len(written.partition(".")[2])


def numbers(text):
    return {value(match[0]) for match in PRINTED.finditer(text)}


def is_among(written, unit, about, pool):
    """Whether a figure equals a number of the pool, rounded to its digits; without a sign, one of either sign."""
    quote, digits = value(written)
    place = -digits
    while about and digits == 0 and quote and quote % 10 ** (place + 1) == 0:
        place += 1  # "about 80" may be 81.4
    for number, known in pool:
        for factor, shift in ((1, 0), (100, 2))[: 1 + (unit in ("%", "percent"))]:  # a share of 0.453 is 45 %
            found = number * factor if written[0] in "+-−" else abs(number * factor)
            if known - shift >= digits and abs(found - quote) <= 0.5 * 10**place + 1e-9:
                return True
    return False


def output_text(cell):
    """What a code cell printed: its streams, texts and tables, and what is written in its figures."""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        yield output.get("text", "")
        if not data.get("text/plain", "").startswith("<Figure size"):
            yield data.get("text/plain", "")
        yield data.get("text/markdown", "")
        table = re.sub(r"<(style|script).*?</\1>", " ", data.get("text/html", ""), flags=re.DOTALL)
        yield html.unescape(re.sub(r"<[^>]+>", " ", table))


class Read:
    """A notebook by sections: what the code of each prints, and the numbers written in it."""

    def __init__(self, notebook):
        self.cells, self.printed, self.literals = [], defaultdict(set), defaultdict(set)
        section = ""
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                heading = re.search(r"^##? (.*)", cell.source, re.MULTILINE)
                section = heading[1] if heading else section
                self.cells.append((section, cell))
            elif cell.cell_type == "code":
                self.printed[section].update(*map(numbers, output_text(cell)))
                constants = (node.value for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Constant))
                self.literals[section] |= {float(constant) for constant in constants if type(constant) in (int, float)}

    def numbered(self, number):
        """What the section with this number prints."""
        return set().union(*(pool for name, pool in self.printed.items() if name.startswith(f"{number}.")))

    def pool(self, section, source, others):
        """The printed numbers that may support a cell; others: {name: Read} of the course's notebooks."""
        whole = section.startswith(("Summary", "Exercises"))
        found = set().union(*self.printed.values()) if whole else set(self.printed[section])
        for listed, notebook in re.findall(r"Sections? (\d+(?:(?:, | and )\d+)*)(?: of notebook (\d\d))?", source):
            named = [read for name, read in others.items() if name.startswith(notebook)] if notebook else [self]
            found = found.union(*(read.numbered(number) for read in named for number in re.findall(r"\d+", listed)))
        return found


def in_tables(source, tables=TABLES):
    """The numbers of the committed tables that a cell names."""
    files = [file for word, listed in tables.items() if word in source for file in listed]
    return set().union(*(numbers(file.read_text(encoding="utf-8")) for file in files))


def package_settings():
    """Numbers that stand in the package: recipes, weights of the methods, defaults of the losses."""
    values = [v for r in (training.PAPER, training.QUICK, training.QUICK_TEACHER) for v in dataclasses.astuple(r)]
    values += [v for method in losses.METHODS.values() for v in (method.weight, method.classification)]
    for name in losses.__all__:
        if name.endswith("Loss"):
            values += [p.default for p in inspect.signature(getattr(losses, name)).parameters.values()]
    return {float(v) for v in values if type(v) in (int, float)}


def problems(notebook, others=(), exempt=None):
    """What is wrong with the figures of a notebook's prose and with its exemptions {number: reason}, as lines."""
    read, unused, lines, settings = Read(notebook), dict(exempt or {}), [], package_settings()
    for section, cell in read.cells:
        pool, tables = read.pool(section, cell.source, dict(others)), in_tables(cell.source)
        for written, unit, about, sentence in quoted(cell.source):
            quote = value(written)
            setting = unit in (None, *NO_RESULT) and abs(quote[0]) in settings | read.literals[section]
            if setting or quote in tables or is_among(written, unit, about, pool):
                continue
            if written in (exempt or {}):
                unused.pop(written, None)
            else:
                lines.append(f"cell {cell.id}: {' '.join(filter(None, [written, unit]))}, in: {sentence}")
    return lines + [f"no longer needed: the exemption of {number} ({why})" for number, why in unused.items()]


@pytest.fixture(scope="module")
def course():
    return {name: nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4) for name in NAMES}


@pytest.fixture(scope="module")
def others(course):
    return {name: Read(notebook) for name, notebook in course.items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_in_the_prose_is_printed(course, others, name):
    if lines := problems(course[name], others, EXEMPT.get(name)):
        pytest.fail("\n".join([f"notebooks/{name}.ipynb: {len(lines)} to look at", *lines]), pytrace=False)


def text(source):
    return nbformat.v4.new_markdown_cell(source)


def printing(stream="", source="", **data):
    outputs = [nbformat.v4.new_output("stream", text=stream)]
    outputs += [nbformat.v4.new_output("display_data", data={kind.replace("_", "/"): d for kind, d in data.items()})]
    return nbformat.v4.new_code_cell(source, outputs=outputs)


def told(*cells, **options):
    """What is complained about in a made-up notebook: numbers, and exemptions with a "not" in front."""
    lines = problems(nbformat.v4.new_notebook(cells=list(cells)), **options)
    matches = [re.match(r"cell \w+: ([^ ,]+)|(no) longer needed: the exemption of (\S+)", line) for line in lines]
    return [match[1] or f"not {match[3]}" for match in matches]


def test_a_stale_number_is_told_with_its_cell_and_sentence():
    cells = [printing("KD 61.35, DCD 62.92"), text("All learn. KD has 61.4 %, DCD\nhas 63.9 %. So be it.")]
    cells[1].id = "prose"
    lines = problems(nbformat.v4.new_notebook(cells=cells))
    assert lines == ["cell prose: 63.9 %, in: KD has 61.4 %, DCD has 63.9 %."]


@pytest.mark.parametrize(
    ("printed", "prose", "stale"),
    [
        ("61.35", "61.35 and 61.4 and 61.3 %, about 60 %", []),  # a half may have been rounded before
        ("61.35", "61.2, 61.5, 60 %, 61.350", ["61.2", "61.5", "60", "61.350"]),
        ("-0.114", "0.114 and -0.114 and $-0.114$ but +0.114", ["+0.114"]),
        ("share 0.453", "45 % or 45.3 %, not 46 %", ["46"]),
        ("0.453", "45.3 points", ["45.3"]),
        ("3e-07", "a rounding error of 0.0000003", []),
        ("12,288 and 2.14.1", "12,288 points in 2.14 s", ["2.14"]),
        ("7", "between 5 and 7 points, for 3, 4 or 7 points", ["5", "3", "4"]),
        ("81.4", "more than 90 %, at most 0.2, below 85.2 %", ["85.2"]),  # a round bound is nobody's result
        ("", "$x = 0.3$, `0.3`, $$0.3$$, ![0.3](0.3.png), [a](b/0.3), arXiv:1807.03748, Section 0.3, 3 seeds", []),
        ("", "**02.1 Name**, as in exercise 03.1, on Python 3.10", []),
        ("", "about 45 minutes, or 2 hours", []),
        ("8.3", "8.3 minutes, 8.4 minutes", ["8.4"]),
        ("", "beyond 4.3 standard errors, at 95 %, 3.4 standard errors, 95 % right", ["3.4", "95"]),
        ("", "momentum 0.9 and a weight of 0.02, but 0.9 points", ["0.9"]),  # settings of the package are no results
        ("", "CIFAR-100, STL-10 % of, resnet8x4, 2-3 points, 32x32", []),
    ],
)
def test_what_counts_as_a_figure_and_where_it_is_found(printed, prose, stale):
    assert told(printing(printed), text(prose)) == stale


def test_tables_and_titles_of_pictures_are_printed_and_sizes_of_pictures_are_not():
    html = "<style>td {width: 7.7px}</style><td>7.25</td>"
    for data, stale in (
        ({"text_html": html}, ["7.7", "3.5"]),
        ({"text_plain": "<Figure: loss 3.5>"}, ["7.7", "7.25"]),
        ({"text_plain": "<Figure size 7.7x7.25 with 3.5 Axes>"}, ["7.7", "7.25", "3.5"]),
    ):
        assert told(printing(**data), text("7.7, 7.25, 3.5")) == stale


def test_a_figure_is_looked_up_in_its_section_and_in_those_that_are_named(others):
    cells = [text("## 1. One"), printing("61.35", "x = 0.77"), text("## 2. Two\n\nIt has 61.35 and x = 0.77.")]
    assert told(*cells) == ["61.35", "0.77"]
    cells[2] = text("## 2. Two\n\nIt has 61.35 (Section 1).")
    assert told(*cells) == []
    cells[2] = text("## Summary\n\nIt has 61.35.")
    assert told(*cells) == []
    cells[2] = text("## 2. Two\n\nThe truck's loss is 1.05 (Section 2 of notebook 02).")
    assert told(*cells) == ["1.05"] and told(*cells, others=others) == []


def test_committed_tables_count_where_they_are_named_and_as_written():
    assert told(text("KD has 73.54.")) == ["73.54"]
    assert told(text("The published KD has 73.54, roughly 73.5.")) == ["73.5"]


def test_an_exemption_holds_until_it_is_no_longer_needed():
    cells = [printing("61.35"), text("Of 2.6 GB, 61.35 %.")]
    assert told(*cells) == ["2.6"]
    assert told(*cells, exempt={"2.6": "a download"}) == []
    assert told(*cells, exempt={"2.6": "a download", "61.35": "why?"}) == ["not 61.35"]
