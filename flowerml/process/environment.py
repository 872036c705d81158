"""Environment variables of this process and its children that must stand before torch and MLflow are imported.

What the user has set himself stays.
"""

import logging
import os
import pwd
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

logger = logging.getLogger(__name__)

# OpenMP threads spin for milliseconds while they wait for work, and take the cores from the processes that load
# pictures, or from another training, which gets several times slower. Without any spinning a virtual machine loses a
# third of a step in waking its cores: GNU's OpenMP (in torch's wheels) spins for about 0.1 ms here, LLVM's and Intel's,
# which read the first name only, not at all. They read it when they are loaded. Results do not depend on it.
SHORT_WAIT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
# What these libraries tell their makers about their use, unasked: for MLflow requests in the middle of a training, and
# one at the end of each process, which a network that answers nobody delays.
NO_TELEMETRY = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# The command that was typed (`flowerml train`): the source of MLflow runs, also of those of child processes.
COMMAND = "FLOWERML_COMMAND"
_SPINNING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # a user who has set one of these has decided
_USER_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")  # as in getpass.getuser


def set_process_environment() -> None:
    """Set short waits of OpenMP threads, no telemetry, and where the system knows none a home folder and a user name.

    A container's numeric user has neither: several libraries fail, or write into a folder called `~`.
    """
    os.environ.update(short_wait(os.environ))
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - Path raises here
        os.environ["HOME"] = str(temporary_home())
        logger.warning(f"this user has no home folder (no HOME, no passwd entry): caches go to {os.environ['HOME']}")
    if not any(os.environ.get(name) for name in _USER_NAMES):
        try:
            pwd.getpwuid(os.getuid())
        except KeyError:
            os.environ["LOGNAME"] = str(os.getuid())


def short_wait(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to an environment so that OpenMP threads spin briefly at most; nothing where that was decided."""
    return {} if any(name in environment for name in _SPINNING) else dict(SHORT_WAIT)


def temporary_home() -> Path:
    """A folder of this user alone among the temporary files, the same each time where that is safe."""
    folder = Path(tempfile.gettempdir()) / f"flowerml-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="flowerml-"))  # somebody else's file stands there
