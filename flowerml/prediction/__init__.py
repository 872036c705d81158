"""Load a `best.pth` or a delivered `.pth` and predict in fp32 on any device, without MLflow and without a network."""

from flowerml.prediction.load import as_network, as_predictor, load_network, load_predictor
from flowerml.prediction.relations import (
    RelationPredictor,
    load_relation_model,
    predict_relation,
    predict_relation_proba,
)
from flowerml.prediction.standalone.answers import UNKNOWN, Classifier, predict, predict_proba, predict_set
from flowerml.prediction.standalone.ensemble import Ensemble, load_ensemble
from flowerml.prediction.standalone.flowers_classifier import FlowersClassifier, load_cnn_model, load_vit_model

__all__ = [
    "UNKNOWN",
    "Classifier",
    "Ensemble",
    "FlowersClassifier",
    "RelationPredictor",
    "as_network",
    "as_predictor",
    "load_cnn_model",
    "load_ensemble",
    "load_network",
    "load_predictor",
    "load_relation_model",
    "load_vit_model",
    "predict",
    "predict_proba",
    "predict_relation",
    "predict_relation_proba",
    "predict_set",
]
