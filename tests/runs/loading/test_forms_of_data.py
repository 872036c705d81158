"""The same pictures in another form are the same run, bit for bit, and every command takes them."""

import json

import pytest

from flowerml.campaign.engine.context import load_data_info
from flowerml.campaign.plan.parser import read_plan
from flowerml.cli.main import main
from flowerml.data.sources.remote.limits import COPIES_VARIABLE
from flowerml.delivery.verify import Expected, recorded_photos
from flowerml.events import MemoryRecorder
from flowerml.runs.evaluate import Request, run_evaluation
from flowerml.settings import resolve
from flowerml.tasks.flowers import CLASSES, FlowersTask
from tests.data.sources.remote.servers import serving
from tests.runs.conftest import SMALL
from tests.runs.loading.forms_of_data import FORMS, as_address, as_streamed_parquet, as_streamed_shards
from tests.runs.test_train import same_weights, weights

pytestmark = pytest.mark.slow

ON_A_SERVER = {"address": as_address, "streamed": as_streamed_shards, "streamed parquet": as_streamed_parquet}
NAMES = [*FORMS, *ON_A_SERVER]
ONE_EPOCH = {"epochs": 1, "warmup_epochs": 0, "freeze_backbone_epochs": 0}


@pytest.fixture(scope="module")
def of_folder(train_small):
    """A run of one epoch on the folder."""
    return train_small(**ONE_EPOCH)[0]


@pytest.fixture(scope="module", params=NAMES)
def form(request, flowers, tmp_path_factory):
    """The path of the pictures of `flowers` in another form."""
    folder = tmp_path_factory.mktemp(f"as-{request.param.replace(' ', '-')}")
    if request.param in FORMS:
        yield FORMS[request.param](flowers, folder)
        return
    with serving() as site, pytest.MonkeyPatch.context() as patch:
        if request.param.startswith("streamed"):
            patch.setenv(COPIES_VARIABLE, "0.000001")
        yield ON_A_SERVER[request.param](flowers, folder, site)


def prepared(path, **changes):
    return FlowersTask().prepare(resolve({**SMALL, "train_dir": str(path), **changes})[0])


def evaluated(finished, **where):
    return run_evaluation(Request(finished.folder / "best.pth", "val", workers=0, **where), lambda *_: MemoryRecorder())


@pytest.mark.parametrize("workers", [0, 2])
def test_weights_and_predictions_are_those_of_the_folder(of_folder, form, train_small, workers):
    finished, _ = train_small(train_dir=str(form), workers=workers, **ONE_EPOCH)
    assert finished.config_id == of_folder.config_id
    assert same_weights(weights(finished.folder), weights(of_folder.folder))
    for name in ("predictions.csv", "split.json"):
        assert (finished.folder / name).read_bytes() == (of_folder.folder / name).read_bytes()


@pytest.fixture(scope="module")
def of_two_processes(train_small):
    """The same run, each batch shared by two processes."""
    return train_small(gpus=2, **ONE_EPOCH)[0]


# Each starts a Python. Readers of the other forms are in processes of their own with two workers above.
@pytest.mark.parametrize(
    "form",
    [name if name == "table" else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
    indirect=True,
    scope="module",
)
def test_two_processes_that_share_batches_get_what_they_get_from_the_folder(of_two_processes, form, train_small):
    finished, _ = train_small(train_dir=str(form), gpus=2, **ONE_EPOCH)
    assert same_weights(weights(finished.folder), weights(of_two_processes.folder))


PROBED = {"epochs": 1, "warmup_epochs": 0, "probe": True, "lr_backbone": "auto", "freeze_backbone_epochs": "auto"}
OTHERWISE = {"cached": {**ONE_EPOCH, "cache_images": "ram"}, "probe": PROBED}


@pytest.fixture(scope="module")
def of_folder_otherwise(flowers, train_small):
    """The weights of the folder's run with cached pictures, and with features."""
    return {name: weights(train_small(train_dir=str(flowers), **given)[0].folder) for name, given in OTHERWISE.items()}


@pytest.mark.parametrize("name", OTHERWISE)
def test_cached_pictures_and_features_are_those_of_the_folder(form, of_folder_otherwise, train_small, name):
    finished, _ = train_small(train_dir=str(form), **OTHERWISE[name])
    assert same_weights(weights(finished.folder), of_folder_otherwise[name])


@pytest.mark.parametrize("changes", [{}, {"folds": 3, "fold": 2}, {"classes": "folders"}], ids=str)
def test_split_folds_and_groups_are_those_of_the_folder(form, flowers, changes):
    expected, found = prepared(flowers, **changes), prepared(form, **changes)
    assert found.split == expected.split
    assert found.remarks[:2] == expected.remarks[:2]
    groups = [FlowersTask().near_duplicates(path, CLASSES, expected.split, expected.val) for path in (flowers, form)]
    assert groups[0] == groups[1]


def test_a_run_of_the_folder_is_evaluated_on_the_form_without_a_remark(of_folder, form, capsys):
    evaluation = evaluated(of_folder, folder=form)
    assert f"val pictures of {str(form).replace('http:/', 'http://')} on cpu" in capsys.readouterr().err
    assert evaluation.changes == ()
    assert evaluation.scores.loss == of_folder.scores.loss


def test_it_may_be_the_test_folder_and_says_what_is_known(of_folder, form, train_small):
    evaluation = evaluated(of_folder, test_dir=form)
    assert evaluation.scores.total == 60
    assert any("60 of 60 pictures are in the training folder too" in line for line in evaluation.changes)
    finished, recorder = train_small(test_dir=str(form), **ONE_EPOCH)
    assert (finished.folder / "test").is_dir() or any("test_accuracy" in str(event) for event in recorder.events)


def test_a_picture_is_shown_by_its_id(form, flowers):
    for example in prepared(flowers).val:
        assert FlowersTask().render_by_id(form, example.id).tobytes() == example.read().tobytes()


def test_an_export_finds_the_recorded_photos(of_folder, form):
    expected = Expected(None, of_folder.folder / "predictions.csv", form)
    photos = recorded_photos(expected, CLASSES)
    assert len(photos) == of_folder.scores.total
    assert all(photo.path.is_file() for photo in photos)


def test_a_campaigns_data_are_those_of_the_folder(form, flowers):
    plan = read_plan("demo")
    assert load_data_info(plan, str(form)) == load_data_info(plan, str(flowers))


def test_the_check_has_its_report_and_its_page(form, flowers, tmp_path, capsys):
    assert main(["dataset", "check", "--train-dir", str(flowers), "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    page = tmp_path / "page.html"
    assert main(["dataset", "check", "--train-dir", str(form), "--json", "--html", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    own = {"root", "remarks", "passed_over"}
    assert {name: value for name, value in found.items() if name not in own} == {
        name: value for name, value in expected.items() if name not in own
    }
    assert page.is_file()
