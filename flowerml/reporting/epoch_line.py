"""One line per epoch for the console."""

from collections.abc import Mapping

from flowerml.human_units import duration


def epoch_line(row: Mapping[str, float], last: int, *, is_best: bool, left: float) -> str:
    """Format the metrics of a completed epoch, with a star for the best so far.

    `last` is the number of the last epoch, `left` the estimated seconds to come.
    """
    validated = ""
    if "val_accuracy" in row:
        star = " *" if is_best else ""
        validated = (
            f"  val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.4f}  macro-F1"
            f" {row['val_macro_f1']:.4f}  recall {row['val_mean_recall']:.4f}{star}"
        )
    eta = f"  {duration(left)} left" if left else ""
    return (
        f"epoch {int(row['epoch']):>{len(str(last))}}/{last}  train_loss {row['train_loss']:.4f}{validated}"
        f"  lr {row['lr_head']:.2e} {row['lr_backbone']:.2e}  {row['images_per_second']:.0f} img/s{eta}"
    )
