"""Faults 3, 4, 5: damaged checkpoints are found and named, and no part of a state may be missing."""

import random
import shutil
import signal

import pytest

from flowerml.errors import UserError
from flowerml.training.checkpoints.store import CheckpointStore
from tests.training.checkpoints.recorded_runs import comparable_state, run_and_record
from tests.training.checkpoints.test_train_state import LEFT_OUT
from tests.training.conftest import Toy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cut_off(nursery, pictures, tmp_path_factory):
    """The folder of a run that was killed, with two checkpoints."""
    folder = tmp_path_factory.mktemp("cut") / "out"
    child = nursery.start(pictures, folder, {"kill_after_step": 25})
    assert child.wait() == -signal.SIGKILL, child.log()
    return folder


def kept_in(folder):
    import json

    run = json.loads((folder / "run.json").read_text())
    return CheckpointStore(folder / "state", run["config_id"], run["seed"], 2)


def spoiled(data: bytes, how: str, draw: random.Random) -> bytes:
    if how == "truncated":
        return data[: draw.randrange(len(data))]
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]


@pytest.mark.fault("3 truncated or flipped checkpoint")
def test_sixty_four_of_sixty_four_are_detected(tally, cut_off, tmp_path, capsys):
    """10 truncations, 54 flipped bits: named each time, and the one before is read, never the damaged one."""
    kept = kept_in(cut_off)
    before, last = kept.positions()
    expected = kept.folder_of(before)
    files = [kept.folder_of(last) / name for name in ("state.pt", "best.pth", "manifest.json")]
    whole = {path: path.read_bytes() for path in files}
    for trial in range(64):
        path = files[trial % 3]
        with tally.trial():
            path.write_bytes(spoiled(whole[path], "truncated" if trial < 10 else "flipped", random.Random(trial)))
            assert kept.latest().folder == expected
            assert f"{kept.folder_of(last)}" in capsys.readouterr().err
        path.write_bytes(whole[path])
    assert kept.latest().progress == last


@pytest.mark.fault("4 all checkpoints bad")
def test_all_bad_stops(tally, cut_off, nursery, pictures, tmp_path):
    """Never a silent start from zero: nothing is changed, and the line has the remedies."""
    folder = tmp_path / "out"
    shutil.copytree(cut_off, folder)
    kept = kept_in(folder)
    for place in kept.positions():
        state = kept.folder_of(place) / "state.pt"
        state.write_bytes(spoiled(state.read_bytes(), "flipped", random.Random(place.steps)))
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with tally.trial():
        with pytest.raises(UserError, match="no checkpoint is whole"):
            kept.latest()
        child = nursery.start(pictures, folder)
        assert child.wait() == 2, child.log()
        assert "--resume never" in child.log()
        assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.fault("5 a part left out of the state")
@pytest.mark.parametrize("part", LEFT_OUT)
def test_a_part_left_out_is_caught_by_the_equality(tally, part):
    changes, place, fresh = LEFT_OUT[part]
    whole, recorder = run_and_record(**changes)
    content = recorder.at(place)
    with tally.trial():
        assert comparable_state(Toy().run(load_state=lambda: recorder.at(place), **changes)) == comparable_state(whole)
        assert comparable_state(
            Toy().run(load_state=lambda: {**content, **fresh(content)}, **changes)
        ) != comparable_state(whole)
