"""Load a delivered or a best checkpoint and predict: no MLflow, no network, fp32, any device."""

from flowerml.prediction.flowers_classifier import FlowersClassifier
from flowerml.prediction.predictor import as_predictor, load_cnn_model, load_model, load_vit_model, predict, predict_proba

__all__ = ["FlowersClassifier", "as_predictor", "load_cnn_model", "load_model", "load_vit_model", "predict", "predict_proba"]
