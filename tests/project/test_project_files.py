"""Files that must agree: pins, environments, MLproject, entry points, layers, version."""

import ast
import configparser
import re
import shlex
import string
import subprocess
import sys
import tomllib
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import flowerml
from flowerml.cli.main import COMMANDS, command_module
from flowerml.settings import resolve
from flowerml.settings.declaration import AUTO, fields
from flowerml.settings.flags import CommandParser, add_settings
from flowerml.settings.serialization import as_text, conflicting_params
from tests.project.lock import LOCK, PINS, TOOL, VERSIONS

ROOT = Path(__file__).resolve().parents[2]
CONDA = (ROOT / "conda.yaml").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MLPROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
ENTRY_POINTS = MLPROJECT["entry_points"]
MODULES = sorted((ROOT / "flowerml").rglob("*.py"))
TYPES = {"string": str, "int": int, "float": float, "bool": bool}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    """The top-level names that a file imports, inside functions too; the project's own as `flowerml.<part>`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {".".join(name.split(".")[: 2 if name.startswith("flowerml") else 1]) for name in names}
    return found


class TestPins:
    """requirements.lock, conda.yaml and pyproject.toml say the same."""

    def test_lock_is_pins_with_hashes_and_nothing_else(self):
        """No index address, option or comment: the same file serves uv and pip, with --require-hashes."""
        name, version, marker = r"[a-z0-9]+(-[a-z0-9]+)*", r"[0-9][0-9a-z.+]*", r"( ; [a-z0-9_ .<>=!'()A-Z-]+)?"
        pins = re.findall(
            rf"^({name})=={version}{marker} \\\n(?:    --hash=sha256:[0-9a-f]{{64}}(?: \\)?\n)+", LOCK, re.M
        )
        assert len(pins) == len(PINS) > 200
        assert sum(line.startswith("    --hash=") for line in LOCK.splitlines()) + len(PINS) == len(LOCK.splitlines())
        names = [found[0] for found in pins]
        assert names == sorted(set(names))
        assert "//" not in LOCK

    def test_conda_has_exactly_the_pins_of_the_lock(self):
        """All under pip: MLflow's uv and virtualenv managers read nothing but `python` and the pip list."""
        read = yaml.safe_load(CONDA)
        assert read["name"] == "flowerml"
        assert read["dependencies"] == ["python=3.11", "pip", {"pip": PINS}]
        assert "channels" not in read

    def test_make_lock_would_write_this_conda_yaml(self):
        assert TOOL.conda_yaml(LOCK) == CONDA
        lock = "a==1 \\\n    --hash=sha256:0\nb==2 ; python_version >= '3.13' \\\n    --hash=sha256:1\n"
        assert TOOL.conda_yaml(lock).endswith("  - pip:\n      - a==1\n      - \"b==2 ; python_version >= '3.13'\"\n")

    @pytest.mark.parametrize("wanted", [*PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"]["dev"]])
    def test_declared_dependency_is_locked_at_a_version_it_allows(self, wanted):
        requirement = Requirement(wanted)
        version = VERSIONS.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in requirements.lock: make lock"
        assert requirement.specifier.contains(version, prereleases=True)

    def test_python_is_the_same_everywhere(self):
        assert PYPROJECT["project"]["requires-python"] == ">=3.11,<3.14"
        assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text()
        assert "  - python=3.11\n" in CONDA

    def test_no_uv_lock(self):
        """With one in the folder MLflow's uv manager ignores conda.yaml."""
        assert not (ROOT / "uv.lock").exists()

    def test_version_is_one(self):
        assert PYPROJECT["project"]["version"] == flowerml.__version__

    def test_installed_command_exists(self):
        module, function = PYPROJECT["project"]["scripts"]["flowerml"].split(":")
        assert callable(getattr(import_module(module), function))


class TestMLproject:
    """What `mlflow run` logs before the script starts can't be changed: it must be what runs."""

    TRAIN = ENTRY_POINTS["train"]["parameters"]

    def test_entry_points_so_far(self):
        assert {"train", "eval", "dataset"} <= set(ENTRY_POINTS)
        assert (ROOT / MLPROJECT["conda_env"]).is_file()

    @pytest.mark.parametrize("name", TRAIN)
    def test_train_parameter_is_a_setting_with_the_declarations_default(self, name):
        """By value and by type."""
        declared, field = self.TRAIN[name], fields()[name]
        assert set(declared) == {"type", "default"}
        assert declared["default"] == field.default
        assert type(declared["default"]) is type(field.default) is TYPES[declared["type"]]

    @pytest.mark.parametrize(
        ("entry", "name"), [(entry, name) for entry, point in ENTRY_POINTS.items() for name in point["parameters"]]
    )
    def test_no_default_is_auto_or_empty(self, entry, name):
        """A param that says `auto` or nothing would say so for good; without a default it is required."""
        declared = ENTRY_POINTS[entry]["parameters"][name]
        assert declared["type"] in TYPES
        assert re.fullmatch(r"[a-z_]+", name)
        if "default" in declared:
            assert str(declared["default"]).strip() not in ("", AUTO, "none", "None")

    def test_defaults_that_mlflow_logs_first_contradict_nothing(self):
        logged = {name: shlex.quote(str(declared["default"])) for name, declared in self.TRAIN.items()}
        assert conflicting_params(logged, resolve({})[0]) == {}

    def test_train_with_its_defaults_is_train_with_nothing_typed(self):
        line = ENTRY_POINTS["train"]["command"].format(
            **{name: as_text(declared["default"]) for name, declared in self.TRAIN.items()}
        )
        parser = CommandParser(prog="flowerml train")
        add_settings(parser)
        python, script, *words = shlex.split(line)
        assert (python, script) == ("python", "entrypoints/train.py")
        asked = vars(parser.parse(words))
        assert set(asked) == set(self.TRAIN)
        assert resolve(asked) == resolve({})

    @pytest.mark.parametrize("entry", ENTRY_POINTS)
    def test_command_names_an_existing_file_and_uses_every_parameter(self, entry):
        point = ENTRY_POINTS[entry]
        python, script, *_ = shlex.split(point["command"])
        assert python == "python"
        assert (ROOT / script).is_file()
        used = {name for _, name, _, _ in string.Formatter().parse(point["command"]) if name is not None}
        assert used == set(point["parameters"])

    @pytest.mark.parametrize("entry", ENTRY_POINTS)
    def test_commands_flags_are_those_of_the_command(self, entry, capsys):
        """Each flag is named after its parameter and stands in `--help`."""
        words = shlex.split(ENTRY_POINTS[entry]["command"])
        pairs = [(flag, value) for flag, value in pairwise(words) if flag.startswith("--")]
        assert [flag for flag, value in pairs if flag != "--" + value.strip("{}").replace("_", "-")] == []
        with pytest.raises(SystemExit) as ended:
            import_module(command_module(entry)).run(["--help"])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert [flag for flag, _ in pairs if not re.search(rf"(?m)^ *{flag} ", shown)] == []


class TestEntryPointFiles:
    """entrypoints/ is thin, and its names never stand in for anybody's modules."""

    FILES = sorted((ROOT / "entrypoints").glob("*.py"))

    @pytest.mark.parametrize("path", FILES, ids=name_of)
    def test_no_file_has_a_standard_library_modules_name(self, path):
        """`select.py` there would break `import subprocess`."""
        assert path.stem not in sys.stdlib_module_names

    @pytest.mark.parametrize("path", FILES, ids=name_of)
    def test_thin(self, path):
        """Parse, compose, call, exit code: nothing of torch, nothing of MLflow."""
        assert imports(path) <= {"_start", "sys", "pathlib", "importlib", "flowerml.cli"}
        assert len(path.read_text().splitlines()) <= 30

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_has_a_module_that_runs_it(self, name):
        assert callable(import_module(command_module(name)).run)


class TestLayers:
    """Imports go down only, and MLflow, torch and Optuna are imported only where docs/architecture.md says."""

    def test_import_linters_contracts_are_kept(self):
        run = "from importlinter.cli import lint_imports_command; lint_imports_command()"
        done = subprocess.run(
            [sys.executable, "-c", run, "--no-cache", "--no-logo"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"Contracts: [2-9] kept, 0 broken", done.stdout)

    def test_every_part_of_the_package_has_its_layer(self):
        """A part that no contract names could import whatever it likes."""
        linter = configparser.ConfigParser()
        linter.read(ROOT / ".importlinter")
        layers = re.split(r"[\s|]+", linter["importlinter:contract:layers"]["layers"].strip())
        here = ROOT / "flowerml"
        parts = {path.stem for path in here.glob("*.py") if path.stem != "__init__"} | {
            path.parent.name for path in here.glob("*/__init__.py")
        }
        assert sorted(layers) == sorted(f"flowerml.{part}" for part in parts)

    @pytest.mark.parametrize("path", MODULES, ids=name_of)
    def test_only_tracking_opens_the_door_to_mlflow(self, path):
        """Inside functions too: one door, so that a journal can be put behind it."""
        if path.relative_to(ROOT / "flowerml").parts[0] != "tracking":
            assert "mlflow" not in imports(path)

    @pytest.mark.parametrize(
        "path", [path for path in MODULES if path.parent.name in ("settings", "selection")], ids=name_of
    )
    def test_settings_and_selection_are_pure(self, path):
        assert not imports(path) & {"torch", "torchvision", "timm", "open_clip", "mlflow", "optuna"}

    def test_imports_are_seen_wherever_they_stand(self, tmp_path):
        """The two tests above rest on `imports`."""
        sample = tmp_path / "sample.py"
        sample.write_text(
            "import a.b, c\nfrom d.e import f\ndef g():\n    from flowerml.cli.main import main\n    import"
            " flowerml.data\n"
        )
        assert imports(sample) == {"a", "c", "d", "flowerml.cli", "flowerml.data"}


@pytest.mark.parametrize(
    "path",
    [*MODULES, *sorted((ROOT / "entrypoints").glob("*.py")), *sorted((ROOT / "tools").glob("*.py"))],
    ids=name_of,
)
def test_every_module_says_what_it_is_for(path):
    assert (ast.get_docstring(ast.parse(path.read_text())) or "").strip()


class TestWhatOthersRead:
    """License, citation, CI and hooks say what the project's own files say."""

    CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())

    def test_license_is_one(self):
        assert PYPROJECT["project"]["license"] == self.CITATION["license"] == "Apache-2.0"
        assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()
        assert PYPROJECT["project"]["license-files"] == ["LICENSE"]

    def test_citation_names_this_version(self):
        assert self.CITATION["version"] == flowerml.__version__

    def test_types_are_shipped(self):
        assert (ROOT / "flowerml" / "py.typed").is_file()
        assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"]["flowerml"]

    def test_public_ci_runs_the_projects_own_script(self):
        (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
        assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]

    def test_hooks_are_what_make_lint_runs(self):
        (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        recipe = re.search(r"(?m)^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text())[1]
        *tools, audit = re.findall(r"\$\(BIN\)/([\w-]+)", recipe)
        assert audit == "python", "tools/audit.py, which asks the package index, is not for every commit"
        assert [hook["entry"].removeprefix(".venv/bin/").split()[0] for hook in repo["hooks"]] == tools
