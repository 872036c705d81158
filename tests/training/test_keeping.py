"""A checkpoint counts only when it is whole: every damage is found before anything is read, named, and the one before
is used.
"""

import random
import shutil

import pytest
import torch

from flowerml.errors import UserError
from flowerml.training.checkpoints.progress import Progress
from flowerml.training.checkpoints.store import BEST, MANIFEST, STATE, CheckpointStore

FIRST, SECOND = Progress(1, 0), Progress(1, 3)
RUN = {"config_id": "c" * 64, "seed": 11}


def content(number: int):
    return {"model": {"weight": torch.arange(50.0) + number}, "epoch": number}


@pytest.fixture
def best(tmp_path):
    path = tmp_path / "best.pth"
    path.write_bytes(b"the best weights of that time")
    return path


@pytest.fixture
def kept(tmp_path, best):
    """Two checkpoints, after epoch 1 and after step 3 of epoch 2."""
    checkpoints = CheckpointStore(tmp_path / "state", keep=2, **RUN)
    for number, place in enumerate((FIRST, SECOND), start=1):
        checkpoints.save(place, content(number), best)
    return checkpoints


def folder(checkpoints, place):
    return checkpoints.folder / f"epochs-{place.epochs:04d}-steps-{place.steps:06d}"


def refused(checkpoints, name, told):
    """The one before is used, and the damaged one named."""
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.place == FIRST
    assert torch.equal(newest.load()["model"]["weight"], content(1)["model"]["weight"])
    line = told.readouterr().err
    assert line.startswith("warning: ")
    assert line.count("\n") == 1
    assert str(folder(checkpoints, SECOND)) in line
    assert name in line
    assert "the one after epoch 1" in line


def test_the_last_one_is_read_as_it_was_written(kept, capsys):
    newest = kept.newest()
    assert newest.place == SECOND
    assert newest.load()["epoch"] == 2
    assert {path.name for path in newest.folder.iterdir()} == {STATE, BEST, MANIFEST}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", [STATE, BEST, MANIFEST])
def test_truncated_at_any_of_ten_sizes(kept, capsys, name):
    path = folder(kept, SECOND) / name
    whole = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        refused(kept, name, capsys)
    path.write_bytes(whole[:-1])
    refused(kept, name, capsys)
    path.write_bytes(whole)
    assert kept.newest().place == SECOND


@pytest.mark.parametrize("name", [STATE, BEST, MANIFEST])
def test_one_flipped_bit_anywhere(kept, capsys, name):
    path = folder(kept, SECOND) / name
    whole = path.read_bytes()
    draw = random.Random(5)
    for offset in {0, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(60))}:
        spoilt = bytearray(whole)
        spoilt[offset] ^= 1 << draw.randrange(8)
        path.write_bytes(spoilt)
        refused(kept, "manifest.json" if name == MANIFEST else name, capsys)


@pytest.mark.parametrize("name", [STATE, BEST, MANIFEST])
def test_a_missing_part(kept, capsys, name):
    (folder(kept, SECOND) / name).unlink()
    refused(kept, MANIFEST if name == BEST else name, capsys)


def test_longer_than_it_was(kept, capsys):
    with (folder(kept, SECOND) / STATE).open("ab") as handle:
        handle.write(b"\0")
    refused(kept, STATE, capsys)


def test_of_another_place_configuration_or_seed(kept, capsys):
    shutil.rmtree(folder(kept, SECOND))
    shutil.copytree(folder(kept, FIRST), folder(kept, SECOND))
    refused(kept, MANIFEST, capsys)
    for other in ({"config_id": "d" * 64}, {"seed": 12}):
        with pytest.raises(UserError, match="no checkpoint is whole"):
            CheckpointStore(kept.folder, keep=2, **{**RUN, **other}).latest()


def test_all_damaged_is_one_line_with_each_and_the_remedies(kept):
    for place in kept.places():
        (folder(kept, place) / STATE).write_bytes(b"")
    with pytest.raises(UserError) as caught:
        kept.newest()
    line = str(caught.value)
    assert "\n" not in line
    assert all(str(folder(kept, place)) in line for place in (FIRST, SECOND))
    assert all(remedy in line for remedy in ("--resume never", "--overwrite"))
    assert caught.value.exit_code == 2


def test_nothing_there_is_no_checkpoint(tmp_path):
    assert CheckpointStore(tmp_path / "state", keep=1, **RUN).latest() is None


def test_what_a_killed_process_was_writing_does_not_count_and_goes_with_the_next(kept, best):
    half = kept.folder / ".epochs-0002-steps-000000.part"
    shutil.copytree(folder(kept, SECOND), half)
    assert kept.newest().place == SECOND
    kept.save(Progress(2, 0), content(3), best)
    assert not half.exists()
    assert {path.name for path in kept.folder.iterdir()} == {
        folder(kept, place).name for place in (SECOND, Progress(2, 0))
    }


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_few_stay(tmp_path, best, keep):
    checkpoints = CheckpointStore(tmp_path / "state", keep=keep, **RUN)
    for number in range(1, 6):
        checkpoints.save(Progress(number, 0), content(number), best)
        assert checkpoints.positions() == [Progress(n, 0) for n in range(max(1, number - keep + 1), number + 1)]


def test_a_damaged_later_one_never_pushes_a_whole_one_out(kept, best):
    """After a resumption from the one before: what lies ahead is damaged, and does not count among the last."""
    (folder(kept, SECOND) / STATE).write_bytes(b"")
    kept.save(Progress(1, 1), content(4), best)
    assert kept.places() == [FIRST, Progress(1, 1)]
    (folder(kept, Progress(1, 1)) / STATE).write_bytes(b"")
    kept.save(Progress(1, 1), content(5), best)
    assert kept.newest().load()["epoch"] == 5


def test_the_best_weights_of_that_time_come_back(kept, best):
    best.write_bytes(b"later ones, of epochs that are done again")
    kept.newest().restore_best(best)
    assert best.read_bytes() == b"the best weights of that time"
    best.unlink()
    kept.newest().restore_best(best)
    assert best.read_bytes() == b"the best weights of that time"


def test_before_the_first_best_epoch_there_is_none_to_keep(tmp_path):
    checkpoints, best = CheckpointStore(tmp_path / "state", keep=2, **RUN), tmp_path / "best.pth"
    checkpoints.save(Progress(0, 2), content(0), best)
    checkpoints.latest().restore_best(best)
    assert not best.exists()


def test_clearing_takes_checkpoints_and_nothing_else(kept):
    shutil.copytree(folder(kept, FIRST), kept.folder / ".epochs-0002-steps-000000.part")
    (kept.folder / "notes.txt").write_text("mine")
    kept.clear()
    assert [path.name for path in kept.folder.iterdir()] == ["notes.txt"]
    (kept.folder / "notes.txt").unlink()
    kept.clear()
    assert not kept.folder.exists()
    kept.clear()


def test_what_can_not_be_written_is_one_line_and_the_earlier_ones_stay(kept, best):
    class Unsaveable:
        def __reduce__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device") as caught:
        kept.save(Progress(2, 0), {"epoch": Unsaveable()}, best)
    assert "\n" not in str(caught.value)
    assert kept.places() == [FIRST, SECOND]
    assert kept.newest().place == SECOND
    assert len(list(kept.folder.iterdir())) == 2


def test_one_without_its_state_is_not_whole_even_where_its_manifest_fits(kept, capsys):
    (folder(kept, SECOND) / STATE).unlink()
    (folder(kept, SECOND) / MANIFEST).write_bytes(kept._manifest(folder(kept, SECOND), SECOND))
    refused(kept, STATE, capsys)


def test_the_one_that_stands_at_a_place_goes_when_its_successor_stands(kept, best, monkeypatch):
    """A place is kept twice where a resumed run stops at once. Killed while gigabytes are removed, it must not be
    without either.
    """
    remove = shutil.rmtree

    def killed(path, *more, **how):
        if path.exists():
            raise KeyboardInterrupt
        remove(path, *more, **how)

    monkeypatch.setattr("flowerml.training.checkpoints.store.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.save(SECOND, content(7), best)
    monkeypatch.undo()
    newest = kept.newest()
    assert newest.place == SECOND
    assert newest.load()["epoch"] == 7
    kept.save(Progress(2, 0), content(8), best)
    assert kept.places() == [SECOND, Progress(2, 0)]
    assert [path.name for path in kept.folder.iterdir() if path.name.startswith(".")] == []
