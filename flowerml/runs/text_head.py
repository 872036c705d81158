"""`head_init: text`: the head starts as CLIP's zero-shot classifier, and its accuracy is measured before any step."""

import logging
from collections.abc import Sequence

import torch

from flowerml.data.features.loader import feature_evaluation_loader
from flowerml.data.loader import Example, evaluation_loader
from flowerml.evaluation.metrics import Predictions, compute_metrics
from flowerml.evaluation.predict import predict_all
from flowerml.models.builders import set_channels_last
from flowerml.models.classifier import Classifier
from flowerml.models.text_head import class_embeddings, prompts_for, set_text_head
from flowerml.runs.prepare import Prepared
from flowerml.tasks import Views
from flowerml.tasks.backbone_features import extract_batches
from flowerml.tasks.flowers import CLASSES

logger = logging.getLogger(__name__)

TEXT = "text"
ZERO_SHOT = "zero_shot_accuracy"
_SAMPLE = 64  # training pictures whose features give the mean length: it varies by a few per cent between pictures


def start_from_text(run: Prepared, views: Views) -> dict[str, float]:
    """Set the head of `run` to the embeddings of its class names. Returns metrics: the zero-shot validation accuracy.

    Empty without validation pictures. Features come from `views` where these have them (a linear probe).

    Raises:
        UserError: the weights hold no text tower, or can't be fetched.
        RunFailed: a picture can't be read any more.
    """
    model = run.built.model
    assert isinstance(model, Classifier), "the settings allow it for whole pictures only"
    prompts = prompts_for(run.data.classes, CLASSES)
    found = class_embeddings(run.spec, run.settings.weights, run.data.classes, prompts)
    sample = run.data.train[:: max(1, len(run.data.train) // _SAMPLE)][:_SAMPLE]
    set_text_head(model.head, found, float(_features(run, views, sample).norm(dim=1).mean()))
    logger.info(
        f"head from the texts of {len(run.data.classes)} classes, {len(prompts)} prompts each: {prompts[0]!r} …"
    )
    if not run.data.val:
        logger.info("no validation pictures: the zero-shot accuracy is not measured")
        return {}
    scores = compute_metrics(_predictions(run, views))
    low, high = scores.interval
    logger.info(
        f"zero-shot, before the first step: validation accuracy {scores.accuracy:.4f} ({scores.hits} of {scores.total};"
        f" 95 % interval {low:.4f} to {high:.4f})"
    )
    return {ZERO_SHOT: scores.accuracy}


def _features(run: Prepared, views: Views, examples: Sequence[Example]) -> torch.Tensor:
    """Features (N, F) of the examples, in fp32, on the CPU."""
    if views.features is not None:
        return views.features(examples)
    _, transform = run.task.transforms(run.built.description, run.settings)
    batches = extract_batches(
        examples, transform, built=run.built, spec=run.spec, device=run.device, workers=run.workers
    )
    return torch.cat([torch.from_numpy(features) for _, features in batches])


def _predictions(run: Prepared, views: Views) -> Predictions:
    """Those of the validation pictures, in fp32."""
    size, classes = run.settings.batch_size, run.data.classes
    if views.features is not None:
        loader = feature_evaluation_loader(views.features(views.val), views.val, batch_size=size)
        return predict_all(run.built.model.head.to(run.device), loader.epoch(1), classes, run.device)
    model = run.built.model.to(run.device)
    memory_format = set_channels_last(model, run.spec)
    _, transform = run.task.transforms(run.built.description, run.settings)
    loader = evaluation_loader(run.data.val, transform, batch_size=size, workers=run.workers)
    return predict_all(model, loader.epoch(1), classes, run.device, memory_format)
