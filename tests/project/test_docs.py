"""The pages of docs/: each is in the navigation, links and anchors resolve, and what they say of the code is so."""

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from flowerml.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SITE = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
PAGES = sorted(DOCS.rglob("*.md"))
READ = [*PAGES, ROOT / "README.md", ROOT / "README.fr.md", ROOT / "CONTRIBUTING.md"]
FRENCH = {  # and the page that each translates
    ROOT / "README.fr.md": ROOT / "README.md",
    DOCS / "fr" / "quickstart.md": DOCS / "quickstart.md",
    DOCS / "fr" / "plan.md": DOCS / "guides" / "plan-of-24-runs.md",
    DOCS / "fr" / "delivery.md": DOCS / "guides" / "delivery.md",
}
TROUBLESHOOTING = DOCS / "reference" / "troubleshooting.md"


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def named(entries):
    """Every page that the navigation names, at any depth."""
    found = []
    for entry in entries:
        (value,) = entry.values()
        found += named(value) if isinstance(value, list) else [value]
    return found


def anchors(path):
    """The headings of a page as the generator and GitHub name them: lower case, hyphens, no punctuation."""
    prose = re.sub(r"(?s)```.*?```", "", path.read_text())
    headings = [re.sub(r"[`*]", "", line) for line in re.findall(r"(?m)^#+ (.+)$", prose)]
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_navigation_names_every_page_once():
    assert sorted(named(SITE["nav"])) == [path.relative_to(DOCS).as_posix() for path in PAGES]


def test_pages_load_nothing_from_other_hosts():
    """No font, script, style or image: the website works where the network is closed."""
    assert SITE["theme"]["font"] is False
    assert "extra_javascript" not in SITE
    assert [name for name in SITE["extra_css"] if not (DOCS / name).is_file()] == []
    assert not re.search(r"url\(|@import", "".join((DOCS / name).read_text() for name in SITE["extra_css"]))
    remote = r'!\[[^\]]*\]\(https?:|src="https?:|<link |<script'
    assert [name_of(path) for path in PAGES if re.search(remote, path.read_text())] == []


@pytest.mark.parametrize("path", READ, ids=name_of)
def test_links_and_images_resolve(path):
    """The strict build checks links of pages; here also images, the README and CONTRIBUTING."""
    prose = re.sub(r"(?s)```.*?```", "", path.read_text())
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.is_file() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_settings_page_is_the_declaration():
    """`make docs` writes it; a change of a setting without it fails here."""
    found = importlib.util.spec_from_file_location("settings_page", ROOT / "tools" / "settings_page.py")
    tool = importlib.util.module_from_spec(found)
    found.loader.exec_module(tool)
    assert tool.PAGE.read_text("utf-8") == tool.page()
    assert tool.page().count("\n| `--") > 60


def test_the_example_of_a_plan_is_one(tmp_path, monkeypatch, capsys):
    (text,) = re.findall(r"(?s)```yaml\n(.*?)```", (DOCS / "reference" / "plans.md").read_text())
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(text)
    assert main(["campaign", "--plan", "small.yaml", "--check"]) == 0
    shown = capsys.readouterr()
    assert "6 runs in 4 phases" in shown.out
    assert shown.err == ""


def test_every_shipped_plan_has_its_row():
    (folder,) = {path.parent for path in (ROOT / "flowerml").rglob("tp3.yaml")}
    lines = (DOCS / "reference" / "plans.md").read_text().splitlines()
    rows = "".join(line for line in lines if line.startswith("| `"))
    assert [path.stem for path in folder.glob("*.yaml") if f"`{path.stem}`" not in rows] == []


def texts_of_the_code():
    """Every string of the package and its entry points; what is filled in later is a NUL."""
    for path in [*(ROOT / "flowerml").rglob("*.py"), *(ROOT / "entrypoints").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.slow
def test_messages_of_the_troubleshooting_page_are_the_codes_own():
    """A person finds a message by the words that were printed. `…` stands for what is filled in."""
    code = list(texts_of_the_code())
    messages = re.findall(r"(?m)^- `(.+)`$", TROUBLESHOOTING.read_text())
    assert len(messages) > 30
    unknown = []
    for message in messages:
        pattern = re.compile(".*".join(map(re.escape, message.split("…"))), re.DOTALL)
        if not any(pattern.search(text) for text in code):
            unknown.append(message)
    assert unknown == []


@pytest.mark.parametrize("path", READ, ids=name_of)
def test_files_that_a_page_names_exist(path):
    """Whoever moves a module finds the pages that name it."""
    paths = re.findall(r"`((?:flowerml|tests|tools|docs|benchmarks|entrypoints)/[\w./-]*)`", path.read_text())
    assert [named for named in paths if not (ROOT / named).exists()] == []


def test_modules_that_the_architecture_page_names_exist():
    """`trainer` in the row of `training/`; `engine/context` and `runs/train.py` in the text."""
    text = (DOCS / "architecture.md").read_text()
    missing = []
    for package, modules in re.findall(r"(?m)^\| `(\w+)/` \| (.*) \|$", text):
        for name in re.findall(r"`([\w/]+)`", re.sub(r"\([^)]*\)", "", modules)):
            places = (f"{package}/{name.rstrip('/')}", f"{package}/{name}.py")
            missing += [] if any((ROOT / "flowerml" / place).exists() for place in places) else [places[0]]
    for name in re.findall(r"`([a-z]+/[a-z_]+)(?:\.py|\.[a-z_]+)?`", text):
        places = (f"{name}.py", f"campaign/{name}.py", f"{name}/__init__.py", f"campaign/{name}/__init__.py")
        missing += [] if any((ROOT / "flowerml" / place).exists() for place in places) else [name]
    assert missing == []


def code_blocks(path):
    """The language and the code of each block of a page, without comments and the space before them."""
    blocks = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", path.read_text())
    return [
        (kind, "\n".join(re.sub(r"(?:^|\s+)#\s.*", "", line) for line in text.splitlines())) for kind, text in blocks
    ]


def headings(path):
    """The levels of a page's headings, in their order."""
    return [len(marks) for marks in re.findall(r"(?m)^(#+) ", re.sub(r"(?s)```.*?```", "", path.read_text()))]


def test_every_french_page_is_the_translation_of_one():
    assert sorted(FRENCH) == sorted([ROOT / "README.fr.md", *(DOCS / "fr").glob("*.md")])
    assert [page for pair in FRENCH.items() for page in pair if not page.is_file()] == []


@pytest.mark.parametrize(("french", "english"), FRENCH.items(), ids=map(name_of, FRENCH))
def test_french_page_shows_the_same_code_as_the_english_one(french, english):
    """Only comments are translated: a command that changes in one language must change in the other."""
    assert code_blocks(english)
    assert code_blocks(french) == code_blocks(english)
    assert headings(french) == headings(english)


@pytest.mark.parametrize(("french", "english"), FRENCH.items(), ids=map(name_of, FRENCH))
def test_french_page_has_the_same_figures_names_and_pictures(french, english):
    """Numbers with a decimal point, and whatever stands in backticks in a table of the English page."""

    def prose(path):
        return re.sub(r"(?s)```.*?```", "", path.read_text())

    def numbers(path):
        return sorted(re.findall(r"(?<![\w.-])\d+\.\d+(?![\w.-])", prose(path)))

    def names(path):
        rows = [line for line in prose(path).splitlines() if line.startswith("|")]
        return set(re.findall(r"`([^`]+)`", " ".join(rows)))

    assert numbers(french) == numbers(english)
    assert names(english) <= names(french)
    pictures = [
        [Path(name).name for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", prose(path))] for path in (french, english)
    ]
    assert pictures[0] == pictures[1]
