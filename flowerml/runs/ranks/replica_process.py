"""The process of a replica that rank 0 has started on its own host."""

import os
import sys
import threading
from pathlib import Path

from flowerml.log import configure_logging
from flowerml.process.environment import set_process_environment
from flowerml.process.exit import skip_teardown
from flowerml.process.garbage_collection import collect_rarely


def main() -> int:
    """Train along; this process's place is in the environment. Returns the exit code."""
    configure_logging()
    set_process_environment()
    collect_rarely()
    _exit_with_parent()
    # From here on it costs seconds: torch.
    from flowerml.runs.ranks.rendezvous import STORE_VARIABLE, file_rendezvous
    from flowerml.runs.ranks.replica import run_replica
    from flowerml.training.distributed.torchrun import Torchrun

    place = Torchrun.from_environment()
    return run_replica(file_rendezvous(Path(os.environ[STORE_VARIABLE]), place.world), place)


def _exit_with_parent() -> None:
    """End this process when rank 0, which holds the other end of its stdin, is gone."""

    def watch() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock a forked loader process would wait for
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(skip_teardown(main()))
