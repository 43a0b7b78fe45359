"""The course from a shell: python -m dcd_utils {doctor, train, distill, reproduce, report}."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from dcd_utils import data, losses, models, runtime, training


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
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

    one = commands.add_parser("train", parents=[common], help="train a network on labels alone")
    one.add_argument("--network", help=f"instead of the profile's teacher: {', '.join(models.names())}")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--run-dir", help="the run's folder; default: data/runs/<name>-<hash of config>")
    one.set_defaults(command=_train)

    two = commands.add_parser(
        "distill", parents=[common], help="distil a teacher (trained first, if need be) into a student"
    )
    two.add_argument("--teacher")
    two.add_argument("--student")
    two.add_argument("--method", default="dcd+kd", help=f'{", ".join(losses.names())}; "+kd" may follow any but kd')
    two.add_argument("--seed", type=int, default=0)
    two.add_argument("--run-dir", help="the student's folder")
    two.set_defaults(command=_distill)

    grid = commands.add_parser("reproduce", parents=[common], help="pairs x methods x seeds, one log a run; resumable")
    grid.add_argument("--pairs", nargs="+", metavar="TEACHER:STUDENT", help="for instance resnet56:resnet20")
    grid.add_argument("--methods", nargs="+", default=["alone", "kd", "dcd", "dcd+kd"])
    grid.add_argument("--seeds", nargs="+", type=int, help="instead of the profile's")
    grid.add_argument("--label", help="what logs and tables call the data; default: the data set's name")
    grid.add_argument("--results", help="folder of the logs; default: data/results/<dataset>")
    grid.add_argument("--teacher-seed", type=int, help="instead of the profile's; one teacher serves all students")
    grid.set_defaults(command=_reproduce)

    table = commands.add_parser("report", help="logs as a table")
    table.add_argument("results", help="folder of the logs")
    table.add_argument(
        "--into", metavar="FILE", help="replace the table between <!-- results: NAME --> and <!-- end -->"
    )
    table.add_argument("--plot", metavar="PNG", help="draw every run, too")
    table.set_defaults(command=_report)
    return parser


def _prepare(options, **choices):
    """(profile, train, test) that the options ask for; the profile's recipes carry the options' changes."""
    profile = training.profile(options.profile, options.dataset, options.root, epochs=options.epochs, **choices)
    given = {name: getattr(options, name) for name in ("batch_size", "learning_rate", "precision")}
    changes = {name: value for name, value in given.items() if value is not None}
    recipes = {name: getattr(profile, name).but(**changes) for name in ("teacher_recipe", "recipe")}
    return replace(profile, **recipes), *profile.load()


def _train(options) -> None:
    profile, train, test = _prepare(options, teacher=options.network)
    network = models.create(profile.teacher, train.num_classes, seed=options.seed)
    run = training.train(network, train, test, profile.teacher_recipe, options.seed, options.run_dir)
    print(f"kept in {run.run_dir}")


def _distill(options) -> None:
    profile, train, test = _prepare(options, teacher=options.teacher, student=options.student)
    losses.parse(options.method)
    network = models.create(profile.teacher, train.num_classes, seed=profile.teacher_seed)
    teacher = training.train(network, train, test, profile.teacher_recipe, profile.teacher_seed)
    student = models.create(profile.student, train.num_classes, seed=options.seed)
    run = training.distill(
        student, teacher.model, train, test, options.method, profile.recipe, options.seed, options.run_dir
    )
    print(f"kept in {run.run_dir}")


def _reproduce(options) -> None:
    profile, train, test = _prepare(options, seeds=options.seeds)
    pairs = [tuple(pair.split(":")) for pair in options.pairs or [f"{profile.teacher}:{profile.student}"]]
    for pair in pairs:
        if len(pair) != 2:
            raise ValueError(
                f'pair "{":".join(pair)}" was given: write TEACHER:STUDENT, for instance resnet56:resnet20'
            )
    results = Path(options.results) if options.results else runtime.data_dir() / "results" / profile.dataset
    training.reproduce(
        pairs,
        options.methods,
        profile.seeds,
        train,
        test,
        profile.recipe,
        results,
        options.label or profile.dataset,
        profile.teacher_recipe,
        profile.teacher_seed if options.teacher_seed is None else options.teacher_seed,
    )
    print(training.report(results))


def _report(options) -> None:
    text, folder = training.report(options.results), Path(options.results)
    print(text)
    if options.into:
        start, end = f"<!-- results: {folder.name} -->\n", "<!-- end -->"
        before, found, after = Path(options.into).read_text().partition(start)
        if not found or end not in after:
            raise ValueError(f'"{options.into}" has no lines "{start.strip()}" and "{end}" to put the table between')
        Path(options.into).write_text(before + start + text + end + after.split(end, 1)[1])
    if options.plot:
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
