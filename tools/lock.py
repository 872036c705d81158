"""Resolve pyproject.toml into requirements.lock, and write the same pins into conda.yaml. Run by `make lock`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Written by `make lock` from requirements.lock: the same pins. All stand under pip, mlflow too: MLflow's uv and
# virtualenv managers read nothing but `python` and the pip list.
name: flowerml
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def conda_yaml(lock: str) -> str:
    """The text of conda.yaml for the text of requirements.lock."""
    return HEADER + "".join(f"      - {line}\n" for line in lock.splitlines() if line.strip())


def main() -> int:
    """Write both files."""
    options = ["--no-header", "--no-annotate", "--no-emit-index-url", "--python-version", "3.11"]
    options += ["--group", "dev", "--group", "docs"]
    options += [
        word
        for extra in ("server", "s3", "ray", "opencv", "heif", "app", "onnx", "openvino")
        for word in ("--extra", extra)
    ]
    platform = ["--python-platform", "x86_64-unknown-linux-gnu"]
    uv = str(Path(sys.executable).parent / "uv")
    command = [uv, "pip", "compile", "--quiet", "pyproject.toml", *options, *platform]
    done = subprocess.run([*command, "-o", "requirements.lock"], cwd=ROOT, check=False)
    if done.returncode == 0:
        (ROOT / "conda.yaml").write_text(conda_yaml((ROOT / "requirements.lock").read_text()))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
