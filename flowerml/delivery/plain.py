"""Deliver a weights file alone, for use with flowerml: a copy that is verified against the run's probe."""

import logging
from pathlib import Path

import numpy as np
import torch

from flowerml.delivery.verify import LOGIT_TOLERANCE
from flowerml.errors import RunFailed, UserError
from flowerml.files import check_writable, copy_file, file_digest
from flowerml.prediction import load_network

logger = logging.getLogger(__name__)


def deliver_weights(weights: Path, probe: Path | None, target: Path) -> str:
    """Copy a registered file to `target` and compare its logits with the run's `probe.npz`, unless that is None.

    Returns its sha256 (hex).

    Raises:
        UserError: the folder can't be written to, or the probe can't be read.
        RunFailed: a logit differs by more than LOGIT_TOLERANCE.
    """
    check_writable(target)
    copy_file(weights, target)
    comparison = "the run left no probe.npz: its logits could not be compared"
    if probe is not None:
        difference = _max_logit_difference(target, probe)
        if not difference <= LOGIT_TOLERANCE:
            raise RunFailed(
                f"{target} must not be handed on: its logits differ by {difference:.2e} from those of the run's"
                " probe.npz"
            )
        comparison = f"logits within {difference:.1e} of the run's"
    digest = file_digest(target)
    logger.info(f"{target}: sha256 {digest[:12]}…; {comparison}")
    return digest


def _max_logit_difference(weights: Path, probe: Path) -> float:
    """The largest absolute difference of a logit, fp32 on the CPU."""
    try:
        with np.load(probe, allow_pickle=False) as arrays:
            names = sorted(name for name in arrays.files if name.startswith("inputs"))
            parts, logits = [torch.from_numpy(arrays[name]) for name in names], arrays["logits"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{probe}: can't be read as a run's probe.npz ({error}): deliver from a run whose files are whole"
        ) from error
    with torch.inference_mode():
        found = load_network(weights)(parts[0] if len(parts) == 1 else tuple(parts)).numpy()
    return float(np.abs(found - logits).max())
