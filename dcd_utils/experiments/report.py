"""Markdown made from records: our runs, alone or beside the published figures, probes and benchmarks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_utils.experiments.methods import KD_AS_PARTNER, method_order, title
from dcd_utils.experiments.published import published
from dcd_utils.experiments.scorecard import scorecard_table
from dcd_utils.experiments.speed import benchmarks, speed_table
from dcd_utils.experiments.tables import markdown, paired, read_records, read_results, tidy
from dcd_utils.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

_TRAINED = ("train", "distill", "weights")
_HEAD, _END = r"<!-- (results|published|summary|scorecard): ([^>]+) -->\r?\n", "<!-- end -->"
_TERMS = """Spread is the standard deviation over seeds (n - 1). A difference (*above* ...) is paired: the mean over the
seeds that both have, ± its standard error (number of seeds). It is **bold** where 0 lies outside of its 95 % interval
(Student's t, n - 1 degrees of freedom), which happens by chance in one row of twenty; one seed shows nothing.

"""


def report(folder: str | os.PathLike) -> str:
    """Return all that the records of a folder say as Markdown tables, with words, machines and settings explained.
    Errors are those of `read_records`."""
    records = read_records(folder)
    table, measured = tidy(records), benchmarks(records)
    texts = [_training_table(part) for part in _groups(table[table.kind.isin(_TRAINED)])]
    texts += [_probe_table(part) for part in _groups(table[table.kind == "probe"])]
    return (_TERMS if texts else "") + "\n".join(texts + ([speed_table(measured)] if measured else []))


def _groups(table: pd.DataFrame) -> list[pd.DataFrame]:
    return [part for _, part in table.groupby("group", sort=False)]


def _training_table(part: pd.DataFrame) -> str:
    first, paired_up = part.iloc[0], part.teacher.notna().all()
    finished, failed, impossible = (part[part.state == state] for state in ("finished", "failed", "not_applicable"))
    names = {"teacher": f"teacher ({first.teacher})", "alone": f"student alone ({first.student})"}
    names = names if paired_up else {"alone": f"{first.student} alone"}
    methods, seeds = sorted({*finished.method, *failed.method}, key=method_order), []
    for method in methods:
        values = [f"{accuracy:.2f}" for accuracy in finished[finished.method == method].accuracy]
        seeds.append(", ".join(values + [f"failed (seed {seed})" for seed in failed[failed.method == method].seed]))
    columns = {"": [names.get(method, title(method)) for method in methods]}
    columns |= _statistics(part, methods) | {"accuracy of every seed": seeds}
    text = f"{_pair(part) if paired_up else first.student} on {first.dataset}: {_settings(part)}, last epoch, top-1 % "
    text += f"on {'these' if 'held out' in first.dataset else 'the test images'}. "
    text += f"{_machines(finished if len(finished) else part)}\n\n"
    text += markdown(columns, zip(*columns.values(), strict=True))
    if KD_AS_PARTNER not in methods and any(map(_has_kd_behind, methods)):
        text += f'\n{title(KD_AS_PARTNER)} was not measured: how much of a "+KD" its weights make cannot be told.\n'
    for reason, some in impossible.groupby("reason", sort=False):
        text += f"\nn/a: {', '.join(map(title, dict.fromkeys(some.method)))}: {reason}.\n"
    for _, row in failed.iterrows():
        text += f"\nFailed: {title(row.method)}, seed {row.seed}: {row.reason}.\n"
    return text


def _statistics(part: pd.DataFrame, methods: list[str]) -> dict[str, list[str]]:
    """Return columns for these methods: mean and spread, and the paired differences that somebody has."""
    columns = {"mean ± spread (seeds)": [_cell(part[part.method == method]) for method in methods]}
    alone = {method: "alone" for method in methods if method not in ("teacher", "alone")}
    partner = {method: KD_AS_PARTNER for method in methods if _has_kd_behind(method)}
    published = {method: method.partition("@")[0] for method in methods if "@" in method and method != KD_AS_PARTNER}
    heads = ("above student alone", f"above {title(KD_AS_PARTNER)}", "above the published setting")
    for head, against in zip(heads, (alone, partner, published), strict=True):
        cells = [_difference(part, method, against[method]) if method in against else "" for method in methods]
        if any(cells):
            columns[head] = cells
    return columns


def _has_kd_behind(method: str) -> bool:
    return method.partition("@")[0].endswith("+kd")


def _difference(part: pd.DataFrame, method: str, against: str) -> str:
    difference = paired(part, method, against)
    if not difference.n:
        return ""
    mean, _, rest = str(difference).partition(" (n = ")
    return (f"**{mean}**" if difference.differs else mean) + f" ({rest}"


def _probe_table(part: pd.DataFrame) -> str:
    """Linear probes of one pair's networks; from CIFAR-100 to STL-10 or Tiny ImageNet beside the published figures."""
    first, expected = part.iloc[0], published_probes(part.dataset.iloc[0], part.target.iloc[0])
    methods = list(dict.fromkeys([*part.method, *expected]))
    columns = {"": list(map(title, methods))} | _statistics(part, methods)
    if expected:
        columns["published"] = [f"{expected[method]:.2f}" if method in expected else "-" for method in methods]
    source = [part[part.method == method].source_accuracy.astype(float).mean() for method in methods]
    columns[f"on {first.dataset}"] = [f"{value:.2f}" if value == value else "" for value in source]
    epochs = _listed(part[part.method != "teacher"].epochs)
    text = (
        f"{first.teacher} to {first.student}, {first.dataset} to {first.target}: linear classifier on frozen features, "
        f"top-1 % on the test images of {first.target} ({first.images}); guessing gives {100 / first.classes:.2f}. "
        f"Students: {epochs or 'not trained, 0'} epochs on {first.dataset}. {_machines(part)}\n\n"
    )
    text += markdown(columns, zip(*columns.values(), strict=True))
    if expected:
        text += "\nPublished: wrn_40_2 to wrn_16_2, 240 epochs, classifier trained by SGD on augmented images. "
        text += "**Not our probe**: compare orders, not figures.\n"
    return text


def published_probes(source: str, target: str) -> dict[str, float]:
    """Return {method: published accuracy}; empty where nothing was published from that source to that target."""
    measured = "".join(filter(str.isalnum, source)).lower() == "cifar100" and target in ("stl10", "tiny_imagenet")
    return published(target).set_index("method").accuracy.to_dict() if measured else {}


def comparison(results: str | os.PathLike | pd.DataFrame) -> str:
    """Return ours beside the published figures, in the paper's layout: rows are methods, three columns per pair.

    A method that was not published follows at the end. Above the tables stands what was trained, on which machines,
    and in what it is not the published experiment. `results` is a folder of records, or what `read_results` returned;
    if nothing was published for any of the pairs it is a ValueError.
    """
    table = read_results(results) if isinstance(results, str | os.PathLike) else results
    table = table[table.kind.isin(_TRAINED) & table.teacher.notna()]
    table, expected = (runs.assign(pair=runs.teacher + " to " + runs.student) for runs in (table, published()))
    expected = expected.set_index(["pair", "method"]).accuracy.to_dict()
    listed, methods = (list(dict.fromkeys(names)) for names in zip(*expected, strict=True))
    pairs, others = [pair for pair in listed if pair in {*table.pair}], ", ".join(sorted({*table.pair} - {*listed}))
    if not pairs:
        advice = f"choose among {', '.join(listed)}, or print the table without published figures"
        raise ValueError(f"nothing was published for {others}: {advice}")
    part = table[table.pair.isin(pairs)]
    finished = part[part.state == "finished"]
    place = methods.index("kd") + 1
    methods[place:place] = {KD_AS_PARTNER} & {*table.method}
    methods += sorted({*table.method} - {*methods}, key=method_order)
    text = (
        "Top-1 % on CIFAR-100's test images, last epoch. Ours: mean ± spread (standard deviation over seeds, n - 1), "
        "and how many seeds; the difference is ours minus published.\n"
        f"Ours: {_settings(part)}. {_machines(finished)}\n"
        "Published: DCD and RRD in the authors' README, all else by RepDistiller.\n"
    )
    if departs := sorted({reason for reasons in finished.departs for reason in reasons.split("; ") if reason}):
        text += f"\n**Not the published experiment** ({'; '.join(departs)}): differences do not test the paper.\n"
    text += f"\nNothing was published for {others}.\n" if others else ""
    groups = sorted(_groups(part), key=lambda group: pairs.index(_pair(group)))
    several = len(groups) > len(pairs)  # of other recipes, precisions or teachers
    columns, differences = [], []
    for group in groups:
        name = _pair(group) + (f" ({_settings(group)})" if several else "")
        runs = {method: group[group.method == method] for method in methods}
        stated = {method: expected.get((_pair(group), method)) for method in methods}  # nan: n/a, None: not published
        above = {m: runs[m].accuracy.mean() - value for m, value in stated.items() if value is not None}
        shown = ["-" if value is None else f"{value:.2f}".replace("nan", "n/a") for value in stated.values()]
        signed = [f"{above.get(method, float('nan')):+.2f}".replace("+nan", "") for method in methods]
        columns += [(f"{name}: ours", [*map(_cell, runs.values())]), ("published", shown), ("difference", signed)]
        differences += [above[method] for method in above if method not in ("teacher", "alone")]
    for start in range(0, len(columns), 12):  # more than four pairs side by side fit on no page
        heads, cells = zip(("", map(title, methods)), *columns[start : start + 12], strict=True)
        text += "\n" + markdown(heads, zip(*cells, strict=True))
    if differences := [difference for difference in differences if difference == difference]:
        below = sum(difference < 0 for difference in differences)
        text += f"\nOf {len(differences)} distilled figures {len(differences) - below} reach the published one and "
        text += f"{below} lie below it; mean difference {sum(differences) / len(differences):+.2f}.\n"
    return text


def _cell(runs: pd.DataFrame) -> str:
    accuracy, broken = runs.accuracy.dropna(), int((runs.state == "failed").sum())
    if len(accuracy):
        spread = f" ± {accuracy.std():.2f}" if len(accuracy) > 1 else ""
        return f"{accuracy.mean():.2f}{spread} ({len(accuracy)})" + (f", {broken} failed" if broken else "")
    return "failed" if broken else "n/a" if len(runs) else "not run"


def summary(folders: Iterable[str | os.PathLike]) -> str:
    """Return one small table: one row per pair and recipe, with teacher, student alone, KD twice, DCD and DCD+KD."""
    methods, rows = ("teacher", "alone", "kd", KD_AS_PARTNER, "dcd", "dcd+kd"), []
    for folder in folders:
        table = read_results(folder)
        for part in _groups(table[table.teacher.notna()]):
            cells = [_cell(part[part.method == method]) for method in methods]
            rows.append((f"{part.dataset.iloc[0]}, {_settings(part)}: {_pair(part)}", *cells))
    return markdown(("top-1 %, mean ± spread (seeds)", *map(title, methods)), rows)


def fill(page: Path, results: Path) -> None:
    """Renew the tables of a Markdown page: what stands between <!-- KIND: FOLDER --> and <!-- end -->. KIND is results
    or published of one folder of `results`, summary or scorecard of several. The words of the first results are
    explained above them, and not again. A page without such a place, or an end of one, is a ValueError."""
    text = page.read_bytes().decode()  # its line ends stay as they are

    def renewed(place: re.Match) -> str:
        head, kind, names = place[1], place[2], place[3].split()
        folders = [results / name for name in names]
        if kind in ("results", "published"):
            return head + (report if kind == "results" else comparison)(folders[0]) + _END
        return head + (summary(folders) if kind == "summary" else scorecard_table(results, names)) + _END

    count = len(re.findall(_HEAD, text))
    text, filled = re.subn(f"({_HEAD})(?:(?!<!-- ).)*{_END}", renewed, text, flags=re.DOTALL)
    if not count or filled < count:
        raise ValueError(f'"{page}" needs a line "<!-- results: FOLDER -->", and "{_END}" behind each such line')
    first, terms, rest = text.partition(_TERMS)
    text = first + terms + rest.replace(_TERMS, "")
    write_whole(page, text)


def _settings(part: pd.DataFrame) -> str:
    teacher, students = (part[(part.method == "teacher") == is_teacher] for is_teacher in (True, False))
    epochs = _listed(students.epochs) or _listed(teacher.epochs)
    if _listed(teacher.epochs) not in ("", epochs):
        epochs += f" (teacher {_listed(teacher.epochs)})"
    if (teacher.kind == "weights").any():
        epochs += " (teacher's weights from a file)"
    sizes = [f"batch {size}" for size in sorted({*students.batch_size.dropna()} - {64})]
    unit = "epoch" if epochs == "1" else "epochs"
    return ", ".join([f"{epochs} {unit}", *sizes, *sorted({*part.precision.dropna()})])


def _listed(values: pd.Series, by: str = ", ") -> str:
    return by.join(map(str, sorted({*values.dropna()})))


def _machines(part: pd.DataFrame) -> str:
    return f"Hardware: {_listed(part.hardware, '; ')}. torch {_listed(part.torch)}."


def _pair(part: pd.DataFrame) -> str:
    return f"{part.teacher.iloc[0]} to {part.student.iloc[0]}"


def draw(folder: str | os.PathLike, picture: str) -> None:
    """Draw what a folder's records say into a PNG: its benchmarks, or every run of its first pair."""
    from dcd_utils import plots

    if measured := benchmarks(read_records(folder)):
        figure = plots.speed(measured)
    else:
        table = read_results(folder)
        part = _groups(table[table.state == "finished"])[0]
        students = part[part.method != "teacher"].assign(method=lambda runs: runs.method.map(title))
        heading = f"{_pair(part)} on {part.dataset.iloc[0]}"
        figure = plots.accuracy_by_method(students, part[part.method == "teacher"].accuracy.mean(), heading)
    figure.savefig(picture, dpi=110, bbox_inches="tight")
