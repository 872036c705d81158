"""Doors of files: nothing that flowerml loads can run code, whoever wrote the file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("flowerml", "entrypoints", "docker") for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN = {  # dotted name of a call -> the keyword that makes it safe, or None where nothing does
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "pickle.load": None,
    "pickle.loads": None,
    "torch.package.PackageImporter": None,
    "torch.jit.load": None,
    "joblib.load": None,
    "cloudpickle.load": None,
    "cloudpickle.loads": None,
    "yaml.load": None,
    "yaml.unsafe_load": None,
    "marshal.loads": None,
    "eval": None,
    "exec": None,
    "os.system": None,
    "tarfile.TarFile.extractall": None,
}
# np.load's default is allow_pickle=False; only files of this very process are read without saying so.
OWN = {"flowerml/delivery/fresh_process.py", "flowerml/delivery/formats/fresh_process.py"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or an attribute, else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def unsafe_calls(source: str, *, own: bool = False) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        keywords = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        if keywords.get("shell") is True:
            found.append(f"{name}(shell=True)")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "extractall":
            found.append("extractall")
        if name not in FORBIDDEN or (own and name == "np.load"):
            continue
        safe = FORBIDDEN[name]
        if safe is None or keywords.get(safe[0]) is not safe[1]:
            found.append(name)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[path.relative_to(ROOT).as_posix() for path in SOURCES])
def test_no_call_runs_what_a_file_says(path):
    name = path.relative_to(ROOT).as_posix()
    assert unsafe_calls(path.read_text("utf-8"), own=name in OWN) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "pickle.loads(data)",
        "yaml.load(text)",
        "subprocess.run(words, shell=True)",
        "tar.extractall(folder)",
        "eval(text)",
    ],
)
def test_the_rule_finds_each_of_them(line):
    assert len(unsafe_calls(line)) == 1


def test_and_lets_safe_ones_pass():
    assert unsafe_calls("torch.load(path, weights_only=True)\nnp.load(path, allow_pickle=False)\nmodel.eval()") == []
