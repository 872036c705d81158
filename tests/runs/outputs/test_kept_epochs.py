"""The weights of a run's last epochs: kept where asked for, and ingredients of a soup."""

import json

import pytest
import torch

from flowerml.errors import UserError
from flowerml.models.weights.average import average_states
from flowerml.runs.outputs.kept_epochs import kept_epochs
from flowerml.runs.soup.evaluator import Request
from flowerml.runs.soup.greedy import combine_runs
from flowerml.runs.soup.record import record_combination
from flowerml.settings import resolve
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.runs.conftest import SMALL
from tests.runs.interrupted_runs import epoch

HALF = {"val_split": 0.5, "cutmix": 0.0, "mixup": 0.0}


@pytest.fixture(scope="module")
def kept(train_small):
    """A run of four epochs that has kept the last three."""
    return train_small(**HALF, epochs=4, keep_epochs=3)[0]


def weights_of(path):
    return load_checkpoint(path).state_dict


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_last_epochs_stay_and_best_pth_is_one_of_the_epochs_weights(kept):
    files = kept_epochs(kept.folder)
    assert [path.name for path in files] == ["epoch002.pth", "epoch003.pth", "epoch004.pth"]
    assert [load_checkpoint(path).epoch for path in files] == [2, 3, 4]
    assert kept.best_epoch >= 2
    best = kept.folder / "epochs" / f"epoch{kept.best_epoch:03d}.pth"
    assert equal(weights_of(best), weights_of(kept.folder / "best.pth"))


def test_nothing_is_kept_unless_asked_for(small_run):
    assert not (small_run[0].folder / "epochs").exists()


def test_keeping_them_changes_no_weights_and_no_id(kept, train_small):
    plain = train_small(**HALF, epochs=4)[0]
    assert equal(weights_of(kept.folder / "best.pth"), weights_of(plain.folder / "best.pth"))
    assert kept.config_id == plain.config_id


def test_an_interrupted_run_ends_with_the_same_epochs(begin, tmp_path, kept):
    given = {**HALF, "epochs": 4, "keep_epochs": 3, "dropout": 0.0}
    begin(epoch(3), **given)
    begin(**given)
    found = kept_epochs(tmp_path / "out")
    assert [path.name for path in found] == [path.name for path in kept_epochs(kept.folder)]
    for one, other in zip(found, kept_epochs(kept.folder), strict=True):
        assert equal(weights_of(one), weights_of(other))


def test_they_are_ingredients_of_a_soup_and_the_best_epoch_counts_once(kept, tmp_path):
    soup = combine_runs(Request((kept.folder,), tmp_path / "out", workers=0))
    paths = [one.ingredient.path for one in soup.tried]
    assert len(paths) == 3
    assert kept.folder / "best.pth" in paths
    assert kept.folder / "epochs" / f"epoch{kept.best_epoch:03d}.pth" not in paths
    taken = [one.ingredient.checkpoint.state_dict for one in soup.tried if one.taken]
    made = weights_of(soup.folder / "best.pth")
    expected = average_states(taken)
    assert all(torch.equal(made[name], expected[name]) for name in expected if "running" not in name)


def test_a_soup_of_one_runs_epochs_names_that_run_once(kept, tmp_path):
    from flowerml.events import MemoryRecorder, Tags

    (kept.folder / "run.json").write_text(
        json.dumps({"run_id": "abc", "config_id": kept.config_id, "seed": 11, "status": "FINISHED"})
    )
    soup = combine_runs(Request((kept.folder,), tmp_path / "out", workers=0))
    recorder = MemoryRecorder("combined")
    record_combination(soup, lambda *_: recorder)
    tags = {name: text for event in recorder.events if isinstance(event, Tags) for name, text in event.values.items()}
    assert len(tags["flowerml.combined_runs"].split(",")) == 1


@pytest.mark.slow
def test_a_run_that_is_replaced_leaves_none_and_other_files_stay(train_small, tmp_path):
    given = {**HALF, "epochs": 2, "output_dir": str(tmp_path / "run")}
    folder = train_small(**given, keep_epochs=2)[0].folder
    (folder / "epochs" / "notes.txt").write_text("mine")
    assert len(kept_epochs(folder)) == 2
    train_small(**given, overwrite=True)
    assert [path.name for path in (folder / "epochs").iterdir()] == ["notes.txt"]


def test_a_probe_refuses_them(flowers):
    with pytest.raises(UserError, match="--keep-epochs 2 does not go with --probe"):
        resolve(
            {
                **{
                    name: value
                    for name, value in SMALL.items()
                    if name not in ("lr_backbone", "freeze_backbone_epochs")
                },
                "probe": True,
                "keep_epochs": 2,
                "train_dir": str(flowers),
            }
        )
