"""The pictures of a folder of classes in each of the other forms that `--train-dir` takes."""

from pathlib import Path

from tests.data.sources.parquet_files import parquet_of
from tests.data.sources.shards import shards_of
from tests.data.sources.tables import table_of


def as_table(root, folder):
    """A CSV with absolute paths: the pictures are not copied."""
    path = folder / "photos.csv"
    text = table_of(root, root.parent / f"{folder.name}.csv").read_text()
    path.write_text(text.replace("\n" + root.name, f"\n{root}"))
    return path


def as_shards(root, folder):
    """Three tar files, named by a pattern."""
    return shards_of(root, folder) / "flowers-{000..002}.tar"


def as_parquet(root, folder):
    """A folder of two Parquet files."""
    return parquet_of(root, folder / "data")


def as_address(root, folder, site):
    """A table on a server, with the pictures beside it. The path that a command makes of the address."""
    site.put_folder(root, f"data/{root.name}/")
    site.files["/data/photos.csv"] = table_of(root, root.parent / f"{folder.name}.csv").read_bytes()
    return Path(f"{site.url}/data/photos.csv")


def as_streamed_shards(root, folder, site):
    """Tar files on a server, to be read from there: the caller sets the bound of copies to less."""
    site.put_folder(shards_of(root, folder), f"{folder.name}/")
    return Path(f"{site.url}/{folder.name}/flowers-{{000..002}}.tar")


def as_streamed_parquet(root, folder, site):
    """Parquet files on a server, as `as_streamed_shards`."""
    site.put_folder(parquet_of(root, folder), f"{folder.name}/")
    return Path(f"{site.url}/{folder.name}/train-{{00000..00001}}-of-00002.parquet")


FORMS = {"table": as_table, "shards": as_shards, "parquet": as_parquet}
