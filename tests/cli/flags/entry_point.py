"""An entry point as a process, with the modules that it has imported."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def command(script, *words, options=()):
    """Run an entry point as a person does. Returns exit code, stdout, stderr without the import times, modules
    imported.
    """
    environment = {**os.environ, "COLUMNS": "1000"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *options, f"entrypoints/{script}.py", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    times = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = "".join(f"{line}\n" for line in done.stderr.splitlines() if not line.startswith("import time:"))
    return done.returncode, done.stdout, said, {line.rsplit("|", 1)[1].strip() for line in times}


def heavy(modules):
    """The libraries that cost seconds to import, among `modules`."""
    return {name.split(".")[0] for name in modules} & {
        "torch",
        "torchvision",
        "timm",
        "open_clip",
        "mlflow",
        "sklearn",
        "matplotlib",
        "pandas",
    }
