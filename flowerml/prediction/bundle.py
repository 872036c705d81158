"""Several modules of this package as one file that does not import the package.

Their sources stand one after the other, their imports merged at the top. (stickytape and pinliner pack modules as
strings behind an import hook: nobody can read or check such a file, so this is done here, on the sources themselves.)
"""

import ast
import builtins
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

_PACKAGE = __name__.partition(".")[0]
_WIDTH = 120


def bundle(
    modules: Sequence[ModuleType],
    *,
    title: ModuleType,
    external: Mapping[str, str] | None = None,
    replacements: Mapping[str, str] | None = None,
) -> str:
    """The source of one file made of `modules`; each may use what the ones before it define.

    Args:
        modules: in the order of their sources in the file; no two may define one name.
        title: the one whose docstring stands at the top; of the others the first line heads their part, as a comment.
        external: modules of the package that lie beside the file, by full name: the name to import them by.
        replacements: words to replace in code and docstrings, such as a base class of the package by a builtin.

    Raises:
        ValueError: two modules define one name, or an import of the package is neither bundled nor external.
    """
    parts = [_ModuleSource(module, external or {}, replacements or {}) for module in modules]
    own = {module.__name__ for module in modules}
    defined_in: dict[str, str] = {}
    for part in parts:
        for name in part.defined:
            if defined_in.setdefault(name, part.name) != part.name:
                raise ValueError(f"{name} is defined in {defined_in[name]} and in {part.name}")
        if missing := part.required - own:
            raise ValueError(f"{part.name} imports {sorted(missing)[0]}, which is not in the file")
    (docstring,) = (part.docstring for part in parts if part.name == title.__name__)
    head = f'"""{docstring}"""\n\nfrom __future__ import annotations\n\n{_import_lines(parts)}'
    return "\n\n\n".join([head, *(part.section(is_title=part.name == title.__name__) for part in parts)]) + "\n"


class _ModuleSource:
    """One module, parsed: docstring, external imports, modules of the package it requires, names it defines, body."""

    def __init__(self, module: ModuleType, external: Mapping[str, str], replacements: Mapping[str, str]) -> None:
        assert module.__file__ is not None
        source = Path(module.__file__).read_text("utf-8")
        for word, replacement in replacements.items():
            source = re.sub(rf"\b{re.escape(word)}\b", replacement, source)
        tree, lines = ast.parse(source), source.splitlines()
        self.name = module.__name__
        self.docstring = ast.get_docstring(tree, clean=False) or ""
        self.imports: set[str] = set()
        self.imported_names: defaultdict[str, set[str]] = defaultdict(set)  # by the module they come from
        self.required: set[str] = set()
        self.defined: set[str] = set()
        for node in tree.body:
            if isinstance(node, ast.Import):
                self.imports.add(ast.unparse(node))
            elif isinstance(node, ast.ImportFrom):
                self._add_import(node, external)
            self.defined |= _defined_names(node)
            if isinstance(node, ast.Import | ast.ImportFrom) or (node is tree.body[0] and self.docstring):
                assert node.end_lineno is not None
                lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
        self.body = "\n".join(lines).strip("\n")

    def _add_import(self, node: ast.ImportFrom, external: Mapping[str, str]) -> None:
        module = node.module or ""
        names = {ast.unparse(alias) for alias in node.names}
        if module == "__future__":
            return
        if module.partition(".")[0] != _PACKAGE:
            self.imported_names[module] |= names
        elif module in external:
            self.imported_names[external[module]] |= names
        elif not names <= set(dir(builtins)):  # a builtin has replaced what was imported
            self.required.add(module)

    def section(self, *, is_title: bool) -> str:
        """The module's part of the file."""
        first_line = self.docstring.partition("\n")[0]
        return self.body if is_title or not first_line else f"# --- {first_line}\n\n\n{self.body}"


def _import_lines(parts: Sequence[_ModuleSource]) -> str:
    """All imports, the standard library's first, sorted as isort does."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for part in parts:
        for module, imported in part.imported_names.items():
            names[module] |= imported
    plain = {statement.removeprefix("import "): statement for part in parts for statement in part.imports}
    groups: tuple[list[str], list[str]] = ([], [])
    for module in sorted(plain, key=str.lower):
        groups[_is_third_party(module)].append(plain[module])
    for module in sorted(names, key=str.lower):
        groups[_is_third_party(module)].append(_from_import(module, sorted(names[module])))
    return "\n\n".join("\n".join(group) for group in groups if group)


def _is_third_party(module: str) -> bool:
    return module.partition(".")[0] not in sys.stdlib_module_names


def _from_import(module: str, names: Sequence[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    return (
        line if len(line) <= _WIDTH else f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"
    )


def _defined_names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
