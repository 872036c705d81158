"""The most memory that a run has taken: of the process, and of its GPU."""

import re
from contextlib import suppress
from pathlib import Path

import torch

_MEGABYTE = 1e6
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Measures from its creation: a process that trains one run after another has one peak for each."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with suppress(OSError):  # 5 resets the peak; not on every kernel, and not outside Linux
            _CLEAR.write_text("5")
        self._before = peak_of_process()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> dict[str, float]:
        """Megabytes by metric name; what can't be read is left out.

        `peak_memory_mb` is resident memory of this process, without its loaders; it is left out where an earlier run of
        the process took more, and the kernel does not reset the peak. `peak_gpu_memory_mb` is what torch has allocated
        for tensors; the driver and torch's cache take more.
        """
        values = {}
        peak = peak_of_process()
        if peak is not None and self._before is not None and peak > self._before:
            values["peak_memory_mb"] = peak / _MEGABYTE
        if self._device.type == "cuda":
            values["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated(self._device) / _MEGABYTE
        return values


def peak_of_process() -> int | None:
    """The most resident memory of this process so far, in bytes; None outside Linux."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024
