"""A process ends at once, but not before its threads, its exit handlers and its streams."""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.conftest import ROOT

PROGRAM = """
    import sys
    from flowerml.process.exit import skip_teardown
    import atexit, logging, logging.handlers, threading, time

    class Kept:
        def __del__(self):
            print("teardown", flush=True)

    kept = Kept()
    atexit.register(print, "exit handler")
    buffered = logging.handlers.MemoryHandler(10, target=logging.StreamHandler())
    logging.getLogger().addHandler(buffered)
    logging.getLogger().warning("logged")
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    print("written")
"""


def run(last_line):
    program = textwrap.dedent(PROGRAM) + last_line
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_threads_handlers_and_streams_end_first_and_the_code_stays(code):
    done = run(f"sys.exit(skip_teardown({code}))")
    assert done.returncode == code
    assert done.stdout.split("\n") == ["written", "thread", "exit handler", ""], "and no teardown"
    assert done.stderr == "logged\n"


def test_an_exception_ends_it_as_ever():
    done = run("raise RuntimeError('not caught')")
    assert done.returncode == 1
    assert done.stdout.split("\n") == ["written", "thread", "exit handler", "teardown", ""]
    assert "RuntimeError: not caught" in done.stderr


def test_a_reader_that_has_gone_is_not_told():
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM) + "sys.exit(skip_teardown(3))"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"logged\n", 3)
