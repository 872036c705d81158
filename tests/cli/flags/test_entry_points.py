"""Entry points as processes: a mistake, or a Python without the packages, costs one line and no torch import."""

import subprocess
import sys

import pytest

from tests.cli.flags.entry_point import ROOT, command, heavy


class TestEntryPoints:
    """A mistake ends with exit code 2 and one line, before torch and mlflow are imported."""

    @pytest.mark.parametrize(
        ("script", "words", "line"),
        [
            ("train", "--lr-head abc", "error: --lr-head is 'abc'. Allowed: number, > 0, <= 10, or auto\n"),
            (
                "train",
                "--no-lr-head",
                "error: flag '--no-lr-head' is unknown. Did you mean --lr-head? flowerml train --help lists them\n",
            ),
            (
                "train",
                "--model clip_vitl14 --img_size 225",
                (
                    "error: --img-size 225 does not fit clip_vitl14: allowed are multiples of its patch 14, like 224 or"
                    " 238\n"
                ),
            ),
            (
                "eval",
                "--checkpoint x --workers two",
                "error: --workers is 'two'. Allowed: whole number, >= 0, <= 256, or auto\n",
            ),
            ("dataset", "make --size 3", "error: --size is '3'. Allowed: whole number, 32 to 2048\n"),
        ],
    )
    def test_wrong_input(self, script, words, line):
        code, shown, said, modules = command(script, *words.split())
        assert (code, shown, said) == (2, "", line)
        assert "flowerml.errors" in modules
        assert heavy(modules) == set()

    def test_a_python_without_the_packages_says_what_to_do(self):
        """The system's Python instead of the environment's: one line with the remedy, no traceback."""
        code, shown, said, _ = command("train", "--help", options=["-S"])
        assert (code, shown) == (2, "")
        assert said.startswith("error: ")
        assert (
            "ut the project's environment first on PATH: export PATH=" in said
        )  # behind "Run `make setup`, then" where there is none
        assert said.count("\n") == 1

    def test_importing_the_package_costs_no_torch(self):
        """`import flowerml` offers the loaders and predictors without loading them."""
        code = "import flowerml, sys; print(sorted({'torch', 'mlflow', 'numpy'} & set(sys.modules)), *flowerml.__all__)"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert (
            done.stdout == "[] __version__ load_cnn_model load_ensemble load_relation_model load_vit_model predict"
            " predict_proba predict_relation predict_set\n"
        )
