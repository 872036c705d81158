"""Classifiers: a backbone from timm or open_clip, a head, and what training must know of their layers."""

from flowerml.models.backbone import UnknownModel
from flowerml.models.builders import Built, build, build_for_weights, weights_digest
from flowerml.models.classifier import Classifier

__all__ = ["Built", "Classifier", "UnknownModel", "build", "build_for_weights", "weights_digest"]
