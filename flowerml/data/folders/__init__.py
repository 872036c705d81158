"""Folders of pictures: the one walk through them, and one sub-folder per class."""

from flowerml.data.folders.layout import ALL_FOLDERS, FolderLayout, PictureFile, read_layout
from flowerml.data.folders.search import find_pictures
from flowerml.data.folders.walk import PassedOver, passed_over_line

__all__ = [
    "ALL_FOLDERS",
    "FolderLayout",
    "PassedOver",
    "PictureFile",
    "find_pictures",
    "passed_over_line",
    "read_layout",
]
