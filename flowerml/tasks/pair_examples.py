"""Examples of boxed object pairs from an annotated image folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from flowerml.data.decode import read_image
from flowerml.data.loader import Example
from flowerml.data.pair_views import ImagePairSource, PairExample, PairSource
from flowerml.data.relations.folder import PairFolder, read_pair_folder
from flowerml.data.relations.records import FLIPPED, Pair
from flowerml.data.relations.split import (
    PairSplit,
    draw_image_folds,
    measure_ambiguity,
    require_disjoint,
    split_by_image,
)
from flowerml.settings import Settings
from flowerml.text import cut_list


def read_annotated_folder(
    root: Path, annotations: str | None, settings: Settings, classes: Sequence[str] | None
) -> PairFolder:
    """The pairs under `root`, from `annotations` or the folder's own file. Raises UserError as `read_pair_folder`."""
    return read_pair_folder(root, None if annotations is None else Path(annotations), settings.wording, classes)


def pair_folds(folder: PairFolder, settings: Settings) -> dict[str, int] | None:
    """With cross-validation the fold of each image, else None. Raises UserError as `draw_image_folds`."""
    if not settings.folds:
        return None
    return draw_image_folds(folder.pairs, settings.folds, settings.split_seed, folder.sha256)


def split_pairs(pairs: Sequence[Pair], settings: Settings, folds: Mapping[str, int] | None = None) -> PairSplit:
    """Split by image: fold `settings.fold` of `folds` is held out; without folds `settings.val_split`, with
    `split_seed`. Raises UserError as `split_by_image`.
    """
    if folds is not None:
        assert settings.fold is not None
        held = [pair for pair in pairs if folds[pair.image] == settings.fold]
        return require_disjoint([pair for pair in pairs if folds[pair.image] != settings.fold], held)
    if settings.val_split == 0:
        return require_disjoint(pairs, ())
    return split_by_image(pairs, settings.val_split, settings.split_seed)


def make_pair_examples(folder: PairFolder) -> list[PairExample]:
    """An example for each pair, with its label and that of its mirror image (None where that is not a class)."""
    label_of = {name: label for label, name in enumerate(folder.classes)}
    examples = []
    for name, pair in zip(folder.ids, folder.pairs, strict=True):
        label, mirrored = label_of[pair.relation], label_of.get(FLIPPED[pair.relation])
        read = partial(_read_pair_source, folder.paths[pair.image], pair, label, mirrored)
        examples.append(PairExample(name, label, read, pair, mirrored))
    return examples


def _read_pair_source(path: Path, pair: Pair, label: int, mirrored: int | None) -> ImagePairSource:
    return ImagePairSource(pair, label, mirrored, read_image(path, upright=False))


def only_pairs(examples: Sequence[Example]) -> list[PairExample]:
    """The examples, typed as the pair examples they are."""
    return [example for example in examples if isinstance(example, PairExample)]


def swap_subject_object(example: Example) -> Example:
    """The example with subject and object swapped."""
    return replace(example, read=partial(_read_swapped, example))


def _read_swapped(example: Example) -> PairSource:
    source: PairSource = example.read()
    return source.swapped()


def annotation_remarks(folder: PairFolder, parts: PairSplit) -> tuple[str, ...]:
    """Counts, other relations, split and bad images, as lines for the log."""
    counts = ", ".join(f"{name} {count:,}" for name, count in folder.counts().items())
    lines = [f"{folder.annotations.source}: {len(folder.pairs):,} pairs in {len(folder.sha256):,} pictures: {counts}"]
    lines += cut_list(folder.annotations.notes)
    if folder.annotations.other_relations:
        most_common = sorted(folder.annotations.other_relations.items(), key=lambda item: (-item[1], item[0]))[:5]
        total = sum(folder.annotations.other_relations.values())
        listed = ", ".join(f"{text!r} {count:,}" for text, count in most_common)
        lines.append(f"other relations, left out: {total:,} ({listed} …)")
    lines += [*parts.summary_lines(), measure_ambiguity(folder.pairs).summary()]
    if folder.bad:
        lines.append(
            f"warning: {len(folder.bad)} pictures or pairs can't be used and are left out (listed in bad_images.txt)"
        )
    return tuple(lines)
