"""Hold requirements.lock against every Python and platform it is for, and run tests with the Pythons found here.

Run by `make platforms`. A table says what was checked: for which the lock can be installed, from wheels alone and with
hashes, and where tests ran. Exit code 1 where something failed; a Python that is not installed is no failure.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
UV = str(Path(sys.executable).parent / "uv")
PYTHONS = ("3.11", "3.12", "3.13")
# uv's names. Wheels of the lock need glibc 2.35 on arm64 (Ubuntu 22.04), and macOS 14.
PLATFORMS = {
    "Linux x86_64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_35",
    "macOS arm64": "aarch64-apple-darwin",
}
OLDEST_MACOS = "14.0"
# What is used of the interpreter, torch, pydantic and NumPy shows in these, which take seconds.
TESTS = (
    *("tests/journal", "tests/test_files.py", "tests/test_text.py"),
    *("tests/settings/test_recipes.py", "tests/settings/test_conflicts.py"),
    *(
        "tests/training/test_trainer.py",
        "tests/training/optimization/test_losses.py",
        "tests/training/optimization/test_lora.py",
    ),
)


def resolves(python: str, platform: str) -> tuple[bool, str]:
    """Whether every pin has a wheel, and how many there are, or what uv says."""
    form = ["--dry-run", "--only-binary", ":all:", "--require-hashes", "--target", "build/none"]
    command = [UV, "pip", "install", *form, "--python-version", python, "--python-platform", platform]
    env = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS}
    done = subprocess.run(
        [*command, "-r", "requirements.lock"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    found = re.search(r"Would install (\d+) packages", done.stderr)
    if done.returncode == 0 and found:
        return True, f"{found[1]} packages"
    return False, " ".join(done.stderr.split())[:200]


def interpreter(python: str) -> str | None:
    """A Python of that version on this machine: on PATH, or pyenv's."""
    candidates = [f"python{python}"]
    if shutil.which("pyenv"):
        versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False).stdout
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False).stdout.strip()
        names = [name.strip() for name in versions.splitlines()]
        candidates += [f"{root}/versions/{name}/bin/python" for name in names if name.startswith(f"{python}.")]
    for candidate in candidates:
        if path := shutil.which(candidate):
            command = [path, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.stdout.strip() == python:
                return path
    return None


def run_tests(python: str) -> tuple[bool, str]:
    """Install the lock into an environment of its own and run `TESTS` there: whether they passed, their last line."""
    path = interpreter(python)
    if path is None:
        return True, "not run: not installed here"
    venv = ROOT / "build" / f"python{python}"
    own = str(venv / "bin" / "python")
    steps = [
        [UV, "venv", "--quiet", "--clear", "--python", path, str(venv)],
        [UV, "pip", "install", "--quiet", "--require-hashes", "--python", own, "-r", "requirements.lock"],
        [UV, "pip", "install", "--quiet", "--python", own, "--no-deps", "--no-build-isolation", "-e", "."],
        [own, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-m", "not slow", *TESTS],
    ]
    for step in steps:
        done = subprocess.run(step, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout[-6000:], done.stderr[-3000:], file=sys.stderr)
            break
    shutil.rmtree(venv, ignore_errors=True)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else f"exit code {done.returncode}"


def main() -> int:
    """Print the table."""
    table = Table("Python", *PLATFORMS, "tests here")
    failed = False
    for python in PYTHONS:
        cells = [resolves(python, platform) for platform in PLATFORMS.values()]
        same = f"{sys.version_info.major}.{sys.version_info.minor}" == python
        tests = (True, "the whole suite: make test") if same else run_tests(python)
        failed |= not all(good for good, _ in (*cells, tests))
        table.add_row(python, *(words for _, words in (*cells, tests)))
    Console(width=160).print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
