"""Test-time augmentation: the mean of a model's logits over several views of one picture.

It is the mean of logits, not of probabilities: dividing by a temperature commutes with it, so that the label of a
picture does not depend on whether its probabilities are calibrated, and calibration, logit adjustment and metrics
apply to it as to the logits of one view.
"""

from __future__ import annotations

NO_VIEWS, FLIP, FLIP_SCALES = "none", "flip", "flip-scales"
TTA = (NO_VIEWS, FLIP, FLIP_SCALES)
TTA_SCALES = (1.0, 0.9, 1.15)  # of the edge that a picture is resized to before its centre is cropped


def crop_shares(tta: str, crop_pct: float) -> tuple[float, ...]:
    """The `crop_pct` of each size at which a picture is seen, its own first.

    A size that would be smaller than the crop is that of the crop; one that is there already is left out.
    """
    if tta != FLIP_SCALES:
        return (crop_pct,)
    return tuple(dict.fromkeys(min(1.0, crop_pct / scale) for scale in TTA_SCALES))
