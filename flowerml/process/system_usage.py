"""What the machine and this process use: CPU, memory, and NVIDIA GPUs where their library is installed.

Names and units are those of MLflow's system metrics, so that its pages show them on a tab of their own.
"""

from collections.abc import Mapping
from contextlib import suppress

import psutil

_MEGABYTE = 1e6


class SystemUsage:
    """Reads the usage since the previous reading. `gpu` is the UUID of the CUDA device at work, None without one."""

    def __init__(self, gpu: str | None = None) -> None:
        self._process = psutil.Process()
        self._gpu = None if gpu is None else _Gpu.open(gpu)
        psutil.cpu_percent()  # the first reading of psutil is 0: it has nothing to compare with

    def read(self) -> Mapping[str, float]:
        """Values by metric name; those that can't be read are left out."""
        memory = psutil.virtual_memory()
        values = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
            "system/run_memory_usage_megabytes": self._run_memory() / _MEGABYTE,
        }
        return {**values, **({} if self._gpu is None else self._gpu.read())}

    def _run_memory(self) -> float:
        """Bytes in memory of this process and its loaders; pages that they share count once for each."""
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.Error):  # a loader that has just ended
                total += process.memory_info().rss
        return float(total)


class _Gpu:
    """One NVIDIA GPU, through `pynvml` (the package nvidia-ml-py)."""

    def __init__(self, library: object, handle: object, index: int) -> None:
        self._library, self._handle, self._prefix = library, handle, f"system/gpu_{index}"

    @classmethod
    def open(cls, uuid: str) -> "_Gpu | None":
        """The GPU, None where the library or the driver is missing."""
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)  # an index would miss CUDA_VISIBLE_DEVICES
            return cls(pynvml, handle, pynvml.nvmlDeviceGetIndex(handle))
        except Exception:  # an import error, or one of the library's many; the training does without
            return None

    def read(self) -> Mapping[str, float]:
        """Utilization, memory and power."""
        library, handle = self._library, self._handle
        values: dict[str, float] = {}
        with suppress(Exception):  # as above; a driver may know one of them and not another
            values[f"{self._prefix}_utilization_percentage"] = library.nvmlDeviceGetUtilizationRates(handle).gpu  # type: ignore[attr-defined]
        with suppress(Exception):
            memory = library.nvmlDeviceGetMemoryInfo(handle)  # type: ignore[attr-defined]
            values[f"{self._prefix}_memory_usage_megabytes"] = memory.used / _MEGABYTE
            values[f"{self._prefix}_memory_usage_percentage"] = 100 * memory.used / memory.total
        with suppress(Exception):
            values[f"{self._prefix}_power_usage_watts"] = library.nvmlDeviceGetPowerUsage(handle) / 1000  # type: ignore[attr-defined]
        return values
