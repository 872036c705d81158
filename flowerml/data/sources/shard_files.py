"""The files that one list of pictures is made of: those of a folder, of a pattern, or one."""

from pathlib import Path

from flowerml.data.sources.forms import files_of, splits_of
from flowerml.errors import UserError


def require_files(root: Path) -> list[Path]:
    """The tar or Parquet files at `root`, in order.

    Raises:
        UserError: there are none, some of a pattern are missing, or a folder has files of several splits.
    """
    files = files_of(root)
    if not files:
        raise UserError(f"{root}: no files of that pattern: the first number is larger than the last")
    if missing := [path for path in files if not path.is_file()]:
        raise UserError(
            f"{root}: {len(missing)} of {len(files)} files are not there, for example {str(missing[0])!r}. Bring them,"
            " or name those that are there"
        )
    if root.is_dir() and len(splits := splits_of(files)) > 1:
        example = f"{splits[0]}-{{00000..00001}}{files[0].suffix}"
        raise UserError(
            f"{root}: has the files of several splits ({', '.join(splits)}), which would become one. Name those of one,"
            f" by a pattern such as {example}"
        )
    return files
