"""The teacher's answers by (image, view): the same training, whatever happens to the table."""

import contextlib
import errno
import os

import pytest
import torch
from small import FAST, Stop, numbers, student

from dcd_utils import models, runtime, training
from dcd_utils.data import views
from dcd_utils.training import teacher as teachers
from dcd_utils.training.loop import batches, draw

PLACES = ("memory", "file")


@pytest.fixture(autouse=True)
def no_table_in_memory():
    teachers._TABLES.clear()


@pytest.fixture
def teacher():
    """A network whose batch statistics differ from those of any batch."""
    network = models.create("resnet14", 3, seed=0)
    network(torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    return network.eval().to(memory_format=torch.channels_last)


def weights(run):
    return numbers(run.model, run.objective)


def stored(network, train, precision="fp32", batch_size=16, place="file"):
    return training.StoredTeacher(network, train, precision, batch_size, place)


def count_calls(network, monkeypatch):
    """A list that grows by the batch size whenever the network answers."""
    calls, original = [], network.features
    monkeypatch.setattr(network, "features", lambda images, *rest: calls.append(len(images)) or original(images, *rest))
    return calls


def table_file():
    [path] = (runtime.data_dir() / "cache").glob("teacher-*.table")
    return path


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cached_teacher_trains_the_same_student_bit_for_bit(tiny_sets, teacher, tmp_path, place, precision):
    recipe = FAST.but(precision=precision)  # 40 images in batches of 16: the last one is ragged

    def trained(where, name):
        run_dir = tmp_path / name
        return weights(training.distill(student(), teacher, *tiny_sets, "dcd+kd", recipe, 0, run_dir, cache=where))

    expected = trained("off", "live")
    assert torch.equal(trained(place, "filling"), expected)
    assert torch.equal(trained(place, "reading"), expected)


@pytest.mark.parametrize("place", PLACES)
def test_what_one_method_asked_the_others_read(tiny_sets, teacher, place, monkeypatch):
    calls = count_calls(teacher, monkeypatch)
    training.distill(student(), teacher, *tiny_sets, "kd", FAST, cache=place)
    assert calls.count(16) == 1 + 3 + 3, "one to learn shapes, and two epochs of 40 images in batches of 16"
    calls.clear()
    training.distill(student(), teacher, *tiny_sets, "dcd", FAST, cache=place)
    assert calls.count(16) == 1, "all answers were there"
    training.distill(student(), teacher, *tiny_sets, "dcd", FAST, seed=1, cache=place)
    assert calls.count(16) > 2, "another seed asks for other views"


def test_the_answers_are_those_of_the_network(tiny_sets, teacher):
    train, _ = tiny_sets
    cached = training.StoredTeacher(teacher, train, "fp32", 16, "memory")
    cached.prepare(*draw(40, 3, 0))
    live = training.FrozenTeacher(teacher, 16)
    for indices, drawn in batches(40, 16, 3, 0):
        ours, theirs = (each(train.batch(indices, drawn), indices) for each in (cached, live))
        assert torch.equal(ours.pooled, theirs.pooled) and torch.equal(ours.logits, theirs.logits)
    assert "MB in memory" in str(cached)


def test_a_teacher_of_other_weights_data_or_precision_has_its_own_table(tiny_sets, teacher):
    train, test = tiny_sets
    stored(teacher, train), stored(teacher, train)
    table_file()  # one
    stored(models.create("resnet14", 3, seed=1).eval(), train), stored(teacher, test)
    stored(teacher, train, "bf16"), stored(teacher, train, batch_size=8)
    assert len([*(runtime.data_dir() / "cache").glob("*.table")]) == 5


def test_rows_that_a_crash_left_half_written_are_computed_again(tiny_sets, teacher):
    every = torch.arange(40), torch.full((40,), views.IDENTITY)
    first = stored(teacher, tiny_sets[0])
    first.prepare(*every)
    expected = first._answers.clone()
    rows = every[0] * views.NUM_VIEWS + views.IDENTITY
    first.table.values[rows[3], 5] += 1  # a bit that fell over
    first.table.values[rows[4]] = 0  # a page that never reached the disk
    first.table.values[rows[[5, 6]]] = first.table.values[rows[[6, 5]]]
    first.table.sums[rows[7]] = 0
    again = stored(teacher, tiny_sets[0])
    assert (~again.table.holds(rows)).nonzero()[:, 0].tolist() == [3, 4, 5, 6, 7]
    again.prepare(*every)
    assert torch.equal(again._answers, expected)


def test_a_file_that_was_tampered_with_is_named(tiny_sets, teacher):
    stored(teacher, tiny_sets[0])
    content = table_file().read_bytes()
    for wrong in (content[:-8], content[:100], content[:11] + b"!" + content[12:], b""):
        table_file().write_bytes(wrong)
        with pytest.raises(ValueError, match="delete it"):
            stored(teacher, tiny_sets[0])
    table_file().unlink()
    assert not stored(teacher, tiny_sets[0]).table.holds(torch.arange(40 * views.NUM_VIEWS)).any()


def test_a_damaged_file_stops_only_who_asked_for_it(tiny_sets, teacher, capsys):
    training.distill(student(), teacher, *tiny_sets, "kd", FAST)
    table_file().write_bytes(table_file().read_bytes()[:-8])
    training.distill(student(), teacher, *tiny_sets, "dcd", FAST)
    assert "live teacher (" in (said := capsys.readouterr().out) and "delete it" in said
    with pytest.raises(ValueError, match="delete it"):
        training.distill(student(), teacher, *tiny_sets, "rrd", FAST, cache="file")


def test_memory_that_is_free_in_pieces_only(tiny_sets, teacher, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(teachers.CacheDoesNotFit, match='choose cache="off"'):
        teachers._open("a table", 10, 4, torch.float32, "memory", torch.device("cpu"))


def test_a_full_disk_leaves_the_teacher_live_and_nothing_behind(tiny_sets, teacher, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(teachers, "_reserve", full)
    training.distill(student(), teacher, *tiny_sets, "kd", FAST)
    said = "live teacher (its answers cannot be stored: [Errno 28] No space left on device)"
    assert said in capsys.readouterr().out
    assert not [*(runtime.data_dir() / "cache").glob("*.table"), *(runtime.data_dir() / "cache").glob("*.partial")]
    training.distill(student(), teacher, *tiny_sets, "dcd", FAST, cache="file")
    assert said in capsys.readouterr().out


def test_a_table_that_does_not_fit_says_what_is_needed_and_what_to_choose(tiny_sets, teacher, monkeypatch, capsys):
    monkeypatch.setattr(teachers, "_free", lambda *_: {"device": None, "memory": 1_000_000, "file": 1_000_000})
    with pytest.raises(teachers.CacheDoesNotFit, match=r'need 2 MB .*has 1 MB free: choose cache="off".*file'):
        training.distill(student(), teacher, *tiny_sets, "kd", FAST, cache="memory")
    assert not [*(runtime.data_dir() / "runs").rglob("*.pt")], "nothing was trained"
    training.distill(student(), teacher, *tiny_sets, "kd", FAST)
    said = capsys.readouterr().out
    assert "live teacher (the teacher's answers need 2 MB; the disk of " in said
    assert '" has 1 MB free, the memory has 1 MB free, of which at most 25%, 25% are taken unasked)' in said


def test_a_method_that_reads_maps_says_that_its_teacher_is_live(tiny_sets, teacher, capsys):
    training.distill(student(), teacher, *tiny_sets, "at+kd", FAST)
    assert "live teacher (its maps are read)" in capsys.readouterr().out
    training.distill(student(), teacher, *tiny_sets, "kd", FAST)
    assert "cached teacher (" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["disk", "file:fp16", "", None])
def test_an_unknown_place_is_refused(tiny_sets, teacher, wrong):
    with pytest.raises(ValueError, match='choose "auto", "off"'):
        training.distill(student(), teacher, *tiny_sets, "kd", FAST, cache=wrong)


def test_a_bit_that_falls_over_anywhere_in_a_file_is_harmless_or_named(tiny_sets, teacher):
    every = torch.arange(40), torch.full((40,), views.IDENTITY)
    first = stored(teacher, tiny_sets[0])
    first.prepare(*every)
    expected, size = first._answers.clone(), table_file().stat().st_size
    whole, sums, named = table_file().read_bytes(), teachers._HEADER, 0
    rows = [image * views.NUM_VIEWS + views.IDENTITY + 1 for image in (0, 20, 38)]  # where nothing was stored
    del first  # Windows lets nobody write anew over a file that is mapped
    places = [size * step // 37 for step in range(37)] + [sums + 8 * row for row in rows]
    for count, place in enumerate(places):
        content = bytearray(whole)
        content[place] ^= 1 << (0 if count >= 37 else count % 8)
        table_file().write_bytes(content)
        try:
            again = stored(teacher, tiny_sets[0])
        except ValueError as error:
            assert place < sums and "delete it, they are computed anew" in str(error)
            named += 1
            continue
        again.prepare(*every)
        assert torch.equal(again._answers, expected)
        assert int(again.table.holds(torch.arange(40 * views.NUM_VIEWS)).sum()) == 40, "nothing but what was stored"
        del again
    assert 0 < named < 40


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the other way is the only one here")
def test_a_table_is_as_long_where_the_system_cannot_reserve_room(tmp_path, monkeypatch):
    for name, size in (("ours", 5000), ("longer", (1 << 24) + 5000), ("none left", 4096)):
        contents = []
        for lacks in (False, True):  # macOS and Windows have no posix_fallocate
            with monkeypatch.context() as patch, (tmp_path / name).open("wb") as file:
                if lacks:
                    patch.delattr(os, "posix_fallocate")
                file.write(b"h" * 4096)
                teachers._reserve(file, size)
            contents.append((tmp_path / name).read_bytes())
        assert len(contents[0]) == size and contents[0] == contents[1]


def test_a_partial_file_beside_a_table_is_written_over(tiny_sets, teacher):
    stored(teacher, tiny_sets[0])
    table_file().rename(partial := table_file().with_suffix(".partial"))
    partial.write_bytes(b"half")
    stored(teacher, tiny_sets[0]).prepare(*draw(40, 0, 0))
    assert not partial.exists() and table_file().stat().st_size > 1000


def test_a_lent_network_is_given_back_with_all_its_modes():
    network = models.create("torchvision/mobilenet_v3_small", 3, seed=0)  # which holds one graph for each mode
    network.get_submodule("network.features.1").eval()
    modes = [module.training for module in network.modules()]
    for error in (None, Stop):
        with contextlib.suppress(Stop), teachers.lent(network):
            assert not any(module.training for module in network.eval().modules())
            if error:
                raise error
        assert [module.training for module in network.modules()] == modes and {*modes} == {True, False}
        assert network.network.graph is network.network.train_graph
    with teachers.lent(None):
        pass
