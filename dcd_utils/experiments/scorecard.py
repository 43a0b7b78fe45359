"""The paper's claims, one by one: what was published, what our runs say, and a verdict."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_utils.experiments.methods import KD_AS_PARTNER, title
from dcd_utils.experiments.published import published
from dcd_utils.experiments.tables import Paired, markdown, paired, read_records, tidy

if TYPE_CHECKING:
    import pandas as pd

# the first one that holds a pair decides; the others show how far its answers carry
FOLDERS = ("shapes", "shapes-teacher2", "shapes-methods", "transfer-shapes-new_shapes")
NOT_MEASURED, OPEN, HOLDS, FAILS, MIXED = VERDICTS = (
    "not measured", "not decided", "holds here", "does not hold here", "differs from case to case",
)  # fmt: skip


def scorecard(results: str | os.PathLike, names: Iterable[str] = FOLDERS) -> pd.DataFrame:
    """Return one row per claim, with columns claim, published, ours and verdict (one of VERDICTS).

    Ours are paired differences in points, with their 95 % interval and number of seeds, one line for each pair, data
    set and teacher. The first line decides: the claim "holds here" or "does not hold here" only where 0 lies outside of
    the interval, and "differs from case to case" where another line shows the opposite.

    `names` are folders of `results`, the main experiment first. What one that is not there would say is "not measured";
    FileNotFoundError: none is there.
    """
    return _scorecard(_Runs(results, names))


def scorecard_table(results: str | os.PathLike, names: Iterable[str] = FOLDERS) -> str:
    """Return the scorecard as Markdown, with what it is made of explained above it."""
    runs, head = _Runs(results, names), ""
    if (main := runs.main) is not None:
        head = (
            f"Ours: {main.teacher} to {main.student} on {main.dataset}, {main.epochs} epochs, {main.precision}, unless "
            "named otherwise: mean paired difference in points, its 95 % interval, n seeds. *Holds here*: the first "
            "interval lies above 0; *does not hold here*: below, or excluded by algebra; *not decided*: around it. "
        )
    head += "Published: CIFAR-100, mean of 13 pairs, no seeds; transfer: one pair.\n\n"
    table = _scorecard(runs).replace("\n", "<br>", regex=True)
    return head + markdown(table.columns, table.itertuples(index=False))


def _scorecard(runs: _Runs) -> pd.DataFrame:
    import pandas as pd

    table = published().pivot(index=["teacher", "student"], columns="method", values="accuracy")
    wins = (table["dcd+kd"] > table["teacher"]).sum()
    firsts = table.drop(columns="teacher").idxmax(axis=1).eq("dcd+kd").sum()
    at_other_weights = "only against KD at 0.1 and 0.9: "

    def gap(method: str, against: str) -> str:
        difference = table[method] - table[against]
        return f"{difference.mean():+.2f}, above in {(difference > 0).sum()} of {len(table)} pairs"

    over_kd, over_partner = (("dcd", "kd"), ("dcd", KD_AS_PARTNER)), ("dcd+kd", KD_AS_PARTNER)
    without_bias, _ = runs.compare(("dcd", "dcd@learn_bias=false"))
    # with as many steps, unlike a larger batch
    over_two, verdict = runs.compare(("dcd", "dcd@negatives=2"))
    rows = [
        ("DCD is better than the student alone", gap("dcd", "alone"), *runs.compare(("dcd", "alone"))),
        ("DCD is better than KD", gap("dcd", "kd"), *runs.compare(*over_kd)),
        ("DCD+KD is better than KD at 1 and 1", at_other_weights + gap("dcd+kd", "kd"), *runs.compare(over_partner)),
        ("DCD+KD is better than CRD+KD", gap("dcd+kd", "crd+kd"), *runs.compare(("dcd+kd", "crd+kd"))),
        ("The consistency term helps", "claimed", *runs.compare(("dcd", "dcd@alpha=0"), ("dcd+kd", "dcd+kd@alpha=0"))),
        ("The learned bias matters", "claimed",
         f"its gradient is 0 by algebra (notebook 02)\n{without_bias}".strip(), FAILS),
        ("The learned scale matters", "claimed", *runs.scale()),
        ("More negatives help", "the reason for memory banks",
         over_two and f"all others of a batch, instead of two: {over_two}", verdict),
        ("DCD's features travel better than those of the student alone", _transfer("dcd", "alone"),
         *runs.compare(("dcd", "alone"), probes=True)),
        ("DCD's features travel better than those of KD", _transfer("dcd", "kd"),
         *runs.compare(*over_kd, probes=True)),
        ("DCD+KD's features travel better than those of KD at 1 and 1", at_other_weights + _transfer("dcd+kd", "kd"),
         *runs.compare(over_partner, probes=True)),
        ("The student sometimes beats its teacher", f"DCD+KD in {wins} of {len(table)} pairs",
         *runs.above_the_teacher()),
        ("Best on CIFAR-100 and on ImageNet", f"DCD+KD first in {firsts} of {len(table)} pairs of CIFAR-100",
         "the full recipe takes a GPU", NOT_MEASURED),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["claim", "published", "ours", "verdict"])


class _Runs:
    """The finished runs of some folders, by groups in the order of the folders; `main` is a student of the first."""

    def __init__(self, results: str | os.PathLike, names: Iterable[str]):
        names = list(names)
        folders = [Path(results) / name for name in names if (Path(results) / name).is_dir()]
        if not folders:
            raise FileNotFoundError(f'none of {", ".join(names)} is in "{results}": name folders of records')
        records = read_records(*folders)
        places, table = {id(record): place for place, record in enumerate(records)}, tidy(records)
        table = table[(table.state == "finished") & table.teacher.notna() & (table.kind != "benchmark")]
        learned = table[table.kind.isin(("distill", "probe"))]  # teachers and students alone may serve several groups
        first = learned.record.map(id).map(places).groupby(learned.group).min()
        groups = [part for _, part in table.groupby("group", sort=False)]
        groups.sort(key=lambda part: first.get(part.group.iloc[0], len(records)))
        self.probes = [part for part in groups if (part.kind == "probe").all()]
        self.groups = [part for part in groups if (part.kind != "probe").all()]
        self.main = self.groups[0].iloc[-1] if self.groups else None  # a student: the teacher's row comes first

    def compare(self, *pairs: tuple[str, str], probes: bool = False) -> tuple[str, str]:
        """What the groups say of (method, the one that it should pass), and the verdict."""
        found = []
        for method, against in pairs:
            for part in self.probes if probes else filter(self._is_no_variant, self.groups):
                same = method == pairs[0][0]
                beside = "" if (method, against) == pairs[0] else f"over {title(against)}" if same else title(method)
                found.append((self._name(part, beside), paired(part, method, against)))
        return _judged(found)

    def scale(self) -> tuple[str, str]:
        """What a learned scale gains over one that stays at e, and where it ends."""
        lines, verdict = self.compare(("dcd", "dcd@learn_scale=false"))
        alike = [part for part in self.groups if self._differs(part) <= {"precision"}]
        learned = [record.get("history") for part in alike for record in part[part.method == "dcd"].record]
        ends = [history[-1]["scale"] for history in learned if history and "scale" in history[-1]]
        if ends:
            span = " to ".join(dict.fromkeys(f"{end:.2f}" for end in (min(ends), max(ends))))
            lines += f"\nlearned, it ends at {span} (n = {len(ends)}; it starts at 2.72, its cap is 10)"
        return lines.strip(), verdict

    def above_the_teacher(self) -> tuple[str, str]:
        found = []
        for part in filter(self._is_no_variant, self.groups):
            teacher, students = (part[part.method == method].accuracy for method in ("teacher", "dcd+kd"))
            if len(teacher) == 1 and len(students) > 1:
                found.append((self._name(part, ""), Paired.of(students - teacher.iloc[0])))
        lines, verdict = _judged(found)
        return lines, HOLDS if any(shown.differs and shown.mean > 0 for _, shown in found) else verdict

    def _differs(self, part: pd.DataFrame) -> set[str]:
        """In what a group is not the main one."""
        keys = ("dataset", "teacher", "student", "epochs", "batch_size", "precision")
        return {key for key in keys if part[key].iloc[-1] != self.main[key]}

    def _is_no_variant(self, part: pd.DataFrame) -> bool:
        """Whether a group is the main one, or another teacher, pair or data set: not the same with another budget."""
        differs = self._differs(part)
        return bool(differs & {"dataset", "teacher", "student"}) or not differs & {"epochs", "batch_size"}

    def _name(self, part: pd.DataFrame, beside: str) -> str:
        """What tells a group from the main one."""
        first = part.iloc[-1]
        if first.kind == "probe":
            return ", ".join(filter(None, (beside, f"{first.dataset} to {first.target}")))
        differs, teacher = self._differs(part), ""
        if differs & {"teacher", "student"}:
            teacher = f"{first.teacher} to {first.student}"
        elif "dataset" not in differs and first.group != self.main.group:
            level = part[part.method == "teacher"].accuracy.mean()
            teacher = f"another {first.teacher}" + (f" ({level:.1f} %)" if level == level else "")
        told = {"dataset": first.dataset, "epochs": f"{first.epochs} epochs", "precision": first.precision}
        dataset, *budget = (told[key] if key in differs else "" for key in told)
        return ", ".join(filter(None, (beside, dataset, teacher, *budget)))


def _judged(found: list[tuple[str, Paired]]) -> tuple[str, str]:
    """Return a line for each difference, and the verdict; one seed shows nothing beside several."""
    found = [line for line in found if line[1].n > 1] or [line for line in found if line[1].n]
    lines = []
    for name, shown in found:
        interval = f", {shown.low:+.2f} to {shown.high:+.2f}" if shown.n > 1 else ""
        lines.append(f"{name}{': ' if name else ''}{shown.mean:+.2f}{interval} (n = {shown.n})")
    above = [shown.mean > 0 for _, shown in found if shown.differs]
    if not found or not found[0][1].differs:
        verdict = OPEN if found else NOT_MEASURED
    else:
        verdict = MIXED if len({*above}) > 1 else HOLDS if above[0] else FAILS
    return "\n".join(lines), verdict


def _transfer(method: str, against: str) -> str:
    names = {"STL-10": "stl10", "Tiny ImageNet": "tiny_imagenet"}
    tables = {name: published(target).set_index("method").accuracy for name, target in names.items()}
    return ", ".join(f"{table[method] - table[against]:+.1f} on {name}" for name, table in tables.items())
