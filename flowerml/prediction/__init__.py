"""Load a delivered or a best checkpoint and predict: no MLflow, no network, fp32, any device."""

from flowerml.prediction.flowers_classifier import FlowersClassifier
from flowerml.prediction.predictor import (
    as_network,
    as_predictor,
    load_cnn_model,
    load_model,
    load_network,
    load_vit_model,
    predict,
    predict_proba,
)
from flowerml.prediction.relations import (
    RelationPredictor,
    load_relation_model,
    predict_relation,
    predict_relation_proba,
)

__all__ = [
    "FlowersClassifier",
    "RelationPredictor",
    "as_network",
    "as_predictor",
    "load_cnn_model",
    "load_model",
    "load_network",
    "load_relation_model",
    "load_vit_model",
    "predict",
    "predict_proba",
    "predict_relation",
    "predict_relation_proba",
]
