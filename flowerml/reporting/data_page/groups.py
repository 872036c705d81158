"""Groups of pictures on the page of a folder: near-duplicates, and one photo under several labels."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from flowerml.reporting.thumbnail import Thumbnail

_MAX_IMAGES = 12  # shown of one group


@dataclass(frozen=True)
class GroupImage:
    """A picture of a group; `tag` says which others have identical bytes, empty where none or all have."""

    key: str
    tag: str
    jpeg: bytes | None

    @property
    def label(self) -> str:
        """The class folder of its key."""
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        """The rest of its key."""
        return self.key.partition("/")[2]


@dataclass(frozen=True)
class ImageGroup:
    """The first pictures of a group of `size`; `is_identical` where all of them have the same bytes."""

    size: int
    is_identical: bool
    images: tuple[GroupImage, ...]

    @property
    def hidden(self) -> int:
        """How many are not shown."""
        return self.size - len(self.images)


@dataclass(frozen=True)
class GroupList:
    """The groups that are shown, and how many more there are."""

    shown: tuple[ImageGroup, ...]
    hidden: int


def duplicate_groups(
    groups: Sequence[Sequence[str]], identical: Sequence[Sequence[str]], thumbnail: Thumbnail, limit: int
) -> GroupList:
    """The first `limit` groups of keys with their thumbnails; `identical` are keys of pictures with equal bytes."""
    content = {key: number for number, keys in enumerate(identical) for key in keys}
    shown = tuple(_image_group(group, content, thumbnail) for group in groups[:limit])
    return GroupList(shown, len(groups) - len(shown))


def _image_group(group: Sequence[str], content: Mapping[str, int], thumbnail: Thumbnail) -> ImageGroup:
    """One group; `content` gives pictures of equal bytes an equal number, and the others none."""
    numbers = sorted({content[key] for key in group if key in content})
    is_identical = len(numbers) == 1 and all(key in content for key in group)
    tags = {
        number: f"identical {chr(65 + index % 26) if len(numbers) > 1 else 'file'}"
        for index, number in enumerate(numbers)
    }
    images = [
        GroupImage(key, "" if is_identical or key not in content else tags[content[key]], thumbnail(key))
        for key in _interleave_classes(group)[:_MAX_IMAGES]
    ]
    return ImageGroup(len(group), is_identical, tuple(images))


def _interleave_classes(group: Sequence[str]) -> list[str]:
    """The keys in order; of a group that is cut, class by class in turn, so that every label is among the first."""
    if len(group) <= _MAX_IMAGES:
        return list(group)
    by_class: dict[str, list[str]] = defaultdict(list)
    for key in group:
        by_class[key.partition("/")[0]].append(key)
    return [key for key in chain.from_iterable(zip_longest(*by_class.values())) if key is not None]
