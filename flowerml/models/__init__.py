"""Classifiers: a backbone from timm or open_clip, a head, pretrained weights, and layer groups for the optimizer."""

from flowerml.models.backbone import UnknownModel
from flowerml.models.builders import BuiltModel, build, build_for_weights, weights_digest
from flowerml.models.classifier import Classifier

__all__ = ["BuiltModel", "Classifier", "UnknownModel", "build", "build_for_weights", "weights_digest"]
