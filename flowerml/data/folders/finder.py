"""The file of a picture that an annotation, a split or a page names, wherever it lies below a folder."""

import os
from collections import defaultdict
from pathlib import Path

from flowerml.data.decode import BadImage
from flowerml.data.folders.walk import walk_pictures
from flowerml.text import nfc


class PictureFinder:
    """Finds pictures below `root` by name. The folder is walked once, when a name is not just a path below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._absolute = Path(os.path.abspath(root))  # noqa: PTH100 - links are not followed
        self._by_path: dict[str, str] | None = None
        self._by_name: dict[str, list[str]] = defaultdict(list)

    def path(self, name: str) -> Path:
        """The file of the picture `name`: `root/name`, else the same in another Unicode form (macOS copies in NFD).

        A name without a folder is also found in sub-folders, as Visual Genome is delivered (VG_100K, VG_100K_2). A path
        that does not exist where there is none.

        Raises:
            BadImage: the name leads out of `root`, or several sub-folders have a picture of that name.
            UserError: a folder can't be read.
        """
        # Names come from files of others: annotations, predictions. Links inside the folder are its owner's.
        if not Path(os.path.normpath(self._absolute / name)).is_relative_to(self._absolute):
            raise BadImage("its name leads out of the folder of the pictures: name it by its path below that folder")
        if os.path.exists(self._root / name):  # noqa: PTH110 - Path.exists raises where a name is too long
            return self._root / name
        if self._by_path is None:
            self._by_path = self._index()
        if (same := self._by_path.get(nfc(name))) is not None:
            return self._root / same
        found = self._by_name.get(nfc(name), [])
        if len(found) > 1:
            raise BadImage(f"in several sub-folders ({', '.join(found[:3])}): name the folder in the annotations")
        return self._root / (found[0] if found else name)

    def _index(self) -> dict[str, str]:
        """The pictures' paths by their NFC form; also fills those by name."""
        files = sorted(walk_pictures(self._root).files) if self._root.is_dir() else []
        for file in files:
            self._by_name[nfc(file.rpartition("/")[2])].append(file)
        return {nfc(file): file for file in files}
