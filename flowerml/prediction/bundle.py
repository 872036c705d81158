"""Several modules as one file that knows nothing of this package: their sources one after the other, what they import
from it left out.
"""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

_PACKAGE = __name__.partition(".")[0]


def bundled(modules: Sequence[ModuleType], beside: Mapping[str, str]) -> str:
    """The source of one file. The last module's docstring stands at its top; each module may use what the ones before
    it define.

    `beside` says which of the package's modules lie beside the file, by full name, and under which name. Imports of the
    package are left out, imports of others are gathered at the top. No two modules may define one name.

    Raises:
        ValueError: two modules define one name, or something is imported that is neither bundled nor beside.
    """
    parts = [_Part(module, beside) for module in modules]
    own = {module.__name__ for module in modules}
    seen: dict[str, str] = {}
    for part in parts:
        for name in part.defined:
            if seen.setdefault(name, part.name) != part.name:
                raise ValueError(f"{name} is defined in {seen[name]} and in {part.name}")
        if missing := part.needed - own:
            raise ValueError(f"{part.name} imports {sorted(missing)[0]}, which is not in the file")
    future = "from __future__ import annotations"
    imports = sorted({line for part in parts for line in part.imports} - {future})
    head = f'"""{parts[-1].docstring}"""\n\n{future}\n\n' + "\n".join(imports)
    return "\n\n\n".join([head, *(part.body for part in parts)]) + "\n"


class _Part:
    """One module: its docstring, what it imports from elsewhere (as lines), what it needs of the package, what it
    defines, the rest.
    """

    def __init__(self, module: ModuleType, beside: Mapping[str, str]) -> None:
        assert module.__file__ is not None
        source = Path(module.__file__).read_text("utf-8")
        tree, lines = ast.parse(source), source.splitlines()
        self.name = module.__name__
        self.docstring = ast.get_docstring(tree, clean=False) or ""
        self.imports: set[str] = set()
        self.needed: set[str] = set()
        self.defined: set[str] = set()
        for node in tree.body:
            gone = isinstance(node, ast.Import | ast.ImportFrom) or (node is tree.body[0] and bool(self.docstring))
            if isinstance(node, ast.Import):
                self.imports.add(ast.unparse(node))
            elif isinstance(node, ast.ImportFrom):
                self._import(node, beside)
            self.defined |= _names(node)
            if gone:
                assert node.end_lineno is not None
                lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
        self.body = "\n".join(lines).strip("\n")

    def _import(self, node: ast.ImportFrom, beside: Mapping[str, str]) -> None:
        module = node.module or ""
        if module.partition(".")[0] != _PACKAGE:
            self.imports.add(ast.unparse(node))
            return
        for alias in node.names:
            full = f"{module}.{alias.name}"
            if full in beside:
                self.imports.add(f"import {beside[full]} as {alias.asname or alias.name}")
            else:
                self.needed.add(module)


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
