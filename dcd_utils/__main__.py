"""The course from a shell: python -m dcd_utils {doctor, train, distill, reproduce, transfer, export, ...}."""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import replace
from pathlib import Path

from dcd_utils import data, distributed, experiments, files, losses, models, runtime, training
from dcd_utils.experiments import doctor, speed
from dcd_utils.experiments.export import FORMATS
from dcd_utils.experiments.plan import begin_teacher, fine_tuning
from dcd_utils.experiments.report import draw, fill, speed_table
from dcd_utils.experiments.transfer import transfer
from dcd_utils.records import write_record

_DRAWN = ("shapes", "new_shapes")
_AT_32 = (*_DRAWN, "cifar100")  # images of 32x32, whatever one asks for


def main(arguments: list[str] | None = None) -> int:
    files.print_anything()
    parser = _parser()
    try:
        distributed.start(runtime.device)
        options = parser.parse_args(arguments)
        if distributed.world() > 1 and options.command not in (_train, _distill, _reproduce, _transfer):
            raise ValueError("only train, distill, reproduce and transfer know several processes: leave torchrun out")
        options.command(options)
        if distributed.world() > 1:
            distributed.dist.destroy_process_group()
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if words := distributed.complaint(error):
            print(f"{parser.prog}: {words}", file=sys.__stderr__ if distributed.rank() else sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; what is finished is kept, the same command goes on after it", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    description = "Discriminative and consistent distillation, from a shell."
    parser = argparse.ArgumentParser("python -m dcd_utils", description=description)
    commands = parser.add_subparsers(required=True, metavar="command")

    help = "what is at hand, how fast this machine trains, how long the course and CIFAR-100 would take (ten seconds)"
    commands.add_parser("doctor", help=help).set_defaults(command=_doctor)

    def options(*parents):
        group = argparse.ArgumentParser(add_help=False, parents=parents)
        return group, group.add_argument

    common, add = options()
    add("--profile", default="quick", help="quick (embedded shapes), full or imagenet (the paper's recipes)")
    add("--dataset", help=f"instead of the profile's: {', '.join(data.names())}")
    add("--root", help="where the data lies; folder: holds train/<class>/<image> and test/<class>/<image>")
    add("--epochs", type=int, help="instead of the recipe's; the rate then follows one cycle")
    add("--batch-size", type=int, help="of all processes together")
    add("--learning-rate", type=float)
    add("--precision", choices=("auto", "fp32", "bf16"))
    add("--side", type=int, help="height and width of images of your own; default: 32, for imagenet 224")
    add("--stream", action="store_true", default=None, help="read a folder anew for each batch (above 4 GB: done)")
    add("--workers", type=int, help="processes that read streamed images; default: the cores that are left")
    add("--micro-batch", type=int, metavar="N", help="a batch passes in parts of N, for a small device")
    add("--sync-batch-norm", action="store_true", help="under torchrun, on GPUs: batch norm over the whole batch")
    add("--checkpoint-steps", type=int, metavar="N", help="of an epoch, between checkpoints; default: 1000")
    add("--train-size", type=int, help="how many images of shapes to make; default: 3000")
    add("--test-size", type=int, help="as --train-size; default: 2000")
    held_out = "to choose settings: test on N of the training images, train on the rest, leave the test images alone"
    add("--hold-out", type=int, metavar="N", help=held_out)
    add("--retrain", action="store_true", help="leave the trained networks that come with the course aside")
    one_run, add = options(common)
    add("--seed", type=int, default=0)
    add("--run-dir", help="the run's folder (distill: the student's); default: data/runs/<name>-<hash of config>")
    stored, add = options()
    places = "where a teacher's answers are kept for all runs that ask for the same: auto, off, device, memory or file"
    add("--cache", default="auto", help=places)
    pair, add = options()
    library = "instead of the profile's; a library's is written torchvision/NAME or timm/NAME"
    add("--teacher", help=library)
    add("--student", help=library)
    several, add = options()
    add("--seeds", nargs="+", type=int, help="instead of the profile's")
    add("--label", help="what records and tables call the data that is learned; default: the data set's name")

    def command(run, help: str, *parents):
        parser = commands.add_parser(run.__name__[1:], parents=parents, help=help)
        parser.set_defaults(command=run)
        return parser.add_argument

    add = command(_train, "train a network on labels alone", one_run)
    networks = f"instead of the profile's teacher: {', '.join(models.names())}"
    add("--network", dest="teacher", metavar="NETWORK", help=networks)

    add = command(_distill, "distil a teacher (trained first, if need be) into a student", one_run, stored, pair)
    add("--method", default="dcd+kd", help=f'{", ".join(losses.names())}; "+kd" may follow any but kd')
    start = "where a teacher starts: a file, a run's folder, or pretrained (its library's weights). With an output for "
    start += "each class it is used as it is; another classifier is replaced, and the teacher fine-tuned first"
    add("--teacher-weights", metavar="FILE", help=start)

    grid = "pairs x methods x seeds, one record per run; resumable, and several shells that call it share the runs "
    grid += "(on a CPU, each with OMP_NUM_THREADS=1)"
    add = command(_reproduce, grid, common, stored, several)
    add("--pairs", nargs="+", metavar="TEACHER:STUDENT", help="for instance resnet56:resnet20")
    methods = f"alone, {', '.join(losses.names())}, any of them with +kd; all, all+kd: every one; settings behind "
    methods += "an @: dcd@alpha=0.25,max_scale=20 or dcd@weight=2"
    add("--methods", nargs="+", default=["alone", "kd", "dcd", "dcd+kd"], help=methods)
    add("--results", help="folder of the records; default: data/records/<dataset>")
    add("--teacher-seed", type=int, help="instead of the profile's; one teacher serves all students")
    start += "; TEACHER= may be left out where there is one"
    add("--teacher-weights", nargs="+", default=[], metavar="[TEACHER=]FILE", help=start)

    probing = "linear classifiers on frozen networks, for a data set they never saw"
    add = command(_transfer, probing, common, pair, several)
    targets = f"{', '.join(data.names())}; default: new_shapes (quick), stl10 and tiny_imagenet (full)"
    add("--to", nargs="+", metavar="DATASET", help=targets)
    add("--to-root", help="where these lie; as --root")
    methods = "alone, methods as for distill; random: the student before any training. The teacher is always probed"
    add("--methods", nargs="+", default=["random", "alone", "kd", "dcd", "dcd+kd"], help=methods)
    add("--results", help="where the folders transfer-<source>-<target> of the records lie; default: data/records")

    add = command(_export, "a run's network as one file for use elsewhere; its size and speed beside the teacher's")
    add("run", help="the folder of the run, as distill prints it")
    add("--to", choices=FORMATS, default="onnx", help="default: onnx; safetensors holds the weights alone")
    add("--output", metavar="PATH", help="default: data/exports/<name of the run>")

    add = command(_benchmark, "time a pair: the plain way, ours with a live and a stored teacher, the student alone")
    add("--teacher", default="resnet56", help="default: resnet56")
    add("--student", default="resnet20", help="default: resnet20")
    add("--batch-size", type=int, default=64)
    add("--steps", type=int, help="in each measurement; default: 30, on a GPU 300")
    add("--rounds", type=int, default=3, help="measurements of each way; the median counts; default: 3")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of all but the plain way")
    add("--json", metavar="PATH", help="keep the figures; `report` draws them")

    add = command(_report, "records as tables")
    add("results", nargs="?", help="folder of the records; default, with --into: data/results")
    add("--published", action="store_true", help="beside the published figures, in the paper's layout")
    into = "renew the tables of Markdown pages: what stands between <!-- results: FOLDER --> (or published, summary, "
    add("--into", nargs="+", metavar="PAGE", help=f"{into}scorecard) and <!-- end -->")
    add("--plot", metavar="PNG", help="draw every run, or benchmark, too")
    return parser


def _doctor(options) -> None:
    for what, finding in doctor.doctor():
        print(f"{what:>13}: {finding}", flush=True)


def _chosen(options, *names: str) -> dict:
    """Return those of the named options that the command has and that are not None."""
    return {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}


def _prepare(options):
    """Return (profile, train, test) that the options ask for; the profile's recipes carry the options' changes."""
    choices = _chosen(options, "dataset", "root", "epochs", "teacher", "student", "seeds", "retrain")
    profile = experiments.profile(options.profile, **choices)
    changes = _chosen(options, "batch_size", "learning_rate", "precision")
    recipes = {name: getattr(profile, name).but(**changes) for name in ("teacher_recipe", "recipe")}
    sizes = _chosen(options, "train_size", "test_size", "side", "stream", "workers")
    if {"train_size", "test_size"} & set(sizes) and profile.dataset not in _DRAWN:
        drawn = " and ".join(_DRAWN)
        raise ValueError(f'"{profile.dataset}" has the size it has: only {drawn} take --train-size and --test-size')
    if "side" in sizes and profile.dataset in _AT_32 and not (options.root and profile.dataset in _DRAWN):
        raise ValueError(f'"{profile.dataset}" has images of 32x32: only files of your own take --side')
    sets = distributed.first_here_first(lambda: profile.load(**sizes))
    if options.hold_out is not None:
        sets = sets[0].hold_out(options.hold_out)
    if getattr(options, "label", None):
        sets = tuple(replace(images, name=options.label) for images in sets)
    _say(*sets)
    execution = training.Execution(**_chosen(options, "micro_batch", "sync_batch_norm", "checkpoint_steps"))
    return replace(profile, **recipes, execution=execution), *sets


def _say(train, test) -> None:
    size = "x".join(map(str, train.images.shape[2:])) + ", streamed" * train.streams
    images = f"{len(train):,} training and {len(test):,} test images of {size}"
    several = f", {distributed.world()} processes" * (distributed.world() > 1)
    print(f"{train.name}: {images}, {train.num_classes} classes, on {train.device}{several}", flush=True)


def _train(options) -> None:
    profile, train, test = _prepare(options)
    network = models.create(profile.teacher, train.num_classes, seed=options.seed)
    recipe = training.recipe_for(profile.teacher_recipe, profile.teacher)
    ways = _chosen(options, "seed", "run_dir", "retrain") | {"execution": profile.execution}
    print(f"kept in {training.train(network, train, test, recipe, **ways).run_dir}")


def _distill(options) -> None:
    profile, train, test = _prepare(options)
    print(f"teacher {profile.teacher}, student {profile.student}, method {options.method}")
    if options.method.lower() == "alone":
        raise ValueError('"alone" distils nothing: python -m dcd_utils train --network STUDENT trains on labels alone')
    student = models.create(profile.student, train.num_classes, seed=options.seed)
    start = options.teacher_weights or None
    teacher, knows = begin_teacher(profile.teacher, train.num_classes, profile.teacher_seed, start)
    recipe = training.recipe_for(profile.recipe, profile.student)
    # what cannot work is told before the teacher is trained, not after
    training.check_method(student, teacher, train, options.method, recipe.batch_size, cache=options.cache)
    if knows:
        print(f"{profile.teacher}: {training.evaluate(teacher, test)[0]:.2f} % (weights from a file)")
    else:
        teacher_recipe = training.recipe_for(profile.teacher_recipe, profile.teacher)
        parts = (train, test, fine_tuning(teacher_recipe) if start else teacher_recipe, profile.teacher_seed)
        teacher = training.train(teacher, *parts, retrain=options.retrain, execution=profile.execution).model
    choices = _chosen(options, "seed", "run_dir", "cache", "retrain") | {"execution": profile.execution}
    run = training.distill(student, teacher, train, test, options.method, recipe, **choices)
    print(f"kept in {run.run_dir}")


def _reproduce(options) -> None:
    profile, train, test = _prepare(options)
    pairs = [tuple(pair.split(":")) for pair in options.pairs or [f"{profile.teacher}:{profile.student}"]]
    if wrong := [":".join(pair) for pair in pairs if len(pair) != 2]:
        raise ValueError(f'pair "{wrong[0]}" was given: write TEACHER:STUDENT, for instance resnet56:resnet20')
    teachers = list(dict.fromkeys(teacher for teacher, _ in pairs))
    weights = dict(entry.split("=", 1) for entry in options.teacher_weights if "=" in entry)
    unnamed = [entry for entry in options.teacher_weights if "=" not in entry]
    if len(unnamed) > 1 or (unnamed and (weights or len(teachers) > 1)):
        raise ValueError(f"--teacher-weights: write TEACHER=FILE for each of {', '.join(teachers)}")
    weights.update(zip(teachers, unnamed, strict=False))  # at most one, for the only teacher
    teacher_seed = profile.teacher_seed if options.teacher_seed is None else options.teacher_seed
    results = Path(options.results or files.data_dir() / "records" / profile.dataset)
    try:
        experiments.reproduce(
            pairs, options.methods, profile.seeds, train, test, profile.recipe, results, profile.teacher_recipe,
            teacher_seed, weights, **_chosen(options, "cache", "retrain"), execution=profile.execution,
        )
    except RuntimeError:
        with contextlib.suppress(ValueError, OSError):
            print(experiments.report(results))  # what failed is in it, beside what did not
        raise
    print(distributed.from_first(lambda: experiments.report(results)))


def _transfer(options) -> None:
    names = options.to or (["new_shapes"] if options.profile == "quick" else ["stl10", "tiny_imagenet"])
    profile, train, test = _prepare(options)
    targets = {}
    for name in names:
        # what is drawn takes no root, and says so where nothing else was asked for
        root = None if name in _DRAWN and len(names) > 1 else options.to_root
        sizes = {} if name in _AT_32 else _chosen(options, "side")
        targets[name] = distributed.first_here_first(lambda: data.load(name, root, **sizes))  # noqa: B023
        _say(*targets[name])
    results = Path(options.results or files.data_dir() / "records")
    for folder in transfer(profile, options.methods, train, test, targets, results):
        print(distributed.from_first(lambda: experiments.report(folder)), flush=True)  # noqa: B023


def _export(options) -> None:
    print(experiments.export(options.run, options.to, options.output))


def _benchmark(options) -> None:
    record = speed.benchmark(**_chosen(options, "teacher", "student", "batch_size", "steps", "rounds", "precision"))
    print(speed_table([record]))
    if options.json:
        write_record(Path(options.json), record)


def _report(options) -> None:
    if options.into:
        for page in map(Path, options.into):
            fill(page, Path(options.results or files.data_dir() / "results"))
        return
    if not options.results:
        raise ValueError("report needs a folder of records, for instance data/results/shapes, or --into PAGE")
    print(experiments.comparison(options.results) if options.published else experiments.report(options.results))
    if options.plot:
        draw(options.results, options.plot)


if __name__ == "__main__":
    sys.exit(main())
