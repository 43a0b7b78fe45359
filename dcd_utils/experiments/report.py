"""Markdown made from records: our runs, alone or beside the published figures, probes and benchmarks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_utils.experiments.methods import method_order
from dcd_utils.experiments.published import published
from dcd_utils.experiments.speed import training_hours
from dcd_utils.experiments.tables import read_records, read_results
from dcd_utils.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

_NAMES = {"random": "untrained student", "teacher": "teacher", "alone": "student alone"}
_HEAD, _END = r"<!-- (results|published|summary): ([^>]+) -->\r?\n", "<!-- end -->"


def report(folder: str | os.PathLike) -> str:
    """Return all that the records of a folder say as Markdown tables, with machines and settings named.

    Raises:
        FileNotFoundError: the folder holds no records.
        ValueError: one of its files is damaged, or no record.
    """
    table = read_results(folder)
    texts = [_training_table(part) for _, part in _grouped(table[table.kind.isin(("train", "distill", "weights"))])]
    texts += [_probe_table(part) for _, part in _grouped(table[table.kind == "probe"])]
    benchmarks = [record for record in read_records(folder) if record["kind"] == "benchmark"]
    return "\n".join(texts + ([speed_table(benchmarks)] if benchmarks else []))


def _grouped(table: pd.DataFrame):
    return table.groupby("group", sort=False)


def markdown(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    heads = list(heads)
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def _training_table(part: pd.DataFrame) -> str:
    """One group's methods: mean, spread (standard deviation, n - 1), seeds, and every figure."""
    finished = part[part.state == "finished"]
    alone, rows = finished[finished.method == "alone"].accuracy.mean(), []
    failed = part[part.state == "failed"]
    methods = sorted({*finished.method, *failed.method}, key=method_order)
    teacher, student = part.teacher.iloc[0], part.student.iloc[0]
    for method in methods:
        accuracy = finished[finished.method == method].accuracy
        broken = [f"failed (seed {seed})" for seed in failed[failed.method == method].seed]
        name = {"teacher": f"teacher ({teacher})", "alone": f"student alone ({student})"}.get(method, _short(method))
        if not len(accuracy):
            rows.append((name, "failed", "", "0", "", ", ".join(broken)))
            continue
        above = _signed(accuracy.mean() - alone) if method != "alone" else ""
        values = [*(f"{value:.2f}" for value in accuracy), *broken]
        rows.append((name, f"{accuracy.mean():.2f}", _spread(accuracy), str(len(accuracy)), above, ", ".join(values)))
    pair = f"{teacher} to {student}" if teacher else student
    text = f"{pair} on {part.dataset.iloc[0]}: {_settings(part)}, last epoch, top-1 % on the test images. "
    text += f"{_machines(finished)}\n\n"
    text += markdown(("", "mean", "spread", "seeds", "above student alone", "accuracy of every seed"), rows)
    impossible = part[part.state == "not_applicable"]
    for reason, some in impossible.groupby("reason", sort=False):
        text += f"\nn/a: {', '.join(_short(name) for name in dict.fromkeys(some.method))}: {reason}.\n"
    for _, row in failed.iterrows():
        text += f"\nFailed: {_short(row.method)}, seed {row.seed}: {row.reason}.\n"
    return text


def _probe_table(part: pd.DataFrame) -> str:
    """Linear probes of one pair's networks; from CIFAR-100 to STL-10 or Tiny ImageNet beside the published figures."""
    first = part.iloc[0]
    expected = published_probes(first.dataset, first.target)
    alone, rows = part[part.method == "alone"].accuracy.mean(), []
    for method in dict.fromkeys([*part.method, *expected]):
        probes = part[part.method == method]
        cells = ["not run", "", "0", "", ""]
        if len(probes):
            above = _signed(probes.accuracy.mean() - alone) if method != "alone" else ""
            source = probes.source_accuracy.astype(float).mean()
            cells = [f"{probes.accuracy.mean():.2f}", _spread(probes.accuracy), str(len(probes)), above]
            cells.append(f"{source:.2f}" if source == source else "")
        if expected:
            cells.insert(4, f"{expected[method]:.2f}" if method in expected else "-")
        rows.append((_NAMES.get(method, method.upper()), *cells))
    epochs = ", ".join(map(str, sorted({*part[part.method != "teacher"].epochs.dropna()})))
    text = (
        f"{first.teacher} to {first.student}, {first.dataset} to {first.target}: linear classifier on frozen features, "
        f"top-1 % on the test images of {first.target} ({first.images}); guessing gives {100 / first.classes:.2f}. "
        f"Students: {epochs or 'not trained, 0'} epochs on {first.dataset}. {_machines(part)}\n\n"
    )
    published_head = ["published"] if expected else []
    heads = ["", "ours: mean", "spread", "n", "above student alone", *published_head, f"on {first.dataset}"]
    text += markdown(heads, rows)
    if expected:
        text += (
            "\nPublished: wrn_40_2 to wrn_16_2, 240 epochs, classifier trained by SGD on augmented images. **Not our "
            "probe**: compare orders, not figures.\n"
        )
    return text


def published_probes(source: str, target: str) -> dict[str, float]:
    """Return {method: published accuracy}; empty where nothing was published from that source to that target."""
    if "".join(filter(str.isalnum, source)).lower() != "cifar100" or target not in ("stl10", "tiny_imagenet"):
        return {}
    return published(target).set_index("method").accuracy.to_dict()


def speed_table(records: list[dict]) -> str:
    """Benchmarks of several pairs, the quickest first: images per second and, in brackets, times the plain way."""
    records = sorted(records, key=lambda record: -record["images_per_second"]["plain"])
    machines = dict.fromkeys(
        f"{record['hardware']}; torch {record['versions']['torch']}, {record['precision']}, batch "
        f"{record['batch_size']}, median of {record['rounds']} rounds"
        for record in records
    )
    rows, sizes = [], []
    for record in records:
        rates, ours = record["images_per_second"], ("live", "cached", "student_alone")
        pair = f"{record['teacher']} to {record['student']}"
        times = [f"{rates[way]:,.0f} ({record['speedup'][way]:.2f})" for way in ours[:2]]
        of_live = (record["components"]["teacher"] / record["ms_per_step"]["live"], record["floor"]["share_live"])
        percent = [f"{share:.0%}" for share in (record["of_student_alone"], *of_live)]
        hours = [f"{training_hours(record, way, methods=3, seeds=3):.0f}" for way in ("plain", "live", "cached")]
        cells = [pair, f"{rates['plain']:,.0f}", *times, f"{rates['student_alone']:,.0f}", *percent, " / ".join(hours)]
        rows.append(cells)
        for size, by_way in record["by_batch_size"].items():
            sizes.append([f"{pair}, batch {size}", *(f"{by_way[way]:,.0f}" for way in ours)])
    heads = ["", "plain way", "live teacher", "stored teacher", "student alone", "stored, of alone"]
    heads += ["teacher, of a live step", "arithmetic, of a live step", "hours: plain / live / stored"]
    text = "Training steps of DCD+KD in images per second; in brackets, times the plain way. Hours: 3 methods, 3 "
    text += f"seeds, 240 epochs of 50,000 images, filling the store included. {'; '.join(machines)}.\n\n"
    by_size = "\n" + markdown(["images per second", *heads[2:5]], sizes) if sizes else ""
    return text + markdown(heads, rows) + by_size


def comparison(results: str | os.PathLike | pd.DataFrame) -> str:
    """Return ours beside the published figures, in the paper's layout: rows are methods, three columns per pair.

    A method that was not published follows at the end. Above the tables stands what was trained, on which machines,
    and in what it is not the published experiment.

    Args:
        results: a folder of records, or what `read_results` returned.

    Raises:
        FileNotFoundError: the folder holds no records.
        ValueError: no figure was published for any of the pairs.
    """
    table = read_results(results) if isinstance(results, str | os.PathLike) else results
    table = table[table.kind.isin(("train", "distill", "weights")) & table.teacher.notna()]
    expected_table = published()
    expected = expected_table.set_index(["teacher", "student", "method"]).accuracy.to_dict()
    ours = set(zip(table.teacher, table.student, strict=True))
    listed = list(dict.fromkeys(zip(expected_table.teacher, expected_table.student, strict=True)))
    pairs, others = [pair for pair in listed if pair in ours], sorted(ours - set(listed))
    if not pairs:
        raise ValueError(
            f"nothing was published for {_pairs(others)}: choose among {_pairs(listed)}, or print the table without "
            "published figures"
        )
    part = table[[pair in pairs for pair in zip(table.teacher, table.student, strict=True)]]
    finished = part[part.state == "finished"]
    methods = list(dict.fromkeys(expected_table.method))
    methods += sorted({*table.method} - {*methods}, key=method_order)
    text = (
        "Top-1 % on CIFAR-100's test images, last epoch. Ours: mean ± spread (seeds); the difference is ours minus "
        f"published.\nOurs: {_settings(part)}. {_machines(finished)}\n"
        "Published: DCD and RRD in the authors' README, all else by RepDistiller.\n"
    )
    if departs := sorted({reason for reasons in finished.departs for reason in reasons.split("; ") if reason}):
        text += f"\n**Not the published experiment** ({'; '.join(departs)}): differences do not test the paper.\n"
    if others:
        text += f"\nNothing was published for {_pairs(others)}.\n"
    differences = []
    groups = [rows for _, rows in _grouped(part)]
    grids = [((rows.teacher.iloc[0], rows.student.iloc[0]), rows) for rows in groups]
    grids.sort(key=lambda grid: pairs.index(grid[0]))
    for start in range(0, len(grids), 4):  # more than four side by side fit on no page
        block, rows = grids[start : start + 4], []
        for method in methods:
            cells = []
            for pair, runs_of_pair in block:
                runs = runs_of_pair[runs_of_pair.method == method]
                target = expected.get((*pair, method))
                cells += [_cell(runs), "-" if target is None else "n/a" if target != target else f"{target:.2f}"]
                difference = runs.accuracy.mean() - (float("nan") if target is None else target)
                cells.append(_signed(difference))
                if difference == difference and method not in ("teacher", "alone"):
                    differences.append(difference)
            rows.append((_short(method), *cells))
        several = len(grids) > len(pairs)  # of other recipes, precisions or teachers
        names = [_pairs([pair]) + (f" ({_settings(runs)})" if several else "") for pair, runs in block]
        heads = [head for name in names for head in (f"{name}: ours", "published", "difference")]
        text += "\n" + markdown(["", *heads], rows)
    if differences:
        below = sum(difference < 0 for difference in differences)
        text += (
            f"\nOf {len(differences)} distilled figures {len(differences) - below} reach the published one and {below} "
            f"lie below it; mean difference {sum(differences) / len(differences):+.2f}.\n"
        )
    return text


def _cell(runs: pd.DataFrame) -> str:
    accuracy, broken = runs.accuracy.dropna(), int((runs.state == "failed").sum())
    if len(accuracy):
        spread = f" ± {accuracy.std():.2f}" if len(accuracy) > 1 else ""
        return f"{accuracy.mean():.2f}{spread} ({len(accuracy)})" + (f", {broken} failed" if broken else "")
    return "failed" if broken else "n/a" if len(runs) else "not run"


def summary(folders: Iterable[str | os.PathLike]) -> str:
    """Return one small table: for each folder's first pair the teacher, the student alone, KD, DCD and DCD+KD."""
    methods, rows = ("teacher", "alone", "kd", "dcd", "dcd+kd"), []
    for folder in folders:
        table = read_results(folder)
        for _, part in _grouped(table[table.teacher.notna()]):
            names = f"{part.teacher.iloc[0]} to {part.student.iloc[0]}"
            cells = [_cell(part[part.method == method]) for method in methods]
            rows.append((f"{part.dataset.iloc[0]}, {_settings(part)}: {names}", *cells))
    return markdown(("top-1 % (seeds)", *(_short(method) for method in methods)), rows)


def fill(page: Path, results: Path) -> None:
    """Renew the tables of a Markdown page: what stands between <!-- KIND: FOLDER --> and <!-- end -->.

    KIND is results, published or summary; a summary may name several folders of `results`.

    Raises:
        ValueError: the page has no such place, or one without its end.
    """
    text = page.read_bytes().decode()  # its line ends stay as they are
    count = len(re.findall(_HEAD, text))
    place = re.compile(f"({_HEAD})(?:(?!<!-- ).)*{_END}", re.DOTALL)
    text, filled = place.subn(lambda match: _filled(match, results), text)
    if not count or filled < count:
        raise ValueError(f'"{page}" needs a line "<!-- results: FOLDER -->", and "{_END}" behind each such line')
    write_whole(page, text)


def _filled(match: re.Match, results: Path) -> str:
    head, kind, names = match.groups()
    folders = [results / name for name in names.split()]
    makers = {"summary": lambda: summary(folders), "published": lambda: comparison(folders[0])}
    return head + makers.get(kind, lambda: report(folders[0]))() + _END


def _settings(part: pd.DataFrame) -> str:
    teacher, students = (part[(part.method == "teacher") == is_teacher] for is_teacher in (True, False))
    teacher_epochs, student_epochs = ({*rows.epochs.dropna()} for rows in (teacher, students))
    epochs = ", ".join(map(str, sorted(student_epochs or teacher_epochs)))
    if teacher_epochs and student_epochs and teacher_epochs != student_epochs:
        epochs += f" (teacher {', '.join(map(str, sorted(teacher_epochs)))})"
    if (teacher.kind == "weights").any():
        epochs += " (teacher's weights from a file)"
    unit = "epoch" if epochs == "1" else "epochs"
    plain = ["the plain way"] if part.plain.astype(bool).any() else []
    return ", ".join([f"{epochs} {unit}", *sorted({*part.precision.dropna()}), *plain])


def _machines(part: pd.DataFrame) -> str:
    return f"Hardware: {'; '.join(sorted(set(part.hardware)))}. torch {', '.join(sorted(set(part.torch)))}."


def _short(method: str) -> str:
    name, at, settings = method.partition("@")
    return _NAMES.get(method, name.upper() + at + settings)


def _spread(accuracy: pd.Series) -> str:
    return f"{accuracy.std():.2f}" if len(accuracy) > 1 else "-"


def _signed(difference: float) -> str:
    return f"{difference:+.2f}" if difference == difference else ""


def _pairs(pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{teacher} to {student}" for teacher, student in pairs)


def draw(folder: str | os.PathLike, picture: str) -> None:
    """Draw what a folder's records say into a PNG: its benchmarks, or every run of its first pair."""
    from dcd_utils import plots

    benchmarks = [record for record in read_records(folder) if record["kind"] == "benchmark"]
    if benchmarks:
        figure = plots.speed(sorted(benchmarks, key=lambda record: -record["images_per_second"]["plain"]))
    else:
        table = read_results(folder)
        part = next(part for _, part in _grouped(table[table.state == "finished"]))
        teacher, students = part[part.method == "teacher"].accuracy.mean(), part[part.method != "teacher"]
        students = students.assign(method=students.method.replace("alone", "student alone"))
        title = f"{part.teacher.iloc[0]} to {part.student.iloc[0]} on {part.dataset.iloc[0]}"
        figure = plots.accuracy_by_method(students, teacher, title)
    figure.savefig(picture, dpi=110, bbox_inches="tight")
