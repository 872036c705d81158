"""Keep the catalogues of `flowerml/translation/locale/` in step with the texts of the code; run by `make messages`.

Texts of the code without a translation are added to `flowerml.po` as empty entries, those that are gone are dropped,
and `flowerml.mo`, which the package reads, is compiled. A test fails where an entry is empty or a file is out of date.
The standard library reads catalogues and has no tool that writes them; of Babel only this much would be used.
"""

import ast
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from jinja2 import Environment

from flowerml.translation import LANGUAGES

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "flowerml"
LOCALE = PACKAGE / "translation" / "locale"
_FUNCTIONS = ("_", "gettext", "ngettext", "N_")


@dataclass(frozen=True)
class Message:
    """A text of the code; `plural` is empty where it has one form, `place` is the file that has it first."""

    text: str
    plural: str
    place: str


@dataclass(frozen=True)
class Catalogue:
    """The header of a .po file, and the translated forms of each text: one, or as many as the language has plurals."""

    header: str
    entries: dict[str, tuple[str, ...]]


def find_messages() -> list[Message]:
    """Every text once, in the order of the files."""
    found: dict[str, Message] = {}
    for path in sorted([path for pattern in ("*.py", "*.j2", "shipped/*.yaml") for path in PACKAGE.rglob(pattern)]):
        for text, plural in _READERS[path.suffix](path.read_text("utf-8")):
            message = found.setdefault(text, Message(text, plural, path.relative_to(ROOT).as_posix()))
            if plural and not message.plural:
                found[text] = Message(text, plural, message.place)
    return list(found.values())


def _of_module(source: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            words = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            if name in _FUNCTIONS and words:
                yield words[0], words[1] if name == "ngettext" else ""


def _of_template(source: str) -> Iterator[tuple[str, str]]:
    for _, name, found in Environment(extensions=["jinja2.ext.i18n"], autoescape=True).extract_translations(source):
        words = [found] if isinstance(found, str) else [word for word in found if word is not None]
        if words:
            yield words[0], words[1] if name == "ngettext" else ""


def _of_document(source: str) -> Iterator[tuple[str, str]]:
    yield from _titles(yaml.safe_load(source))


def _titles(part: object) -> Iterator[tuple[str, str]]:
    """What a shipped plan says of itself and its phases, and shipped predictions of a figure."""
    for key, value in part.items() if isinstance(part, dict) else ():
        if key in ("about", "note"):
            yield value, ""
        yield from _titles(value)


_READERS = {".py": _of_module, ".j2": _of_template, ".yaml": _of_document}


def read_catalogue(text: str) -> Catalogue:
    """Parse a .po file as `po_text` writes it."""
    entries: dict[str, tuple[str, ...]] = {}
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        parts: dict[str, str] = {}
        key = ""
        for line in lines:
            if not line.startswith('"'):
                key, line = line.split(" ", 1)
            parts[key] = parts.get(key, "") + ast.literal_eval(line)
        if parts:
            entries[parts["msgid"]] = tuple(value for name, value in parts.items() if name.startswith("msgstr"))
    (header,) = entries.pop("")
    return Catalogue(header, entries)


def po_text(catalogue: Catalogue, messages: list[Message]) -> str:
    """The .po file of these messages, with the translations that are known."""
    forms = int(re.findall(r"nplurals=(\d+)", catalogue.header)[0])
    blocks = [f"msgid {_quote('')}\nmsgstr {_quote(catalogue.header)}"]
    for message in messages:
        lines = [f"#: {message.place}", *(["#, python-brace-format"] if "{" in message.text else [])]
        lines.append(f"msgid {_quote(message.text)}")
        known = catalogue.entries.get(message.text, ())
        if message.plural:
            known = known if len(known) == forms else ("",) * forms
            lines.append(f"msgid_plural {_quote(message.plural)}")
            lines += [f"msgstr[{number}] {_quote(form)}" for number, form in enumerate(known)]
        else:
            lines.append(f"msgstr {_quote(known[0] if known else '')}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _quote(text: str) -> str:
    """A string as .po files have it; lines of the header one below the other."""
    parts = re.findall(r"[^\n]*\n|[^\n]+", text)
    escaped = [part.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for part in parts]
    return '""\n' + "\n".join(f'"{part}"' for part in escaped) if len(escaped) > 1 else f'"{"".join(escaped)}"'


def mo_bytes(catalogue: Catalogue, messages: list[Message]) -> bytes:
    """The compiled catalogue: the format of GNU gettext, little-endian, without its hash table."""
    texts = {"": catalogue.header}
    for message in messages:
        forms = catalogue.entries.get(message.text, ())
        if forms and all(forms):
            texts[f"{message.text}\0{message.plural}" if message.plural else message.text] = "\0".join(forms)
    pairs = sorted((key.encode("utf-8"), text.encode("utf-8")) for key, text in texts.items())
    keys, values = ([pair[side] for pair in pairs] for side in (0, 1))
    head, width = 28, 8 * len(pairs)
    tables, strings, offset = b"", b"", head + 2 * width
    for column in (keys, values):
        for text in column:
            tables += struct.pack("<II", len(text), offset + len(strings))
            strings += text + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, len(pairs), head, head + width, 0, 0) + tables + strings


def main() -> int:
    """Write the catalogues; 1 where a translation is missing."""
    messages, missing = find_messages(), 0
    for language in LANGUAGES:
        path = LOCALE / language / "LC_MESSAGES" / "flowerml.po"
        if not path.exists():  # English has none: its texts are the keys
            continue
        text = po_text(read_catalogue(path.read_text("utf-8")), messages)
        path.write_text(text, "utf-8")
        catalogue = read_catalogue(text)
        path.with_suffix(".mo").write_bytes(mo_bytes(catalogue, messages))
        empty = [text for text, forms in catalogue.entries.items() if not all(forms)]
        missing += len(empty)
        print("\n".join([f"{path}: {len(messages)} texts, {len(empty)} to translate", *empty]))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
