"""Heat maps in a run's `errors.html`: of a CNN and a ViT, bounded, and never a reason for a run to fail."""

import shutil
import weakref
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from flowerml.evaluation.heat_map import heat_maps
from flowerml.evaluation.metrics import Predictions, compute_metrics
from flowerml.events import MemoryRecorder
from flowerml.files import file_digest
from flowerml.prediction import load_network
from flowerml.reporting.errors_page import HEAT_MAPS
from flowerml.runs.evaluate import Request, run_evaluation
from flowerml.runs.outputs import thumbnails
from flowerml.runs.outputs.artifacts import write_evaluation
from flowerml.runs.outputs.mistake_maps import MistakeExplainer
from flowerml.settings import resolve
from flowerml.tasks.flowers import CLASSES, FlowersTask
from flowerml.tasks.relations import RelationsTask
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.reporting.parsed_page import ParsedPage
from tests.runs.recipe.test_probe import PROBE


def read(path):
    return ParsedPage(path.read_text("utf-8"))


def heat_maps_of(page):
    return [image["alt"] for image in page.all("img") if ": heat map of " in image["alt"]]


class Blank(nn.Module):
    """Logits without any map or token."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 5)

    def forward(self, inputs):
        return self.head(inputs.mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def evaluated(flowers, small_run):
    """A function: `errors.html` of all 60 pictures, each taken for the next class, with an explainer."""
    settings = resolve({"train_dir": str(flowers)})[0]
    task = FlowersTask()
    examples, _ = task.examples(flowers, CLASSES, None, settings)
    examples = [replace(example, sha256=file_digest(flowers / example.id)) for example in examples]  # as a run has them
    labels = np.array([example.label for example in examples])
    logits = np.eye(5, dtype=np.float32)[(labels + 1) % 5]
    predictions = Predictions(CLASSES, tuple(example.id for example in examples), labels, logits)
    checkpoint = load_checkpoint(small_run[0].folder / "best.pth")

    def evaluated(folder, network, task=task, **changes):
        explainer = MistakeExplainer(task, CLASSES, checkpoint.description, network, **changes)
        written = write_evaluation(folder, "t", predictions, compute_metrics(predictions), task, examples, explainer)
        assert written[-1].name == "errors.html"
        return read(folder / "errors.html")

    return evaluated


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"model": "timm:test_vit", "img_size": 160, "freeze_backbone_epochs": 0}])
def test_a_run_explains_its_mistakes(train_small, changes, monkeypatch):
    monkeypatch.setattr("flowerml.runs.outputs.finalize._HEAT_MAPS_S", 600.0)  # a busy machine draws fewer in three
    finished, _ = train_small(epochs=1, warmup_epochs=0, **changes)
    wrong = finished.scores.total - finished.scores.hits
    assert wrong, "a model of one epoch errs"
    page = read(finished.folder / "errors.html")
    predicted = [image["alt"].rpartition(" ")[2] for image in page.all("img") if ", taken for " in image["alt"]]
    assert [words.rpartition(" ")[2] for words in heat_maps_of(page)] == predicted[:HEAT_MAPS]
    assert len(heat_maps_of(page)) == min(wrong, HEAT_MAPS)
    assert "bright parts raise the logit of the predicted class" in page.text


def test_a_probe_leaves_the_maps_to_an_evaluation(train_small):
    """Its training passes nothing through the backbone, which stands in best.pth."""
    finished, _ = train_small(**PROBE, epochs=1, warmup_epochs=0)
    assert not heat_maps_of(read(finished.folder / "errors.html"))
    run_evaluation(Request(finished.folder / "best.pth", "val", workers=0), lambda *_: MemoryRecorder())
    (file,) = finished.folder.glob("eval_val*/errors.html")
    assert heat_maps_of(read(file))


def test_an_evaluation_explains_the_class_of_its_views(small_run, tmp_path):
    folder = shutil.copytree(small_run[0].folder, tmp_path / "copy")
    run_evaluation(Request(folder / "best.pth", "all", workers=0, tta="flip"), lambda *_: MemoryRecorder())
    (file,) = folder.glob("eval_all*/errors.html")
    page = read(file)
    predicted = [image["alt"].rpartition(" ")[2] for image in page.all("img") if ", taken for " in image["alt"]]
    assert [words.rpartition(" ")[2] for words in heat_maps_of(page)] == predicted[:HEAT_MAPS]


def test_the_number_of_maps_is_bounded(evaluated, small_run, tmp_path):
    page = evaluated(tmp_path, lambda: load_network(small_run[0].folder / "best.pth"))
    assert len(page.all("li")) == 60
    assert len(heat_maps_of(page)) == HEAT_MAPS == 24
    assert "Heat maps stand under the 24 surest mistakes" in page.text


def test_each_picture_is_decoded_once_and_few_are_in_memory_at_a_time(evaluated, small_run, tmp_path, monkeypatch):
    """Photos of 50 million pixels are 150 MB each, decoded."""
    monkeypatch.setattr("flowerml.process.threads.usable_cores", lambda: 2)
    thumbnails._thumbnails.clear()
    alive, most, decoded = weakref.WeakValueDictionary(), [0], Counter()

    class Watched(FlowersTask):
        def render(self, example):
            picture = super().render(example)
            alive[id(picture)] = picture
            most[0] = max(most[0], len(alive))
            decoded[example.id] += 1
            return picture

    page = evaluated(tmp_path, lambda: load_network(small_run[0].folder / "best.pth"), Watched(), seconds=600.0)
    assert len(heat_maps_of(page)) == HEAT_MAPS
    assert {*decoded.values()} == {1}
    assert len(decoded) == 60
    assert most[0] <= 4 < HEAT_MAPS


def test_a_slow_model_gets_fewer_maps(evaluated, small_run, tmp_path):
    page = evaluated(tmp_path, lambda: load_network(small_run[0].folder / "best.pth"), seconds=0.0)
    assert len(heat_maps_of(page)) == 1
    assert "Heat maps stand under the surest mistake:" in page.text


def test_the_map_is_that_of_the_class_that_is_named(small_run):
    network = load_network(small_run[0].folder / "best.pth")
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    own = heat_maps(network, inputs)
    other = (torch.from_numpy(own.targets) + 1) % 5
    assert (heat_maps(network, inputs, torch.from_numpy(own.targets)).maps == own.maps).all()
    asked = heat_maps(network, inputs, other)
    assert asked.targets.tolist() == other.tolist()
    assert np.abs(asked.maps - own.maps).max() > 0.1


def test_a_model_without_maps_has_its_page(evaluated, tmp_path, capsys):
    page = evaluated(tmp_path, Blank)
    assert not heat_maps_of(page)
    assert "No heat maps: Blank: no feature map and no tokens were found" in page.text
    assert capsys.readouterr().err == ""


def test_a_task_without_maps_has_its_page(evaluated, tmp_path):
    class Pairs(FlowersTask):
        no_heat_maps = RelationsTask.no_heat_maps

    page = evaluated(tmp_path, lambda: pytest.fail("no model is loaded"), Pairs())
    assert len(page.all("li")) == 60
    assert not heat_maps_of(page)
    assert "No heat maps: a relation is decided on two crops" in page.text


def test_an_error_is_a_line_in_the_log_and_on_the_page(evaluated, tmp_path, capsys):
    def broken():
        raise RuntimeError("CUDA error: out of memory")

    page = evaluated(tmp_path, broken)
    assert len(page.all("li")) == 60
    assert "Heat maps are missing here because of an error" in page.text
    assert "heat maps in errors.html could not be made (RuntimeError: CUDA error" in capsys.readouterr().err


def test_pictures_that_are_gone_have_their_page(evaluated, small_run, tmp_path):
    class Gone(FlowersTask):
        def render(self, example):
            return None

    page = evaluated(tmp_path, lambda: load_network(small_run[0].folder / "best.pth"), Gone())
    assert len(page.all("li")) == 60
    assert "No heat maps: the pictures can't be read any more." in page.text
