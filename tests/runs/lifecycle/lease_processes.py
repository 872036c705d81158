"""Programs of other processes that claim a folder, and how to start them."""

import os
import subprocess
import sys
import textwrap

from tests.conftest import ROOT


def start(program, *words):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


CLAIMANT = """
    import sys
    from pathlib import Path
    from flowerml.errors import UserError
    from flowerml.files import write_text
    from flowerml.runs.lifecycle.lease import acquire, fenced_writes
    root = Path(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with fenced_writes(acquire(root, 60)) as _:
            write_text(root / "won.txt", sys.argv[2])
            print("won", flush=True)
            sys.stdin.readline()  # the lease of a process that has ended is free
    except UserError as error:
        print(error, flush=True)
"""


def ten_claim(folder):
    processes = [start(CLAIMANT, folder, number) for number in range(10)]
    assert [process.stdout.readline() for process in processes] == 10 * ["ready\n"]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.stdout.readline() for process in processes]
    assert all(process.communicate("\n") == ("", "") for process in processes)
    won = [number for number, out in enumerate(said) if out == "won\n"]
    assert len(won) == 1
    assert (folder / "won.txt").read_text() == str(won[0])
    assert all("is being worked on by process" in out for number, out in enumerate(said) if number not in won)


SLEEPER = """
    import sys, time
    from pathlib import Path
    from flowerml.errors import LeaseLost
    from flowerml.files import write_text
    from flowerml.runs.lifecycle.lease import acquire, fenced_writes
    root, number = Path(sys.argv[1]), 0
    try:
        with fenced_writes(acquire(root, 1)):
            while True:
                number += 1
                write_text(root / "best.pth", str(number))
    except LeaseLost as error:
        print(error)
"""


SLOW = """
    import sys, time
    from pathlib import Path
    from flowerml.errors import UserError
    from flowerml.runs.lifecycle import lease as leases
    root, write = Path(sys.argv[1]), leases.write_claim

    def slow(folder, who):
        write(folder, who)
        print("looked", flush=True)
        sys.stdin.readline()

    leases.write_claim = slow
    try:
        print(leases.acquire(root, 60).owner.token)
    except UserError as error:
        print(error)
"""
