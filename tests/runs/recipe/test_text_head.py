"""Runs whose head starts from texts: the zero-shot accuracy, linear probes, going on, and the start of WiSE-FT."""

import numpy as np
import open_clip
import pytest
import torch

from flowerml.errors import UserError
from flowerml.events import MemoryRecorder, Metrics
from flowerml.models.text_head import PROMPTS, prompts_for, set_text_head
from flowerml.runs import text_head
from flowerml.runs.soup.evaluator import Request
from flowerml.runs.soup.interpolate import interpolate_runs
from flowerml.runs.train import run_training
from flowerml.settings import find_model, resolve
from flowerml.tasks.flowers import CLASSES, FlowersTask
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.models import small_clip
from tests.runs.interrupted_runs import epoch
from tests.runs.recipe.test_probe import PROBE

LABEL = "zero_shot_accuracy"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    small_clip.register(tmp_path_factory.mktemp("configs"))
    return small_clip.make()


@pytest.fixture(scope="module")
def text(whole, tmp_path_factory):
    """The settings of a head from texts."""
    weights = small_clip.save(tmp_path_factory.mktemp("weights"), whole)
    return {"model": small_clip.MODEL, "weights": str(weights), "head_init": "text", "drop_path": 0.0}


@pytest.fixture(scope="module")
def zero_shot(whole, flowers):
    """Accuracy of open_clip's own zero-shot classification on the validation pictures."""
    settings, _ = resolve({"model": small_clip.MODEL, "img_size": 32, "train_dir": str(flowers)})
    task = FlowersTask()
    data = task.prepare(settings)
    built = task.build(find_model(small_clip.MODEL), settings.replace(weights="none"), CLASSES)
    _, transform = task.transforms(built.description, settings)
    prompts = list(prompts_for(CLASSES, CLASSES))
    texts = open_clip.build_zero_shot_classifier(whole, open_clip.get_tokenizer(small_clip.NAME), CLASSES, prompts)
    with torch.inference_mode():
        images = torch.stack([transform(example.read()) for example in data.val])
        guesses = (whole.encode_image(images, normalize=True) @ texts).argmax(dim=1).numpy()
    return float(np.mean(guesses == [example.label for example in data.val]))


def recorded(recorder):
    return [event.values[LABEL] for event in recorder.events if isinstance(event, Metrics) and LABEL in event.values]


def test_a_run_reports_the_accuracy_before_its_first_step(train_small, text, zero_shot, capsys):
    finished, recorder = train_small(**text)
    assert recorded(recorder) == [pytest.approx(zero_shot)]
    lines = capsys.readouterr().err
    assert f"zero-shot, before the first step: validation accuracy {zero_shot:.4f} (" in lines
    assert f"head from the texts of 5 classes, {len(PROMPTS)} prompts each: 'a photo of a {{}}, a type of" in lines
    assert load_checkpoint(finished.folder / "best.pth").settings["head_init"] == "text"


def test_a_probe_has_the_same_start(train_small, text, zero_shot):
    _, recorder = train_small(**text, **PROBE)
    assert recorded(recorder) == [pytest.approx(zero_shot)]


def test_a_run_on_all_pictures_starts_from_texts_too(train_small, text, capsys):
    _, recorder = train_small(**text, val_split=0, epochs=1, warmup_epochs=0)
    assert recorded(recorder) == []
    assert "the zero-shot accuracy is not measured" in capsys.readouterr().err


def test_a_random_head_reports_none(train_small, text):
    finished, recorder = train_small(**{**text, "head_init": "random"}, epochs=1, warmup_epochs=0)
    assert recorded(recorder) == []
    weight = load_checkpoint(finished.folder / "best.pth").state_dict["head.weight"]
    assert weight.abs().max() < 0.2


def test_a_run_that_goes_on_does_not_start_again(begin, text, monkeypatch):
    begin(at=epoch(2), **text)
    monkeypatch.setattr(text_head, "class_embeddings", lambda *_: pytest.fail("computed again"))
    recorder = begin(**text)
    assert recorded(recorder) == []


def test_weights_without_a_text_tower_are_refused_before_anything_is_written(whole, text, flowers, tmp_path):
    image_tower = {name: tensor for name, tensor in whole.state_dict().items() if name.startswith("visual.")}
    torch.save(image_tower, tmp_path / "w.pth")
    given = {**text, "weights": str(tmp_path / "w.pth"), "img_size": 32, "train_dir": str(flowers)}
    settings, _ = resolve({**given, "output_dir": str(tmp_path / "out")})
    with pytest.raises(UserError, match="holds no text tower"):
        run_training(settings, lambda *_: MemoryRecorder())
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_zero_shot_start_of_wise_ft_is_a_probe_with_a_rate_of_nearly_0(train_small, text, zero_shot, tmp_path):
    """`--probe --epochs 1 --lr-head 1e-12`: what docs/guides/text-head.md says."""
    tuned, _ = train_small(**text)
    start, _ = train_small(**{**text, **PROBE, "mixup": 0, "lr_head": 1e-12}, epochs=1, warmup_epochs=0, ema=False)
    assert start.scores.accuracy == pytest.approx(zero_shot)
    before = load_checkpoint(start.folder / "best.pth").state_dict["head.weight"]
    after = load_checkpoint(tuned.folder / "best.pth").state_dict["head.weight"]
    assert (after - before).abs().max() > 1e-3
    made = interpolate_runs(Request((start.folder, tuned.folder), tmp_path / "out", device="cpu", workers=0))
    assert made.curve[0][0] == 0
    assert load_checkpoint(made.folder / "best.pth").classes == CLASSES


def test_a_rate_of_nearly_0_leaves_the_zero_shot_head(train_small, text, monkeypatch):
    """Weight decay is scaled by it; without a warm-up and the EMA there is nothing else that could move it."""
    heads = []

    def remember(head, *arguments):
        set_text_head(head, *arguments)
        heads.append(head.weight.detach().clone())

    monkeypatch.setattr(text_head, "set_text_head", remember)
    start, _ = train_small(**{**text, **PROBE, "mixup": 0, "lr_head": 1e-12}, epochs=1, warmup_epochs=0, ema=False)
    kept = load_checkpoint(start.folder / "best.pth").state_dict["head.weight"]
    assert torch.allclose(kept, heads[0], rtol=1e-5, atol=1e-9)
