"""Coverage-guided fuzzing of the readers in tests/fuzz with Atheris (libFuzzer): a table, a row for each.

    python tools/guided_fuzz.py [--seconds 60] [TARGET ...]

Hypothesis turns libFuzzer's bytes into a target's input, so a target is the same test that `make fuzz` runs, and what
it finds is repeated by that test. Atheris is no dependency: its wheels are for Linux and few versions of Python.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

# Tests without fixtures: what they need is drawn.
TARGETS = {
    "test_text_files": ("plans", "settings", "tables", "journal_lines", "run_files", "annotations_of_any_json"),
    "test_binary_files": ("pictures_with_changed_bytes", "jpeg_segments", "png_chunks", "archives"),
    "test_sources": ("tar_files", "parquet_files", "tables_of_pictures"),
}
LONGEST_S = 10  # of one input
MEMORY_MB = 500  # of one allocation


def main() -> int:
    """Run the targets one after the other; 1 if one of them found something."""
    names = {name: module for module, found in TARGETS.items() for name in found}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(names)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, metavar="INT", help="for each target; default: 60")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := sorted(set(args.targets) - set(names)):
        parser.error(f"target {unknown[0]!r} is unknown. Allowed: {', '.join(names)}")
    if find_spec("atheris") is None:
        parser.error("Atheris is not installed: run `make guided-fuzz`")
    if args.in_this_process:
        _fuzz(names[args.targets[0]], args.targets[0], args.seconds)
    print(f"{'target':<28}{'inputs':>10}{'features':>10}{'seconds':>9}  result")
    results = [_run(name, args.seconds) for name in args.targets or names]
    return 0 if all(results) else 1


def _run(target: str, seconds: int) -> bool:
    """Fuzz one target in a process and a folder of its own, and print its row; False where it found something."""
    begun = time.monotonic()
    command = [sys.executable, __file__, "--in-this-process", "--seconds", str(seconds), target]
    paths = [str(Path(path).resolve()) for path in ("", *os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    with tempfile.TemporaryDirectory(prefix="flowerml-fuzz-") as folder:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "FLOWERML_CACHE_DIR": f"{folder}/cache"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
    inputs = re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)
    features = re.findall(r"\bft: (\d+)", done.stderr)
    row = f"{target:<28}{inputs[-1] if inputs else '-':>10}{features[-1] if features else '-':>10}"
    print(f"{row}{time.monotonic() - begun:>9.0f}  {'nothing found' if done.returncode == 0 else 'FOUND'}", flush=True)
    if done.returncode:
        print(done.stderr[-6000:], file=sys.stderr)
    return done.returncode == 0


def _fuzz(module: str, target: str, seconds: int) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["flowerml"]):
        tests = import_module(f"tests.fuzz.{module}")
    test = getattr(tests, f"test_{target}")
    if module == "test_sources":
        tests.packed._SETTLING_S = 0  # else a Parquet file of just now is waited for: 3.5 s for each input
    for folder in ("corpus", "in"):
        Path(folder).mkdir()
    limits = (f"-timeout={LONGEST_S}", f"-malloc_limit_mb={MEMORY_MB}", "-rss_limit_mb=4096")
    corpus = str(Path("corpus").resolve())
    os.chdir("in")  # of the target's files alone, as for the tests
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", *limits, corpus], test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
