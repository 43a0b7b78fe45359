"""Several processes: the loss and the gradient of one, whatever their number; one error, told once; nothing hangs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import together
import torch
from jpegs import write_folder

from dcd_utils import distributed, losses, models, runtime, training
from dcd_utils.models.parts import in_parts, recomputed

ROOT = Path(__file__).resolve().parents[2]
QUICKLY = ["--train-size", "96", "--test-size", "40", "--epochs", "1", "--network", "resnet8"]


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return {**kept, "OMP_NUM_THREADS": "1", "DCD_DEVICE": "cpu", "PYTHONPATH": str(ROOT), **more}


def torchrun(processes, *command, **more):
    """Start a command in so many processes, as a reader would."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    return subprocess.Popen(run, cwd=ROOT, env=environment(**more), **pipes)


def by_hand(*commands, **more):
    """Run a command in each of several processes that meet at a port; return what each said and its exit status."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"WORLD_SIZE": str(len(commands)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **more}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "dcd_utils", *command], cwd=ROOT, **pipes,
            env=environment(**{key: value for key, value in {**meeting, "RANK": str(rank)}.items() if value}),
        )
        for rank, command in enumerate(commands)
    ]  # fmt: skip
    return [(process.communicate(timeout=120)[0], process.returncode) for process in started]


def assert_same(found, expected):
    """Values, and all gradients of all steps, to a millionth of the largest in their tensor."""
    for what, (row, gradients, state) in expected.items():
        other_row, other_gradients, other_state = found[what]
        assert other_row == pytest.approx(row, rel=1e-6, abs=1e-6) and len(gradients) == len(other_gradients) == 3
        for step, other_step in zip(gradients, other_gradients, strict=True):
            assert [each is None for each in step] == [each is None for each in other_step]
            for gradient, other in zip(step, other_step, strict=True):
                if gradient is not None:
                    assert (other - gradient).abs().max() <= 1e-6 * gradient.abs().max().clamp(min=1e-3), what
        torch.testing.assert_close(other_state, state, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("processes", [2, 4])
def test_loss_and_gradient_of_every_method_are_those_of_one_process(tmp_path, processes):
    run = torchrun(processes, str(ROOT / "tests/training/together.py"), str(tmp_path / "found.pt"))
    said, _ = run.communicate(timeout=280)
    assert not run.returncode, said
    found = torch.load(tmp_path / "found.pt", weights_only=False)
    assert {name for name, _ in found} >= set(losses.names())
    for (name, size), of_several in found.items():
        assert_same(of_several, together.passed(together.images(size), *together.VARIANTS[name]))


def test_the_comparison_can_fail():
    """Fewer negatives, as in a shard that is contrasted with itself, are another loss."""
    names = ("dcd", "dcd, 4 negatives")
    found, other = (together.passed(together.images(35), *together.VARIANTS[name]) for name in names)
    with pytest.raises(AssertionError):
        assert_same(found, other)


@pytest.mark.parametrize("name", ["dcd+kd", "crd", "sp", "fitnet", "ab", "ft"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(name):
    parts = together.images(35), *together.VARIANTS[name]
    assert_same(together.passed(*parts, training.Execution(micro_batch=5)), together.passed(*parts))


def test_a_batch_in_parts_counts_its_images_once():
    """Batch norm has the statistics of the parts, as if each had passed by itself, and as often."""
    images = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    networks = [models.create(name, 5, seed=0).train() for name in ("resnet8", "resnet8", "torchvision/resnet18")]
    in_parts(recomputed(networks[0]), 5, images).pooled.sum().backward()
    for part in images.split(5):
        networks[1].features(part).pooled.sum().backward()
    torch.testing.assert_close(networks[0].state_dict(), networks[1].state_dict(), rtol=0, atol=0)
    pairs = zip(networks[0].parameters(), networks[1].parameters(), strict=True)
    assert all(torch.allclose(ours.grad, theirs.grad, atol=1e-5) for ours, theirs in pairs if theirs.grad is not None)
    in_parts(recomputed(networks[2]), 5, images).logits.sum().backward()  # torchvision's own graph


def test_two_processes_follow_one_over_an_epoch_of_shapes(tmp_path):
    found = []
    for processes in (1, 2):
        path = tmp_path / f"{processes}.pt"
        run = torchrun(
            processes, str(ROOT / "tests/training/together.py"), str(path), "shapes", DCD_DATA=str(tmp_path / path.stem)
        )
        said, _ = run.communicate(timeout=120)
        assert not run.returncode, said
        found.append(torch.load(path, weights_only=False))
    (losses_of_one, [row]), (losses_of_two, [other]) = found
    assert len(losses_of_one) == 20 and (losses_of_two - losses_of_one).abs().max() < 1e-4 * losses_of_one.max()
    assert other["train_loss"] == pytest.approx(row["train_loss"], rel=1e-4)
    assert abs(other["test_accuracy"] - row["test_accuracy"]) <= 1.0, "each image of the 200 is counted once"


def test_shares_cover_a_batch_once_and_evenly(monkeypatch):
    for processes in (1, 2, 3, 8):
        monkeypatch.setattr(distributed, "world", lambda processes=processes: processes)
        for images in (0, 1, 15, 16, 17, 64, 127):
            shares = distributed.shares(images)
            covered = [list(range(images))[share] for share in shares]
            assert len(shares) == processes
            if images < 2 * processes:
                assert covered == [list(range(images))] * processes, "too few to be divided: each has all"
            else:
                assert sum(covered, []) == list(range(images))
                assert max(map(len, covered)) - min(map(len, covered)) <= 1 and min(map(len, covered)) >= 2


def test_alone_nothing_is_gathered():
    rows = torch.randn(4, 3, requires_grad=True)
    assert distributed.gathered(rows) is rows and distributed.first_row(rows) == 0 and distributed.world() == 1


KILLED = [*QUICKLY[:-4], "--epochs", "40", "--network", "resnet8"]


def test_a_killed_process_ends_the_job_and_a_restart_loses_no_epoch(tmp_path):
    folder = tmp_path / "run"
    command = ["-m", "dcd_utils", "train", *KILLED, "--run-dir", str(folder)]
    run = torchrun(2, *command, DCD_DATA=str(tmp_path))
    while not list(folder.glob("checkpoint-2*.pt")):
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.05)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    if not children.exists():
        run.kill()
        pytest.skip("this system does not name a process's children")
    os.kill(int(children.read_text(encoding="utf-8").split()[-1]), signal.SIGKILL)
    killed = time.monotonic()
    said, _ = run.communicate(timeout=60)
    assert run.returncode and time.monotonic() - killed < 30
    assert "SIGKILL" in said and said.count("another process ended") <= 1 and "Traceback" in said
    kept = len(json.loads((folder / "result.json").read_text(encoding="utf-8"))["history"])
    assert kept >= 2
    again = torchrun(1, *command, DCD_DATA=str(tmp_path))
    said, _ = again.communicate(timeout=120)
    assert not again.returncode and "after 40 epochs" in said, "and one process takes up what two began"


FAULTS = {
    "a batch that cannot be divided": ([["train", *QUICKLY, "--batch-size", "33"]] * 2, "33 images was given to 2"),
    "too small a batch": ([["train", *QUICKLY, "--batch-size", "2"]] * 2, "at least 2 for each"),
    "other data": ([["train", *QUICKLY], ["train", *QUICKLY, "--train-size", "95"]], "run than the first: train is"),
    "batch norm of all on a CPU": ([["train", *QUICKLY, "--sync-batch-norm"]] * 2, "has it on GPUs only"),
    "a command for one": ([["report"]] * 2, "leave torchrun out"),
    "an unknown option": ([["train", "--speed", "9"]] * 2, "unrecognized arguments: --speed"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_an_error_is_told_once_and_every_process_ends(tmp_path, case):
    commands, words = FAULTS[case]
    ended = by_hand(*commands, DCD_DATA=str(tmp_path))
    assert all(status for _, status in ended) and "".join(said for said, _ in ended).count(words) == 1
    assert "Traceback" not in "".join(said for said, _ in ended)


def test_an_incomplete_environment_names_what_is_missing(tmp_path):
    [(said, status), _] = by_hand(*[["train", *QUICKLY]] * 2, DCD_DATA=str(tmp_path), MASTER_ADDR="")
    assert status and "MASTER_ADDR" in said and "start them with torchrun" in said and "Traceback" not in said


def test_a_grid_and_probes_by_two_processes_are_those_of_one(tmp_path):
    command = ["transfer", "--teacher", "resnet8", "--methods", "dcd", "--seeds", "0", "--epochs", "1"]
    command += ["--train-size", "96", "--test-size", "40", "--results", str(tmp_path / "probes")]
    grid = ["reproduce", "--pairs", "resnet8:resnet8", "--methods", "alone", "kd", "--seeds", "0", "--epochs", "1"]
    grid += ["--train-size", "96", "--test-size", "40", "--results", str(tmp_path / "records")]
    for commands, folder, count in ((grid, "records", 3), (command, "probes", 3)):
        ended = by_hand(commands, commands, DCD_DATA=str(tmp_path / "data"))
        assert [status for _, status in ended] == [0, 0] and not ended[1][0], ended
        assert len([*(tmp_path / folder).rglob("*.json")]) >= count - 1


def test_a_broken_image_is_named_by_whoever_meets_it(tmp_path):
    root = write_folder(tmp_path / "images", 96, 40, 80)
    broken = sorted((root / "train").rglob("*.JPEG"))[50]
    broken.write_bytes(broken.read_bytes()[:300])
    command = ["train", "--dataset", "imagenet", "--root", str(root), "--side", "32", "--epochs", "1", "--workers", "1"]
    ended = by_hand(*[[*command, "--network", "resnet8", "--batch-size", "16"]] * 2, DCD_DATA=str(tmp_path / "data"))
    said = "".join(said for said, _ in ended)
    assert all(status for _, status in ended)
    assert said.count(f'"{broken}" cannot be read as an image') == 1 and "Traceback" not in said


def test_batch_norm_over_all_processes_shares_weights_and_statistics():
    network = models.create("torchvision/resnet18", 5, seed=0)
    twin = distributed.with_synchronised_norms(network)
    assert any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in twin.modules())
    assert not any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in network.modules())
    pairs = zip(twin.state_dict(keep_vars=True).values(), network.state_dict(keep_vars=True).values(), strict=True)
    assert all(ours is theirs for ours, theirs in pairs)


def test_a_record_says_how_many_processes_there_were(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 4)
    assert "threads, 4 processes" in runtime.hardware()


def test_sets_are_read_by_the_first_process_of_a_machine_first(monkeypatch):
    order = []
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed.dist, "barrier", lambda: order.append("barrier"))
    for rank, expected in (("0", ["load", "barrier"]), ("1", ["barrier", "load"])):
        monkeypatch.setenv("LOCAL_RANK", rank)
        order.clear()
        distributed.first_here_first(lambda: order.append("load"))
        assert order == expected


@pytest.mark.parametrize(("name", "value"), [("micro_batch", 1), ("micro_batch", 2.5), ("checkpoint_steps", 0)])
def test_an_impossible_execution_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        training.Execution(**{name: value})


def test_a_method_of_ones_own_sees_the_whole_batch_unless_it_says_otherwise():
    method = losses.METHODS["kd"]
    assert losses.Method("mine", method.build, "logits", 1.0).spans == "batch"
    assert {name for name, each in losses.METHODS.items() if each.spans == "image"} == {
        "kd", "fitnet", "at", "vid", "ab", "ft", "fsp", "nst", "dkd", "lskd",
    }  # fmt: skip
