"""A seeded storm over a running command: processes killed and stopped, server and disk gone for a while, bytes flipped,
the folder renamed, the clock set. Each event is real; only its moment and kind are drawn.
"""

import hashlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from tests.tracking.postgres_databases import away

LEASE_S = 5  # of the runs, so that a stop outlasts it
PAUSE_S = (1.0, 8.0)  # between two events
LONGEST_S = 1200
_AWAY_S = 3.0
_FULL_S = 4.0


def clock_of(file):
    """The environment of a command whose clock `file` sets."""
    paths = [str(Path(__file__).parent / "clock"), os.environ.get("PYTHONPATH", "")]
    return {"CHAOS_CLOCK": str(file), "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def weights_digest(path):
    """sha256 of the tensors in a file of weights."""
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


class Storm:
    """`strike` does one event to the process `runner`, its children, its `server`, its folder `root`, or its clock.

    An event returns whether there was something for it to hit. `clock` is the file of `clock/sitecustomize.py`,
    `database` the address of the server's, if that is a Postgres. With `nodes` the runs are on a Ray cluster, whose
    clock is left alone.
    """

    def __init__(self, seed, count, server, root, clock, disk=None, *, database=None, nodes=None):
        self.draw, self._server, self._root, self._disk = random.Random(seed), server, Path(root), disk
        self._clock, self._count = Path(clock), count
        self._database, self._nodes, self.events = database, nodes, Counter()
        self._kinds = [
            *(self.kill_one, self.kill_runner, self.kill_all, self.stop_past_the_lease),
            *(self.server_killed, self.server_silent, self.flip_a_byte, self.rename_the_folder),
            self.node_lost if nodes else self.set_the_clock,
            *([self.fill_the_disk] if disk else []),
            *([self.database_away] if database else []),
        ]

    def strike(self, runner):
        """One event. A process that has ended by itself meanwhile is no event."""
        event = self.draw.choice(self._kinds)
        with suppress(psutil.NoSuchProcess):
            if event(psutil.Process(runner.pid)):
                self.events[event.__name__.replace("_", " ")] += 1

    def kill_one(self, runner):
        """A run, a loader, the fork server: whatever process of the command it hits."""
        family = runner.children(recursive=True)
        if not family:
            return False
        self.draw.choice(sorted(family, key=lambda process: process.pid)).kill()
        return True

    def kill_runner(self, runner):
        runner.kill()
        return True

    def kill_all(self, runner):
        family = runner.children(recursive=True)
        runner.kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return True

    def stop_past_the_lease(self, runner):
        """Everything stands still for longer than the lease, then goes on, as a laptop that was closed."""
        family = [*runner.children(recursive=True), runner]
        for number, wait in ((signal.SIGSTOP, LEASE_S + 2), (signal.SIGCONT, 0)):
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            time.sleep(wait)
        return True

    def server_killed(self, _runner):
        self._server.down()
        time.sleep(_AWAY_S)
        self._server.up()
        return True

    def server_silent(self, _runner):
        self._server.stop()
        time.sleep(_AWAY_S)
        self._server.wake()
        return True

    def database_away(self, _runner):
        with away(self._database):
            time.sleep(_AWAY_S)
        return True

    def node_lost(self, _runner):
        self._nodes.lose_one(self.draw)
        return True

    def flip_a_byte(self, _runner):
        """Of a checkpoint. (A journal's line that is not delivered yet is lost with its byte: `make faults` tells.)"""
        files = sorted(path for path in self._root.glob("runs/*/state/*") if path.is_file() and path.stat().st_size)
        if not files:
            return False
        path = self.draw.choice(files)
        place = self.draw.randrange(path.stat().st_size)
        with suppress(FileNotFoundError), path.open("r+b") as handle:
            handle.seek(place)
            byte = handle.read(1)
            handle.seek(place)
            handle.write(bytes([byte[0] ^ 0xFF]))
        return True

    def rename_the_folder(self, _runner):
        """All runs are elsewhere for a moment. What was made anew in their place meanwhile is put beside."""
        runs, away = self._root / "runs", self._root / "runs.away"
        if not runs.is_dir():
            return False
        runs.rename(away)
        time.sleep(1.0)
        if runs.exists():
            runs.rename(self._root / f"runs.new{sum(self.events.values())}")
        away.rename(runs)
        return True

    def last_until_the_end(self, command, again=()):
        """Strike `count` times while the command runs, and start it with the words `again` until it ends well.

        Returns its number of starts, and the seconds.
        """
        process, starts, begun = command.start(), 1, time.monotonic()
        while process.poll() is None or process.returncode != 0:
            assert time.monotonic() - begun < LONGEST_S, command.said()
            if process.poll() is not None:  # killed, or it ended with a run that failed: the same command goes on
                process, starts = command.start(*again), starts + 1
            try:
                process.wait(self.draw.uniform(*PAUSE_S))
            except subprocess.TimeoutExpired:
                if sum(self.events.values()) < self._count:
                    self.strike(process)
        return starts, time.monotonic() - begun

    def summary(self):
        """How many events there were, of which kinds."""
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.events.items()))
        return f"{sum(self.events.values())} events ({kinds})"

    def set_the_clock(self, _runner):
        """An hour back or forward from the true time, or to it, for all processes of the command at once."""
        text = str(self.draw.choice([-3600, 3600, 0]))
        written = self._clock.with_suffix(".new")
        written.write_text(text)
        written.replace(self._clock)
        return True

    def fill_the_disk(self, _runner):
        filler = self._disk / "filler"
        with suppress(OSError), filler.open("wb") as handle:
            while True:
                handle.write(b"\0" * 1_000_000)
        with suppress(OSError), filler.open("ab") as handle:
            while True:
                handle.write(b"\0")
        time.sleep(_FULL_S)
        filler.unlink()
        return True


class SmallDisk:
    """A file system of its own (tmpfs), which can be filled; needs root. `path` is None where it can't be mounted."""

    def __init__(self, folder, size="700m"):
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        mounted = os.geteuid() == 0 and subprocess.run(words, capture_output=True).returncode == 0
        self.path = folder if mounted else None

    def close(self):
        if self.path is not None:
            subprocess.run(["umount", "-l", str(self.path)], check=False)
