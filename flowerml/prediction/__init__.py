"""Load a delivered or a best checkpoint and predict: no MLflow, no network, fp32, any device."""

from flowerml.prediction.predictor import Predictor, as_predictor, load_cnn_model, load_model, load_vit_model, predict

__all__ = ["Predictor", "as_predictor", "load_cnn_model", "load_model", "load_vit_model", "predict"]
