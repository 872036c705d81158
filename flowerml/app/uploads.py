"""Pictures as a browser sends them: the limits, and a file's name and place."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from flowerml.data.decode import read_image

MAX_FILE_MB = 20
MAX_PICTURES = 100  # at once


@dataclass(frozen=True)
class Upload:
    """A picture's name on its owner's machine, and where it lies here."""

    name: str
    path: Path

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> "Upload":
        """Read what Gradio hands over for a file. It has checked that the path is one of its own uploads."""
        return cls(str(payload.get("orig_name") or "the picture"), Path(payload["path"]))

    def read(self) -> Image.Image:
        """The picture, RGB and upright. Raises BadImage."""
        return read_image(self.path)
