"""Images that are read when a batch asks for them: the same whatever reads them, in any order, from any moment on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from jpegs import write_folder
from PIL import Image
from small import numbers, stop_at
from torchvision.transforms import v2

from dcd_utils import data, models, training
from dcd_utils.data import folder
from dcd_utils.training import loop

ROOT = Path(__file__).resolve().parents[2]
STEPS = [(torch.tensor([3, 1, 40]), torch.tensor([5, 2**61, 7])), (torch.tensor([0, 59]), torch.tensor([1, 5]))]
RECIPE = training.Recipe(1, batch_size=8, learning_rate=0.01, schedule="one_cycle", milestones=(), precision="fp32")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("images"), 60, 40, 90)


@pytest.fixture(autouse=True)
def one_thread():
    """Their number decides last bits, and changes with what else the machine does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(tree, workers=0, side=32):
    return data.load("imagenet", root=tree, side=side, workers=workers, device="cpu")


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_who_reads_them(tree, workers):
    alone, several = load(tree)[0], load(tree, workers)[0]
    expected = [alone.batch(*step) for step in STEPS]
    assert [images.shape for images in expected] == [(3, 3, 32, 32), (2, 3, 32, 32)]
    before = torch.get_rng_state()
    for images, wanted in zip(several.batches(STEPS), expected, strict=True):
        assert torch.equal(images, wanted) and several.reading > 0 == alone.reading
    assert torch.equal(torch.get_rng_state(), before), "and nobody's random numbers move"


def test_a_view_is_a_random_resized_crop_and_a_test_image_its_middle(tree):
    train, test = load(tree)
    path = train.images.folder / os.fsdecode(train.images.names[7])
    with Image.open(path) as image:
        torch.manual_seed(99)
        crop = v2.Compose([v2.RandomResizedCrop(32), v2.RandomHorizontalFlip(), v2.PILToTensor()])(image)
    assert torch.equal(train.batch(torch.tensor([7]), torch.tensor([99])), train.normalize(crop[None]))
    with Image.open(test.images.folder / os.fsdecode(test.images.names[0])) as image:
        middle = v2.Compose([v2.Resize(37), v2.CenterCrop(32), v2.PILToTensor()])(image)
    assert torch.equal(test.batch(torch.tensor([0])), test.normalize(middle[None]))
    views = {tuple(train.batch(torch.tensor([7]), torch.tensor([view])).flatten().tolist()) for view in range(5)}
    assert len(views) == 5


def test_a_streamed_set_is_a_set(tree):
    train, test = load(tree)
    in_memory = data.load("folder", root=tree, device="cpu", cache=False)[0]
    assert train.streams and not in_memory.streams and train.classes == in_memory.classes
    assert torch.equal(train.labels, in_memory.labels) and len(train) == 60 and train.images.shape == (60, 3, 32, 32)
    rest, held_out = train.hold_out(20)
    assert len(rest) == 40 and held_out.streams and held_out.digest() != rest.digest() != train.digest()
    chosen = train.subset([5, 2])
    view = torch.tensor([11])
    assert torch.equal(chosen.batch(torch.tensor([1]), view), train.batch(torch.tensor([2]), view))
    assert load(tree, side=48)[0].digest() != train.digest() == load(tree, workers=2)[0].digest() != test.digest()
    assert training.evaluate(models.create("resnet8", 20, seed=0), test) == training.evaluate(
        models.create("resnet8", 20, seed=0), load(tree, 2)[1], batch_size=7
    )


def test_what_would_fill_the_memory_streams_by_itself(tree, monkeypatch):
    sets = {}
    monkeypatch.setattr(folder, "STREAMED", 60 * 3 * 32 * 32)
    sets["as much"] = data.load("folder", root=tree, device="cpu")[0]
    monkeypatch.setattr(folder, "STREAMED", 60 * 3 * 32 * 32 - 1)
    sets["more"] = data.load("folder", root=tree, device="cpu")[0]
    sets["more, but one says no"] = data.load("folder", root=tree, stream=False, device="cpu")[0]
    assert [name for name, images in sets.items() if images.streams] == ["more"]


def test_a_run_goes_on_in_the_middle_of_an_epoch(tree, tmp_path, monkeypatch):
    """Stopped after five steps of eight, and taken up with other workers: the weights of an unbroken run."""
    execution = training.Execution(checkpoint_steps=2)
    teacher, found = models.create("torchvision/resnet18", 20, seed=1), {}
    for what, workers in (("unbroken", 0), ("taken up", 1)):
        student = models.create("torchvision/resnet18", 20, seed=0)
        parts = (student, teacher, *load(tree, workers), "dcd+kd", RECIPE)
        choices = {"run_dir": tmp_path / what, "execution": execution}
        if what == "taken up":
            with monkeypatch.context() as patch, pytest.raises(Exception, match="^$"):
                stop_at(patch, loop.Step, "forward", 6)
                training.distill(*parts, **choices)
            assert [path.name for path in (tmp_path / what).glob("*.pt")] == ["checkpoint-0-4.pt"]
            steps = stop_at(monkeypatch, loop.Step, "forward", -1)
            student = models.create("torchvision/resnet18", 20, seed=0)
            parts = (student, teacher, *load(tree, 2), "dcd+kd", RECIPE)
        found[what] = training.distill(*parts, **choices)
    assert len(steps) == 4, "only what was missing"
    assert torch.equal(numbers(found["unbroken"].model), numbers(found["taken up"].model))
    rows = [{k: v for k, v in run.rows[0].items() if k not in TIMES} for run in found.values()]
    assert rows[0] == rows[1] and "waiting" in found["taken up"].rows[0]


TIMES = ("seconds", "images_per_second", "waiting")


def test_a_killed_command_goes_on_within_the_epoch(tree, tmp_path):
    """Through the command line, with torchvision's networks as teacher and student."""
    command = [sys.executable, "-m", "dcd_utils", "distill", "--profile", "imagenet", "--root", str(tree)]
    command += ["--side", "32", "--epochs", "1", "--batch-size", "4", "--checkpoint-steps", "2", "--precision", "fp32"]
    command += ["--workers"]
    variables = {**os.environ, "DCD_DATA": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    settings = {"env": variables, "cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    with subprocess.Popen([*command, "1"], **settings) as process:
        while not list(tmp_path.glob("runs/*resnet18*/checkpoint-0-*.pt")):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    subprocess.run([*command, "2"], **settings, check=True)
    subprocess.run([*command, "0", "--run-dir", "unbroken"], **settings, check=True)
    records = [*tmp_path.glob("runs/*resnet18*/result.json"), tmp_path / "unbroken" / "result.json"]
    taken_up, unbroken = (json.loads(record.read_text(encoding="utf-8"))["final_weights"] for record in records)
    assert taken_up == unbroken


def test_a_broken_file_is_named_whoever_meets_it(tree, tmp_path):
    root = write_folder(tmp_path / "images", 40, 20, 60)
    path = sorted((root / "train").rglob("*.JPEG"))[9]
    path.write_bytes(path.read_bytes()[:200])
    for workers in (0, 1):
        train, test = load(root, workers)
        with pytest.raises(ValueError, match=f'"{path}" cannot be read as an image .*: replace it or remove it'):
            training.train(models.create("resnet8", 20, seed=0), train, test, RECIPE, run_dir=tmp_path / "run")


def test_a_worker_that_is_killed_is_told_and_nothing_hangs(tree):
    stream = load(tree, 1)[0].batches([*STEPS] * 200)
    next(stream)
    for process in Path("/proc").glob("[0-9]*/stat"):
        if process.read_text(encoding="utf-8").rpartition(")")[2].split()[1] == str(os.getpid()):
            os.kill(int(process.parent.name), signal.SIGKILL)
    with pytest.raises(RuntimeError, match="was ended, probably for want of memory: choose fewer workers"):
        list(stream)


def test_too_little_shared_memory_is_told_before_the_first_image(tree, monkeypatch):
    def full(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(RuntimeError, match="ahead, 0 MB, does not fit into the shared memory: choose fewer workers or"):
        next(load(tree, 1)[0].batches(STEPS))
    next(load(tree, 0)[0].batches(STEPS))


def test_folders_of_imagenet_that_are_not_whole(tree, tmp_path):
    root = write_folder(tmp_path / "images", 40, 20, 60)
    gone = sorted((root / "val").iterdir())[3]
    for path in gone.iterdir():
        path.rename(root / "val" / path.name)
    gone.rmdir()
    with pytest.raises(FileNotFoundError, match=f'no test images of 1 classes .{gone.name}.*unpack the rest'):
        load(root)
    for path in [*(root / "val").rglob("*.JPEG")]:
        path.rename(root / "val" / path.name)
    for place in [*(root / "val").iterdir()]:
        if place.is_dir():
            place.rmdir()
    with pytest.raises(FileNotFoundError, match="no images below .*val.*sorted so by torchvision.datasets.ImageNet"):
        load(root)
    with pytest.raises(ValueError, match="needs root="):
        data.load("imagenet")


def test_stored_answers_are_refused_for_views_without_number(tree, tmp_path):
    student, teacher = (models.create("resnet8", 20, seed=seed) for seed in (0, 1))
    with pytest.raises(ValueError, match='cache="memory" was given: streamed images'):
        training.distill(student, teacher, *load(tree), recipe=RECIPE, run_dir=tmp_path / "run", cache="memory")


MEMORY = """
import resource, sys
from dcd_utils import data
from dcd_utils.training import loop
train, _ = data.load("imagenet", root=sys.argv[1], side=64, workers=0, device="cpu")
for _ in train.batches(loop.split(*loop.draw(len(train), 0, 0, train.num_views), 20, "cpu")):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    taken = []
    for count in (200, 2000):
        root = write_folder(tmp_path / str(count), count, 20, 50)
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        run = subprocess.run([sys.executable, "-c", MEMORY, str(root)], env=variables, capture_output=True, check=True)
        taken.append(int(run.stdout.split()[-1]))
    assert taken[1] < 1.05 * taken[0], taken
