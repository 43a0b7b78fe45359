"""What features learned on one data set are worth on another: linear probes of a teacher and its students."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from dcd_utils import analysis, distributed, files, models
from dcd_utils.data import ImageSet
from dcd_utils.experiments.methods import settings_of, spelt_out
from dcd_utils.experiments.profiles import Profile, course_runs
from dcd_utils.records import make_record, read_record, write_record
from dcd_utils.training import check_method
from dcd_utils.training.config import config_hash, network_facts, weights_digest


def transfer(
    profile: Profile, methods: Iterable[str], train: ImageSet, test: ImageSet,
    targets: dict[str, tuple[ImageSet, ImageSet]], results: Path,
) -> list[Path]:
    """Train or load a teacher and its students, probe each on every target, and keep a record of each probe.

    Return the folders of the records, one per target: transfer-<source>-<target> in `results`.

    Args:
        methods: "alone", methods as `reproduce` takes them; "random": the student before any training. The teacher is
            always probed.
        train, test: the image sets to learn from.
        targets: name -> (train, test) of the data sets that the networks never saw.

    Raises:
        ValueError: an unknown method, one that cannot work with the pair, or a target that is what the networks learn
            from; nothing is then trained.
    """
    methods = list(dict.fromkeys(method.lower() for method in methods))
    learned = spelt_out(method for method in methods if method != "random")  # a misspelt method fails here
    for name, (target_train, _) in targets.items():
        if target_train.digest() == train.digest():
            raise ValueError(f'target "{name}": the networks learn on just these images; choose another data set')
    pair = [models.create(name, train.num_classes, seed=0) for name in (profile.student, profile.teacher)]
    for method, options, weights in (settings_of(method) for method in learned if method != "alone"):
        check_method(*pair, train, method, profile.recipe.batch_size, weights, options)
    teacher, students = course_runs(profile, learned, train, test)
    networks = {("teacher", profile.teacher_seed): (teacher.model, teacher.config, teacher.accuracy)}
    for seed in profile.seeds if "random" in methods else ():
        fresh = models.create(profile.student, train.num_classes, seed=seed).to(train.device)
        networks["random", seed] = (fresh, {"network": network_facts(fresh, train.num_classes)}, None)
    networks |= {key: (run.model, run.config, run.accuracy) for key, run in students.items()}
    return distributed.from_first(lambda: _probe_all(targets, networks, train.name, profile, results))


def _probe_all(targets: dict, networks: dict, source: str, profile: Profile, results: Path) -> list[Path]:
    folders = []
    for name, sets in targets.items():
        folders.append(results / files.file_name(f"transfer-{source}-{name}").replace(" ", "_"))
        data = {"name": source, "target": name, "train": len(sets[0]), "test": len(sets[1])}
        data["classes"] = sets[0].num_classes
        for (method, seed), (network, run, accuracy) in networks.items():
            labels = {"teacher": profile.teacher, "student": profile.student, "method": method, "seed": seed}
            _probe(folders[-1], network, run, sets, data, labels | {"source_accuracy": accuracy})
    return folders


def _probe(folder: Path, network: nn.Module, run: dict, sets: tuple, data: dict, labels: dict) -> None:
    """Probe one network and record it, unless its record is there."""
    train, test = sets
    facts = {"kind": "probe", "format": 2, "seed": 0, "train": train.digest(), "test": test.digest(), "run": run}
    label = f"{labels['teacher']}-{labels['student']}-{labels['method']}-seed{labels['seed']}"
    path = folder / files.file_name(f"{label}-{config_hash(facts)}.json")
    if path.exists() and read_record(path)["state"] == "finished":
        print(f"{label} to {data['target']}: probed before with exactly this config", flush=True)
        return
    probe = analysis.linear_probe(network, train, test, seed=facts["seed"])
    print(f"{label} to {data['target']}: {probe.accuracy:.2f} %", flush=True)
    results = {name: getattr(probe, name) for name in ("accuracy", "train_accuracy", "C", "held_out")}
    results["final_weights"] = weights_digest(network)
    write_record(path, make_record(facts, data, **labels, **results))
