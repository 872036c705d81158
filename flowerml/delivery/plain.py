"""A weights file that is delivered alone, for who has flowerml: a copy that answers as the run did."""

import logging
from pathlib import Path

import numpy as np
import torch

from flowerml.delivery.verify import LOGIT_TOLERANCE
from flowerml.errors import RunFailed, UserError
from flowerml.files import check_writable, copy_file, file_digest
from flowerml.prediction import load_network

logger = logging.getLogger(__name__)


def deliver_plain(weights: Path, probe: Path | None, target: Path) -> str:
    """Copy a registered file to `target` and hold its logits against the run's `probe.npz` (None: not at hand). Returns
    its sha256 (hex).

    Raises:
        UserError: the folder can't be written to, or the probe can't be read.
        RunFailed: the copy does not answer as the run did.
    """
    check_writable(target)
    copy_file(weights, target)
    compared = "the run left no probe.npz: its logits could not be compared"
    if probe is not None:
        difference = _difference(target, probe)
        if not difference <= LOGIT_TOLERANCE:
            raise RunFailed(
                f"{target} must not be handed on: its logits differ by {difference:.2e} from those of the run's"
                " probe.npz"
            )
        compared = f"logits within {difference:.1e} of the run's"
    digest = file_digest(target)
    logger.info(f"{target}: sha256 {digest[:12]}…; {compared}")
    return digest


def _difference(weights: Path, probe: Path) -> float:
    """The largest difference of a logit, fp32 on the CPU."""
    try:
        with np.load(probe, allow_pickle=False) as kept:
            names = sorted(name for name in kept.files if name.startswith("inputs"))
            parts, logits = [torch.from_numpy(kept[name]) for name in names], kept["logits"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{probe}: can't be read as a run's probe.npz ({error}): deliver from a run whose files are whole"
        ) from error
    with torch.inference_mode():
        found = load_network(weights)(parts[0] if len(parts) == 1 else tuple(parts)).numpy()
    return float(np.abs(found - logits).max())
