"""Parquet files as Hugging Face's datasets write them."""

import json
from pathlib import Path

import pyarrow
from pyarrow import parquet

IMAGE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def write(path: Path, columns, names=None, group=4):
    """Write a table of columns {name: (values, type)} with `group` rows in a row group; `names` are a ClassLabel's."""
    table = pyarrow.table({name: pyarrow.array(values, kind) for name, (values, kind) in columns.items()})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=group)
    return path


def images(files, root=None):
    """The column `image` of files; their paths below `root`, or their names alone."""
    names = [file.relative_to(root).as_posix() if root else file.name for file in files]
    return [{"bytes": file.read_bytes(), "path": name} for file, name in zip(files, names, strict=True)], IMAGE


def parquet_of(root: Path, folder: Path, count=2):
    """The pictures of a folder of classes in `count` files with numbers as labels, which their schema names."""
    files = sorted(root.rglob("*.jpg"), key=lambda file: file.name)
    names = sorted({file.parent.name for file in files}, reverse=True)
    for number in range(count):
        own = files[number::count]
        labels = [names.index(file.parent.name) for file in own]
        path = folder / f"train-{number:05d}-of-{count:05d}.parquet"
        write(path, {"image": images(own), "label": (labels, pyarrow.int64())}, names)
    return folder
