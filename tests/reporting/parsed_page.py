"""An HTML page, parsed for the tests: tags must balance, and what it consists of can be looked up."""

from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "link", "hr"}
ODD_NAMES = [
    '<script>alert("1")</script>.jpg',
    'o\'neil "quoted" & <b>bold</b>.jpg',
    "été/élan\u0301.jpg",
    "line\nbreak\tand\0nul.jpg",
    "gpj.\u202etricky.jpg",
    "undecodable\udce9.jpg",
    "http%3A--</li></ol>.jpg",
    "",
]


class ParsedPage(HTMLParser):
    """Fails on a tag that is not closed where it should be; `words` are the texts by the tag they stand in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and data.strip():
            self.words.setdefault(self.open[-1], []).append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def values(self, attribute: str) -> list[str | None]:
        """Every value of an attribute, in the page's order."""
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]

    @property
    def text(self) -> str:
        return " ".join(word for tag, words in self.words.items() if tag != "style" for word in words)
