"""Resolve pyproject.toml into requirements.lock, and write the same pins into conda.yaml. Run by `make lock`.

The lock holds for every Python and platform that pyproject.toml allows: markers say what is for which, and each pin has
the hashes of its files.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Written by `make lock` from requirements.lock: the same pins, without their hashes. All stand under pip, mlflow too:
# MLflow's uv and virtualenv managers read nothing but `python` and the pip list.
name: flowerml
dependencies:
  - python=3.11
  - pip
  - pip:
"""
EXTRAS = ("server", "s3", "ray", "opencv", "heif", "app", "onnx", "openvino")
GROUPS = ("dev", "docs")


def pins(lock: str) -> list[str]:
    """`name==version`, with its marker, for each pin of a lock."""
    lines = (line.removesuffix("\\").strip() for line in lock.splitlines() if not line.startswith((" ", "#")))
    return [line for line in lines if line]


def conda_yaml(lock: str) -> str:
    """The text of conda.yaml for the text of requirements.lock."""
    return HEADER + "".join(f"      - {_as_yaml(pin)}\n" for pin in pins(lock))


def _as_yaml(pin: str) -> str:
    return f'"{pin}"' if ";" in pin else pin


def command(*options: str) -> list[str]:
    """uv's command that resolves; what it finds goes to stdout, or where `options` say."""
    uv = str(Path(sys.executable).parent / "uv")
    form = ["--universal", "--python-version", "3.11", "--generate-hashes"]
    form += ["--no-header", "--no-annotate", "--no-emit-index-url"]
    wanted = [word for extra in EXTRAS for word in ("--extra", extra)]
    wanted += [word for group in GROUPS for word in ("--group", group)]
    return [uv, "pip", "compile", "--quiet", "pyproject.toml", *form, *wanted, *options]


def main() -> int:
    """Write both files."""
    done = subprocess.run(command("-o", "requirements.lock"), cwd=ROOT, check=False)
    if done.returncode == 0:
        (ROOT / "conda.yaml").write_text(conda_yaml((ROOT / "requirements.lock").read_text()))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
