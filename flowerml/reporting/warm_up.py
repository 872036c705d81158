"""Draw one of everything a run draws, in a process from which runs are forked: they find fonts and templates ready."""

import io

import numpy as np
from PIL import Image

from flowerml.reporting.errors_page import Mistake, Overlays, errors_page
from flowerml.reporting.figures.curves import curves_figure
from flowerml.reporting.figures.drawing import confusion_figure, png_bytes
from flowerml.reporting.heat_map_page import overlay_heat_map
from flowerml.reporting.image_grid import image_grid
from flowerml.reporting.thumbnail import thumbnail_jpeg

_RATES = {"lr_head": 1e-3, "lr_backbone": 2e-4}
_SCORES = {"val_accuracy": 0.5, "val_macro_f1": 0.25, "val_mean_recall": 0.25}


def warm_up_reporting() -> None:
    """Fill what matplotlib, Pillow and Jinja keep for the process: fonts, glyphs, formulas of axes, templates.

    Nothing is written, and no thread is started.
    """
    history = [{"epoch": epoch, "train_loss": 1.0 / epoch, "val_loss": 1.0, **_SCORES, **_RATES} for epoch in (1, 2)]
    png_bytes(curves_figure(history, best_epoch=2, lr_changes=(), freeze_epochs=1, title="curves, validation"))
    png_bytes(confusion_figure(np.eye(2, dtype=int), ["daisy", "rose"], "confusion, validation"))
    view = Image.new("RGB", (32, 32))
    grid = image_grid([(view, "daisy\n→ rose 0.50")])
    for picture, form in ((grid.quantize(128, method=Image.Quantize.FASTOCTREE), "PNG"), (grid, "WEBP")):
        picture.save(io.BytesIO(), form)
    jpeg = thumbnail_jpeg(overlay_heat_map(view, np.eye(32)))
    mistake = Mistake("daisy/1.jpg", "daisy", "rose", 0.25, 0.5)
    errors_page(
        [mistake],
        title="errors",
        total=2,
        thumbnail=lambda _: jpeg,
        overlays=lambda _: Overlays("", {mistake.image: jpeg}),
    )
