"""The course from a shell: python -m dcd_utils {doctor, train, distill, reproduce, transfer, benchmark, report}."""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import torch

from dcd_utils import analysis, data, losses, models, runtime, training
from dcd_utils.training import benchmark, cache, transfer
from dcd_utils.training.runs import file_stem


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; what is finished is kept, the same command goes on after it", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dcd_utils", description="Discriminative and consistent distillation, from a shell."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    doctor = commands.add_parser("doctor", help="what is installed, which device is used, where data lies")
    doctor.set_defaults(command=lambda options: print(runtime.environment_report()))

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--profile", default="quick", help="quick (embedded shapes) or full (the paper's recipe on CIFAR-100)"
    )
    common.add_argument("--dataset", help=f"instead of the profile's: {', '.join(data.names())}")
    common.add_argument(
        "--root", help="where the data lies; folder: holds train/<class>/<image> and test/<class>/<image>"
    )
    common.add_argument("--epochs", type=int, help="instead of the recipe's; the rate then follows one cycle")
    common.add_argument("--batch-size", type=int)
    common.add_argument("--learning-rate", type=float)
    common.add_argument("--precision", choices=("auto", "fp32", "bf16"))
    common.add_argument("--side", type=int, help="height and width of images of your own; default: 32")
    common.add_argument("--train-size", type=int, help="how many images of shapes to make; default: 4000")
    common.add_argument("--test-size", type=int, help="as --train-size; default: 2000")
    common.add_argument(
        "--hold-out",
        type=int,
        metavar="N",
        help="to choose settings: test on N of the training images, train on the rest, leave the test images alone",
    )

    speed = argparse.ArgumentParser(add_help=False)
    speed.add_argument(
        "--plain",
        action="store_true",
        help="nothing that saves time: 32-bit numbers, channels first, a live teacher; for comparison",
    )
    stored = argparse.ArgumentParser(add_help=False)
    stored.add_argument(
        "--cache",
        default="auto",
        help="where the teacher's answers are kept for all runs that ask for the same: auto, off, device, memory or "
        "file; with :fp16 behind it, in half the room and not exactly",
    )

    one = commands.add_parser("train", parents=[common, speed], help="train a network on labels alone")
    one.add_argument("--network", help=f"instead of the profile's teacher: {', '.join(models.names())}")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--run-dir", help="the run's folder; default: data/runs/<name>-<hash of config>")
    one.set_defaults(command=_train)

    two = commands.add_parser(
        "distill", parents=[common, speed, stored], help="distil a teacher (trained first, if need be) into a student"
    )
    two.add_argument("--teacher")
    two.add_argument("--student")
    two.add_argument("--method", default="dcd+kd", help=f'{", ".join(losses.names())}; "+kd" may follow any but kd')
    two.add_argument("--teacher-weights", metavar="FILE", help="load the teacher instead of training it")
    two.add_argument("--seed", type=int, default=0)
    two.add_argument("--run-dir", help="the student's folder")
    two.set_defaults(command=_distill)

    grid = commands.add_parser(
        "reproduce", parents=[common, speed, stored], help="pairs x methods x seeds, one log a run; resumable"
    )
    grid.add_argument("--pairs", nargs="+", metavar="TEACHER:STUDENT", help="for instance resnet56:resnet20")
    grid.add_argument(
        "--methods",
        nargs="+",
        default=["alone", "kd", "dcd", "dcd+kd"],
        help=f"alone, {', '.join(losses.names())}, any of them with +kd; all, all+kd: every one; settings behind an @: "
        "dcd@alpha=0.25,max_scale=20 or dcd@weight=2",
    )
    grid.add_argument("--seeds", nargs="+", type=int, help="instead of the profile's")
    grid.add_argument("--label", help="what logs and tables call the data; default: the data set's name")
    grid.add_argument("--results", help="folder of the logs; default: data/results/<dataset>")
    grid.add_argument("--teacher-seed", type=int, help="instead of the profile's; one teacher serves all students")
    grid.add_argument(
        "--teacher-weights",
        nargs="+",
        default=[],
        metavar="[TEACHER=]FILE",
        help="load teachers instead of training them; the name may be left out where there is one",
    )
    grid.add_argument("--jobs", type=int, default=1, help="processes of one thread each (for CPUs); default: 1")
    grid.set_defaults(command=_reproduce)

    probes = commands.add_parser(
        "transfer", parents=[common], help="linear classifiers on frozen networks, for a data set they never saw"
    )
    probes.add_argument(
        "--to",
        nargs="+",
        metavar="DATASET",
        help=f"{', '.join(data.names())}; default: new_shapes (quick), stl10 and tiny_imagenet (full)",
    )
    probes.add_argument("--to-root", help="where these lie; as --root")
    probes.add_argument("--teacher")
    probes.add_argument("--student")
    probes.add_argument(
        "--methods",
        nargs="+",
        default=["random", "alone", "kd", "dcd", "dcd+kd"],
        help="alone, methods as for distill; random: the student before any training. The teacher is always probed",
    )
    probes.add_argument("--seeds", nargs="+", type=int, help="instead of the profile's")
    probes.add_argument("--label", help="what logs and tables call the source; default: the data set's name")
    probes.add_argument(
        "--results", help="where the folders transfer-<source>-<target> of the logs lie; default: data/results"
    )
    probes.set_defaults(command=_transfer)

    clock = commands.add_parser(
        "benchmark", help="time a pair: the plain way, ours with a live and a cached teacher, the student alone"
    )
    clock.add_argument("--teacher", default="resnet56", help="default: resnet56")
    clock.add_argument("--student", default="resnet20", help="default: resnet20")
    clock.add_argument("--batch-size", type=int, default=64)
    clock.add_argument("--batch-sizes", type=int, nargs="+", default=[], metavar="B", help="others, timed besides")
    clock.add_argument("--steps", type=int, help="in each measurement; default: 30, on a GPU 300")
    clock.add_argument("--rounds", type=int, default=3, help="measurements of each way; the median counts; default: 3")
    clock.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of all but the plain way")
    clock.add_argument("--json", metavar="PATH", help="keep the figures")
    clock.add_argument("--plot", metavar="PNG", help="draw them")
    clock.set_defaults(command=_benchmark)

    table = commands.add_parser("report", help="logs as a table")
    table.add_argument("results", help="folder of the logs")
    table.add_argument("--published", action="store_true", help="beside the published figures, in the paper's layout")
    table.add_argument(
        "--into",
        metavar="FILE",
        help="replace the table between <!-- results: NAME --> (or <!-- published: NAME -->) and <!-- end -->",
    )
    table.add_argument("--plot", metavar="PNG", help="draw every run, too")
    table.add_argument("--cost", metavar="PNG", help="of a benchmark: draw how cost grows, too")
    table.set_defaults(command=_report)
    return parser


def _prepare(options, **choices):
    """(profile, train, test) that the options ask for; the profile's recipes carry the options' changes."""
    profile = training.profile(options.profile, options.dataset, options.root, epochs=options.epochs, **choices)
    given = {name: getattr(options, name) for name in ("batch_size", "learning_rate", "precision")}
    changes = {name: value for name, value in given.items() if value is not None}
    recipes = {name: getattr(profile, name).but(**changes) for name in ("teacher_recipe", "recipe")}
    sizes = {name: getattr(options, name) for name in ("train_size", "test_size")}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    if sizes and profile.dataset != "shapes":
        raise ValueError(f'"{profile.dataset}" has the size it has: only "shapes" takes --train-size and --test-size')
    if options.side is not None:
        if profile.dataset in ("shapes", "new_shapes", "cifar100"):
            raise ValueError(f'"{profile.dataset}" has images of 32x32: only files of your own take --side')
        sizes["side"] = options.side
    sets = data.load(profile.dataset, profile.root, **sizes) if sizes else profile.load()
    if options.hold_out is not None:
        sets = sets[0].hold_out(options.hold_out)
    return replace(profile, **recipes), *sets


def _train(options) -> None:
    profile, train, test = _prepare(options, teacher=options.network)
    network = models.create(profile.teacher, train.num_classes, seed=options.seed)
    recipe = training.recipe_for(profile.teacher_recipe, profile.teacher)
    run = training.train(network, train, test, recipe, options.seed, options.run_dir, options.plain)
    print(f"kept in {run.run_dir}")


def _distill(options) -> None:
    profile, train, test = _prepare(options, teacher=options.teacher, student=options.student)
    if options.method.lower() == "alone":
        raise ValueError('"alone" distils nothing: python -m dcd_utils train --network STUDENT trains on labels alone')
    losses.parse(options.method)
    cache.parse(options.cache)
    network = models.create(profile.teacher, train.num_classes, seed=profile.teacher_seed)
    student = models.create(profile.student, train.num_classes, seed=options.seed)
    recipe = training.recipe_for(profile.recipe, profile.student)
    # what cannot work is told before the teacher is trained, not after
    training.check_method(student, network, train, options.method, recipe.batch_size)
    if options.teacher_weights:
        teacher = models.load_weights(network, options.teacher_weights)
        print(f"{profile.teacher}: {training.evaluate(teacher, test)[0]:.2f} % (weights from a file)")
    else:
        own = training.recipe_for(profile.teacher_recipe, profile.teacher)
        teacher = training.train(network, train, test, own, profile.teacher_seed, plain=options.plain).model
    choices = {"seed": options.seed, "run_dir": options.run_dir, "cache": options.cache, "plain": options.plain}
    run = training.distill(student, teacher, train, test, options.method, recipe, **choices)
    print(f"kept in {run.run_dir}")


def _reproduce(options) -> None:
    if options.jobs < 1:
        raise ValueError(f"--jobs {options.jobs} was given: at least one process must work")
    try:
        _share_grid(options)
    except RuntimeError:
        with contextlib.suppress(ValueError, OSError):
            print(training.report(_results_folder(options)))  # what failed is in it, beside what did not
        raise
    print(training.report(_results_folder(options)))


def _results_folder(options) -> Path:
    name = training.profile(options.profile, options.dataset, options.root).dataset
    return Path(options.results) if options.results else runtime.data_dir() / "results" / name


def _share_grid(options) -> None:
    """Train a grid, in as many processes as were asked for."""
    if options.jobs == 1:
        _train_grid(options)
    else:
        from dcd_utils.__main__ import _work  # not that of a module named "__main__", which workers cannot import

        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of several processes would overwrite each other
        spawn = multiprocessing.get_context("spawn")
        answers = spawn.SimpleQueue()
        options.command = None
        workers = [spawn.Process(target=_work, args=(options, answers), daemon=True) for _ in range(options.jobs)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found = [answers.get() for worker in workers if not worker.exitcode]
        if errors := {error for error in found if error}:
            raise RuntimeError("\n".join(sorted(errors)))
        if len(found) < len(workers):
            raise RuntimeError("a process died before its work was done: call the same command again to go on")


def _work(options, answers) -> None:
    """One of several processes on a grid: answers what is wrong, or None."""
    torch.set_num_threads(1)
    if parent := multiprocessing.parent_process():
        # killed, the parent cannot end its workers, and they would go on unseen
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    try:
        _train_grid(options)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        answers.put(str(error))
    else:
        answers.put(None)


def _train_grid(options) -> Path:
    profile, train, test = _prepare(options, seeds=options.seeds)
    pairs = [tuple(pair.split(":")) for pair in options.pairs or [f"{profile.teacher}:{profile.student}"]]
    for pair in pairs:
        if len(pair) != 2:
            raise ValueError(
                f'pair "{":".join(pair)}" was given: write TEACHER:STUDENT, for instance resnet56:resnet20'
            )
    teachers = list(dict.fromkeys(teacher for teacher, _ in pairs))
    weights = dict(entry.split("=", 1) for entry in options.teacher_weights if "=" in entry)
    unnamed = [entry for entry in options.teacher_weights if "=" not in entry]
    if len(unnamed) > 1 or (unnamed and (weights or len(teachers) > 1)):
        raise ValueError(f"--teacher-weights: write TEACHER=FILE for each of {', '.join(teachers)}")
    weights.update(zip(teachers, unnamed, strict=False))  # at most one, for the only teacher
    held_out = f", {options.hold_out:,} training images held out to test on" if options.hold_out is not None else ""
    return training.reproduce(
        pairs,
        options.methods,
        profile.seeds,
        train,
        test,
        profile.recipe,
        _results_folder(options),
        options.label or profile.dataset + held_out,
        profile.teacher_recipe,
        profile.teacher_seed if options.teacher_seed is None else options.teacher_seed,
        weights,
        options.cache,
        options.plain,
    )


def _benchmark(options) -> None:
    keys = ("teacher", "student", "batch_size", "steps", "rounds", "precision")
    result = benchmark.benchmark(**{key: getattr(options, key) for key in keys}, batch_sizes=tuple(options.batch_sizes))
    print(benchmark.table(result))
    if options.json:
        runtime.write_whole(Path(options.json), json.dumps(result, indent=1) + "\n")
    if options.plot:
        from dcd_utils import plots

        plots.speed([result]).savefig(options.plot, dpi=110, bbox_inches="tight")


def _transfer(options) -> None:
    methods = list(dict.fromkeys(method.lower() for method in options.methods))
    for method in {*methods} - {"random", "alone"}:
        losses.parse(method)  # a misspelt method fails here, not after downloads and trainings
    targets = options.to or (["new_shapes"] if options.profile == "quick" else ["stl10", "tiny_imagenet"])
    profile, train, test = _prepare(options, teacher=options.teacher, student=options.student, seeds=options.seeds)
    parts = {target: data.load(target, options.to_root) for target in dict.fromkeys(targets)}
    for target, (target_train, _) in parts.items():
        if target_train.digest() == train.digest():
            raise ValueError(f'--to "{target}": the networks learned on just these images; choose another data set')
    recipes = {"teacher_recipe": profile.teacher, "recipe": profile.student}
    profile = replace(
        profile, **{key: training.recipe_for(getattr(profile, key), name) for key, name in recipes.items()}
    )
    pair = [models.create(name, train.num_classes, seed=0) for name in (profile.student, profile.teacher)]
    for method in {*methods} - {"random", "alone"}:
        training.check_method(*pair, train, method, profile.recipe.batch_size)
    teacher, students = training.course_runs(profile, [name for name in methods if name != "random"], train, test)
    networks = {("teacher", profile.teacher_seed): (teacher.model, teacher.config, teacher.accuracy)}
    for seed in profile.seeds if "random" in methods else ():
        fresh = models.create(profile.student, train.num_classes, seed=seed).to(train.device)
        start = {"network": profile.student, "initial_weights": runtime.digest(fresh.state_dict())}
        networks["random", seed] = (fresh, start, None)
    networks |= {key: (run.model, run.config, run.accuracy) for key, run in students.items()}
    source = options.label or profile.dataset
    base = Path(options.results) if options.results else runtime.data_dir() / "results"
    for target, sets in parts.items():
        folder = base / f"transfer-{source}-{target}"
        for key, network in networks.items():
            _probe(folder, source, target, profile, *key, *network, *sets)
        print(transfer.probe_report(folder), flush=True)


def _probe(folder, source, target, profile, method, seed, network, run, accuracy, train, test) -> None:
    """Probe one network and log it, unless its log is there."""
    config = {"format": 1, "probe_seed": 0, "target_train": train.digest(), "target_test": test.digest(), "run": run}
    path = folder / f"{file_stem(f'{profile.teacher}-{profile.student}-{method}-seed{seed}')}.json"
    if transfer.find_probe(path, config) is not None:
        print(f"{path.stem} to {target}: logged before with exactly this config", flush=True)
        return
    found = analysis.linear_probe(network, train, test, seed=config["probe_seed"])
    print(f"{path.stem} to {target}: {found.accuracy:.2f} %", flush=True)
    log = {"source": source, "target": target, "teacher": profile.teacher, "student": profile.student}
    log |= {"network": run["network"], "method": method, "seed": seed, "accuracy": found.accuracy}
    log |= {"train_accuracy": found.train_accuracy, "C": found.C, "held_out": found.held_out}
    log |= {"source_accuracy": accuracy, "classes": train.num_classes, "images": [len(train), len(test)]}
    log |= {"hardware": runtime.hardware(), "versions": runtime.versions(), "config": config}
    transfer.write_probe(path, log)


def _report(options) -> None:
    folder, kind = Path(options.results), "published" if options.published else "results"
    if transfer.holds_probes(folder):
        if options.published or options.plot:
            raise ValueError(f'"{folder}" holds probes: leave out --published and --plot')
        text = transfer.probe_report(folder)
    elif benchmark.holds_benchmarks(folder):
        if options.published:
            raise ValueError(f'"{folder}" holds benchmarks, of which none are published: leave out --published')
        text = benchmark.benchmark_report(folder)
    else:
        text = training.comparison(folder) if options.published else training.report(folder)
    print(text)
    if options.into:
        start, end = f"<!-- {kind}: {folder.name} -->\n", "<!-- end -->"
        before, found, after = Path(options.into).read_text().partition(start)
        if not found or end not in after:
            raise ValueError(f'"{options.into}" has no lines "{start.strip()}" and "{end}" to put the table between')
        Path(options.into).write_text(before + start + text + end + after.split(end, 1)[1])
    if options.cost:
        if not benchmark.holds_benchmarks(folder):
            raise ValueError(f'"{folder}" holds no benchmark, so the cost cannot be told: leave out --cost')
        from dcd_utils import plots

        result = max(benchmark.read_benchmarks(folder), key=lambda each: len(each["by_batch_size"]))
        title = f"{result['teacher']} to {result['student']} on CIFAR-100: what training costs, and how it grows"
        plots.cost(benchmark.growth(result), title).savefig(options.cost, dpi=110, bbox_inches="tight")
    if options.plot and benchmark.holds_benchmarks(folder):
        from dcd_utils import plots

        plots.speed(benchmark.read_benchmarks(folder)).savefig(options.plot, dpi=110, bbox_inches="tight")
    elif options.plot:
        from dcd_utils import plots

        table = training.read_results(folder)
        teacher = table[table.method == "teacher"].accuracy.mean()
        students = table[table.method != "teacher"].sort_values(
            "method", key=lambda names: names.map(training.method_order)
        )
        students = students.assign(method=students.method.replace("alone", "student alone"))
        title = f"{table.teacher[0]} to {table.student[0]} on {table.dataset[0]}"
        plots.accuracy_by_method(students, teacher, title).savefig(options.plot, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    sys.exit(main())
