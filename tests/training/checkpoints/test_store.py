"""The checkpoint store: damage is detected before a checkpoint is read, reported, and the one before it is used."""

import random
import shutil

import pytest
import torch

from flowerml.errors import UserError
from flowerml.training.checkpoints.progress import Progress
from flowerml.training.checkpoints.store import BEST, MANIFEST, STATE, CheckpointStore

FIRST, SECOND = Progress(1, 0), Progress(1, 3)
RUN = {"config_id": "c" * 64, "seed": 11}


def state(number: int):
    return {"model": {"weight": torch.arange(50.0) + number}, "epoch": number}


@pytest.fixture
def best(tmp_path):
    path = tmp_path / "best.pth"
    path.write_bytes(b"the best weights of that time")
    return path


@pytest.fixture
def store(tmp_path, best):
    """Two checkpoints, after epoch 1 and after step 3 of epoch 2."""
    store = CheckpointStore(tmp_path / "state", keep=2, **RUN)
    for number, progress in enumerate((FIRST, SECOND), start=1):
        store.save(progress, state(number), best)
    return store


def folder(store, progress):
    return store.folder / f"epochs-{progress.epochs:04d}-steps-{progress.steps:06d}"


def assert_falls_back(store, name, capsys):
    """The checkpoint before is used, and a warning names the damaged one."""
    latest = store.latest()
    assert latest is not None
    assert latest.progress == FIRST
    assert torch.equal(latest.load()["model"]["weight"], state(1)["model"]["weight"])
    line = capsys.readouterr().err
    assert line.startswith("warning: ")
    assert line.count("\n") == 1
    assert str(folder(store, SECOND)) in line
    assert name in line
    assert "the one after epoch 1" in line


def test_latest_returns_what_was_saved(store, capsys):
    latest = store.latest()
    assert latest.progress == SECOND
    assert latest.load()["epoch"] == 2
    assert {path.name for path in latest.folder.iterdir()} == {STATE, BEST, MANIFEST}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", [STATE, BEST, MANIFEST])
def test_truncated_files_are_detected(store, capsys, name):
    path = folder(store, SECOND) / name
    original = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(original[: len(original) * tenth // 10])
        assert_falls_back(store, name, capsys)
    path.write_bytes(original[:-1])
    assert_falls_back(store, name, capsys)
    path.write_bytes(original)
    assert store.latest().progress == SECOND


@pytest.mark.parametrize("name", [STATE, BEST, MANIFEST])
def test_flipped_bits_are_detected(store, capsys, name):
    path = folder(store, SECOND) / name
    original = path.read_bytes()
    draw = random.Random(5)
    for offset in {0, len(original) - 1, *(draw.randrange(len(original)) for _ in range(60))}:
        spoilt = bytearray(original)
        spoilt[offset] ^= 1 << draw.randrange(8)
        path.write_bytes(spoilt)
        assert_falls_back(store, "manifest.json" if name == MANIFEST else name, capsys)


@pytest.mark.parametrize("name", [STATE, BEST, MANIFEST])
def test_missing_files_are_detected(store, capsys, name):
    (folder(store, SECOND) / name).unlink()
    assert_falls_back(store, MANIFEST if name == BEST else name, capsys)


def test_appended_bytes_are_detected(store, capsys):
    with (folder(store, SECOND) / STATE).open("ab") as handle:
        handle.write(b"\0")
    assert_falls_back(store, STATE, capsys)


def test_checkpoints_of_another_position_config_or_seed_are_refused(store, capsys):
    shutil.rmtree(folder(store, SECOND))
    shutil.copytree(folder(store, FIRST), folder(store, SECOND))
    assert_falls_back(store, MANIFEST, capsys)
    for other in ({"config_id": "d" * 64}, {"seed": 12}):
        with pytest.raises(UserError, match="no checkpoint is whole"):
            CheckpointStore(store.folder, keep=2, **{**RUN, **other}).latest()


def test_all_damaged_is_one_error_line_with_the_remedies(store):
    for progress in store.positions():
        (folder(store, progress) / STATE).write_bytes(b"")
    with pytest.raises(UserError) as caught:
        store.latest()
    line = str(caught.value)
    assert "\n" not in line
    assert all(str(folder(store, progress)) in line for progress in (FIRST, SECOND))
    assert all(remedy in line for remedy in ("--resume never", "--overwrite"))
    assert caught.value.exit_code == 2


def test_an_empty_store_has_no_latest(tmp_path):
    assert CheckpointStore(tmp_path / "state", keep=1, **RUN).latest() is None


def test_leftovers_of_a_killed_process_are_ignored_and_removed_by_the_next_save(store, best):
    half = store.folder / ".epochs-0002-steps-000000.part"
    shutil.copytree(folder(store, SECOND), half)
    assert store.latest().progress == SECOND
    store.save(Progress(2, 0), state(3), best)
    assert not half.exists()
    assert {path.name for path in store.folder.iterdir()} == {
        folder(store, progress).name for progress in (SECOND, Progress(2, 0))
    }


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_last_keep_checkpoints_stay(tmp_path, best, keep):
    store = CheckpointStore(tmp_path / "state", keep=keep, **RUN)
    for number in range(1, 6):
        store.save(Progress(number, 0), state(number), best)
        assert store.positions() == [Progress(n, 0) for n in range(max(1, number - keep + 1), number + 1)]


def test_a_damaged_later_checkpoint_does_not_evict_a_valid_one(store, best):
    """After a resumption from the one before: what lies ahead is damaged, and does not count among the last."""
    (folder(store, SECOND) / STATE).write_bytes(b"")
    store.save(Progress(1, 1), state(4), best)
    assert store.positions() == [FIRST, Progress(1, 1)]
    (folder(store, Progress(1, 1)) / STATE).write_bytes(b"")
    store.save(Progress(1, 1), state(5), best)
    assert store.latest().load()["epoch"] == 5


def test_restore_best_brings_back_the_best_weights_of_that_step(store, best):
    best.write_bytes(b"later ones, of epochs that are done again")
    store.latest().restore_best(best)
    assert best.read_bytes() == b"the best weights of that time"
    best.unlink()
    store.latest().restore_best(best)
    assert best.read_bytes() == b"the best weights of that time"


def test_a_checkpoint_before_the_first_best_epoch_has_no_best(tmp_path):
    store, best = CheckpointStore(tmp_path / "state", keep=2, **RUN), tmp_path / "best.pth"
    store.save(Progress(0, 2), state(0), best)
    store.latest().restore_best(best)
    assert not best.exists()


def test_clear_removes_checkpoints_only(store):
    shutil.copytree(folder(store, FIRST), store.folder / ".epochs-0002-steps-000000.part")
    (store.folder / "notes.txt").write_text("mine")
    store.clear()
    assert [path.name for path in store.folder.iterdir()] == ["notes.txt"]
    (store.folder / "notes.txt").unlink()
    store.clear()
    assert not store.folder.exists()
    store.clear()


def test_a_failed_save_is_one_error_line_and_keeps_earlier_checkpoints(store, best):
    class Unsaveable:
        def __reduce__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device") as caught:
        store.save(Progress(2, 0), {"epoch": Unsaveable()}, best)
    assert "\n" not in str(caught.value)
    assert store.positions() == [FIRST, SECOND]
    assert store.latest().progress == SECOND
    assert len(list(store.folder.iterdir())) == 2


def test_a_checkpoint_without_state_is_invalid_even_with_a_matching_manifest(store, capsys):
    (folder(store, SECOND) / STATE).unlink()
    (folder(store, SECOND) / MANIFEST).write_bytes(store._expected_manifest(folder(store, SECOND), SECOND))
    assert_falls_back(store, STATE, capsys)


def test_a_checkpoint_of_the_same_position_is_removed_after_its_successor_is_in_place(store, best, monkeypatch):
    """A progress is store twice where a resumed run stops at once. Killed while gigabytes are removed, it must not be
    without either.
    """
    remove = shutil.rmtree

    def killed(path, *more, **how):
        if path.exists():
            raise KeyboardInterrupt
        remove(path, *more, **how)

    monkeypatch.setattr("flowerml.training.checkpoints.store.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(SECOND, state(7), best)
    monkeypatch.undo()
    latest = store.latest()
    assert latest.progress == SECOND
    assert latest.load()["epoch"] == 7
    store.save(Progress(2, 0), state(8), best)
    assert store.positions() == [SECOND, Progress(2, 0)]
    assert [path.name for path in store.folder.iterdir() if path.name.startswith(".")] == []
