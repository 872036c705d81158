"""A training history, its figure, and the texts of any figure."""

from matplotlib.figure import Figure
from matplotlib.text import Text

from flowerml.reporting.figures.curves import curves_figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def epoch(number: int, **values: float) -> dict[str, float]:
    scores = {"val_accuracy": 0.9 - 0.5 / number, "val_macro_f1": 0.88 - 0.5 / number}
    losses = {"train_loss": 1.0 / number, "val_loss": 1.1 / number}
    rates = {"lr_head": 1e-3, "lr_backbone": 1e-4, "grad_norm": 1.0, "images_per_second": 100.0}
    return {"epoch": number, **losses, **scores, **rates, **values}


def curves(history, **options) -> Figure:
    defaults = {"best_epoch": None, "lr_changes": [], "freeze_epochs": 0, "title": "run"}
    return curves_figure(history, **{**defaults, **options})
