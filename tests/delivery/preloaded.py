"""Checks of a delivery as forks of a process that has imported torch: each would import it anew, for five seconds.

Run as a script it is that process: `python -I -B preloaded.py SOCKET`. A fork gets the arguments, folder, environment
and streams of the check that `verify` or `check_formats` starts, and nothing of flowerml. Checks that must see what a
file imports, those of formats that must not need torch, and tests that ask for `fresh_checks`, start a Python.
"""

import array
import contextlib
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import traceback
from pathlib import Path

LAUNCHER = """#!{python} -IS
import array, json, os, socket, sys
script = next(word for word in sys.argv[1:] if word.endswith(".py"))
with open(sys.argv[-1], encoding="utf-8") as file:
    request = json.load(file)
if request.get("format", "pth") != "pth":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
order = json.dumps([script, sys.argv[-1], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    line.sendmsg([len(order).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    line.sendall(order)
    code = line.recv(4)
sys.exit(int.from_bytes(code, "big", signed=True) if code else 70)
"""


@contextlib.contextmanager
def preloaded_python(folder: Path):
    """Context with the path of a program to start in the place of Python, for the scripts of a delivery's checks."""
    address, launcher = str(folder / "socket"), folder / "python"
    launcher.write_text(LAUNCHER.format(python=sys.executable, address=address))
    launcher.chmod(0o755)
    command = [sys.executable, "-I", "-B", __file__, address]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield launcher
        finally:
            process.kill()


def serve(address: str) -> None:
    """Import what delivered weights need, then fork for each order."""
    import numpy  # noqa: F401
    import timm
    import torch
    import torchvision  # noqa: F401

    del timm, torch
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for the checks
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        print("ready", flush=True)
        while True:
            line, _ = door.accept()
            with line:
                if not os.fork():
                    door.close()
                    _attend(line)


def _attend(line: socket.socket) -> None:
    """Fork the check, and send its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, rights, _, _ = line.recvmsg(8, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    streams = array.array("i", rights[0][2])
    with line.makefile("rb") as file:
        script, request, folder, environment = json.loads(file.read(int.from_bytes(head, "big")))
    pid = os.fork()
    if not pid:
        _check(script, request, folder, environment, streams)
    for stream in streams:
        os.close(stream)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        line.sendall(struct.pack(">i", code))
    os._exit(0)


def _check(script: str, request: str, folder: str, environment: dict[str, str], streams: array.array) -> None:
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [script, request]
        runpy.run_path(script, run_name="__main__")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
