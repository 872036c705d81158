"""Every command that the READMEs and docs/ show, in either language, is run by a test or by CI, or is marked as needing
a GPU, the network or Docker; a new one must find its place here first."""

import json
import re
import shlex
from itertools import pairwise, takewhile
from pathlib import Path

import pytest
import yaml

from flowerml.cli.main import main
from flowerml.settings.flags import CommandParser
from tests.cli.test_commands import ROOT

RUN_BY = {
    "make demo": ".ci/run",
    "make test": ".ci/run",
    "make ui": "tests/project/test_pages.py",
    "flowerml ui": "tests/project/test_pages.py",
    "flowerml app": "tests/app/test_clicks.py, tests/cli/models/test_app.py",
    "flowerml serve": "tests/cli/server/test_serve.py",
    "flowerml backup": "tests/tracking/backup, tests/tracking/test_compose_services.py",
    "flowerml restore": "tests/tracking/backup, tests/tracking/test_compose_services.py",
    "sh docker/secrets.sh": "tests/project/test_secret_files.py",
    "export SERVER_NAME": "tests/project/test_compose.py",
    "mlflow run docker/project": "tests/project/test_docker_project.py, up to the command that Docker gets",
    "export PATH": "tests/cli/test_commands.py: environment()",
    "export MLFLOW_TRACKING_": "tests/tracking/environment/test_variables.py",
    "python benchmarks/": ".ci/run: make bench-quick, with --quick; tests/test_benchmarks.py",
    "mlflow run . -e train": "tests/cli/test_commands.py",
    "mlflow run . -e campaign": "make demo",
    "flowerml campaign": "tests/campaign/engine/test_kills.py",
    "mlflow run . -e select": "tests/delivery/test_whole_way.py",
    "mlflow run . -e export": "tests/delivery/test_whole_way.py",
    "flowerml select": "tests/delivery/test_whole_way.py",
    "flowerml combine": "tests/cli/experiments/test_combine.py",
    "flowerml explain": "tests/cli/models/test_explain.py",
    "flowerml robustness": "tests/cli/experiments/test_robustness.py",
    "mlflow run . -e robustness": "tests/cli/experiments/test_robustness.py",
    "flowerml export": "tests/delivery/test_export.py, tests/delivery/test_whole_way.py",
    "flowerml predict": "tests/cli/models/test_predict.py, tests/delivery/test_whole_way.py",
    "mlflow models serve": "tests/tracking/registry/test_serving.py",
    "flowerml dataset fetch": "needs network; tests/cli/dataset/test_fetch.py, against a server on loopback",
    "docker compose": (
        "needs Docker; tests/project/test_compose.py reads it with the real Compose,"
        " tests/tracking/test_compose_server.py runs the server's command"
    ),
    "kubectl ": "tests/project/test_kubernetes.py reads the manifests; nothing runs them",
    "flowerml train": "test_installed_commands",
    "flowerml --print-completion": "tests/cli/test_completion.py",
    "python entrypoints/train.py": "tests/cli/test_commands.py",
    "flowerml eval": "test_installed_commands",
    "flowerml dataset check": "test_installed_commands",
    "flowerml dataset next": "tests/runs/folds/test_cross_validation.py",
    "flowerml dataset make": "test_installed_commands",
    "flowerml sync": "tests/faults/test_servers.py, tests/cli/server/test_sync.py",
    "flowerml reap": "tests/faults/test_states.py, tests/cli/server/test_reap.py",
    "make faults": ".ci/run: its fast part in make test, the rest in make slow",
    "flowerml compare": "tests/campaign/engine/test_pair_campaigns.py",
    "torchrun": "tests/runs/ranks/test_several_processes.py, on one host",
    "mlflow run . -e sweep": "tests/sweep/test_project.py",
    "flowerml sweep": "tests/sweep/test_sweep.py",
}


PAGES = [ROOT / "README.md", ROOT / "README.fr.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]


def commands(path):
    """The commands that a page shows: the lines of its bash blocks, without their comments."""
    blocks = re.findall(r"(?s)```bash\n(.*?)```", path.read_text())
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if shlex.split(line, comments=True)]


def page_and_line():
    for path in PAGES:
        for line in commands(path):
            page = path.relative_to(ROOT).with_suffix("").as_posix().removeprefix("docs/")
            yield pytest.param(line, id=f"{page}: {' '.join(line.split())[:60]}")


def test_every_command_of_the_readme_and_the_docs_is_run_somewhere():
    shown = [line for path in PAGES for line in commands(path)]
    assert commands(PAGES[0])
    unknown = [line for line in shown if not line.startswith(tuple(RUN_BY))]
    assert unknown == []
    unused = [start for start in RUN_BY if not any(line.startswith(start) for line in shown)]
    assert unused == []


def test_what_runs_a_command_exists():
    """A test file, a function of this one, or a line of CI; or the command says what it needs that may be missing."""
    ci = (ROOT / ".ci" / "run").read_text()
    for start, where in RUN_BY.items():
        files, here = re.findall(r"tests/[\w/]+\.py", where), re.findall(r"(?<![\w/])test_\w+(?!\.py)\b", where)
        targets = [f"make {name}" for name in re.findall(r"\bmake ([a-z-]+)", f"{start}, {where}")]
        assert [name for name in files if not (ROOT / name).is_file()] == [], start
        assert [name for name in here if name not in globals()] == [], start
        by_ci = [target for target in targets if re.search(rf"(?m)^{target}\b", ci)]
        needs = re.match(r"needs (GPU|network|Docker)\b", where)
        assert files or here or by_ci or needs, f"{start}: {where}"


class Parsed(BaseException):
    """The flags were parsed: the command itself is not to be carried out."""


def of_flowerml(line):
    """The command line as words behind `flowerml`, up to a redirection or another command; None where it is another
    program's.
    """
    words = list(takewhile(lambda word: word not in (">", "|", "&&", "||"), shlex.split(line, comments=True)))
    if words[0] == "flowerml":
        return words[1:]
    if words[:2] == ["docker", "compose"] and "run" in words:
        return words[words.index("--rm") + 2 :]
    if words[0] == "python" and words[1].startswith("entrypoints/"):
        return [Path(words[1]).stem, *words[2:]]
    if words[:4] == ["mlflow", "run", ".", "-e"]:
        given = dict(word.split("=", 1) for before, word in pairwise(words) if before == "-P")
        return of_entry_point(words[4], given)
    return None


def of_entry_point(entry, given):
    """What `mlflow run` makes of an entry point and its `-P`: undeclared ones are appended as flags."""
    point = ENTRY_POINTS[entry]
    values = {name: given.pop(name, declared.get("default")) for name, declared in point["parameters"].items()}
    assert None not in values.values(), f"{entry} needs {values}"
    line = point["command"].format(**{name: shlex.quote(str(value)) for name, value in values.items()})
    return [entry, *shlex.split(line)[2:], *(word for name, value in given.items() for word in (f"--{name}", value))]


@pytest.mark.parametrize("line", list(page_and_line()))
def test_command_parses(line, monkeypatch):
    """Every flag is one of the command's, and every target of make exists."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        assert re.search(rf"(?m)^{words[1]}:", (ROOT / "Makefile").read_text())
    if (words := of_flowerml(line)) is None:
        return
    parse = CommandParser.parse

    def parsed(self, argv=None):
        parse(self, argv)
        raise Parsed

    monkeypatch.setattr(CommandParser, "parse", parsed)
    with pytest.raises(Parsed):
        main(words)


@pytest.mark.slow
def test_installed_commands(tmp_path, monkeypatch, capsys):
    """`flowerml dataset make`, `dataset check`, `train`, `eval` one after the other, as the README has them."""
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split("dataset make --train-dir data/drawn --per-class 6 --size 48")) == 0
    assert main(shlex.split("dataset check --train-dir data/drawn")) == 0
    flags = "--weights none --img-size 32 --epochs 1 --warmup-epochs 0 --workers 0 --json"
    capsys.readouterr()
    assert main(shlex.split(f"train --model convnextv2_atto --train-dir data/drawn {flags}")) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(shlex.split(f"eval --checkpoint {trained['checkpoint']} --split val --json")) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == trained["val"]["accuracy"]
    assert main(shlex.split(f"eval --checkpoint {trained['checkpoint']} --test-dir data/drawn")) == 0
    assert "(rows: true, columns: predicted)" in capsys.readouterr().out
