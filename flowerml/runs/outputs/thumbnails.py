"""Thumbnails of a run's examples, kept for the next run of the process: trials of a sweep have mistakes in common."""

from collections import OrderedDict
from threading import Lock

from PIL import Image

from flowerml.data.loader import Example
from flowerml.reporting.thumbnail import thumbnail_jpeg
from flowerml.tasks import Task

_KEPT = 2000  # of about 10 kB each
_thumbnails: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()  # the one used last at the end
_lock = Lock()


def example_thumbnail(task: Task, example: Example, picture: Image.Image | None = None) -> bytes | None:
    """The JPEG file of what the task shows of an example; None where it can't be read any more.

    `picture` is what the task shows of it, where that is at hand.
    """
    if example.sha256 is None:  # nothing says that it is the same picture
        return _render(task, example, picture)
    key = (task.name, example.id, example.sha256)
    found = _thumbnails.get(key) or _render(task, example, picture)
    if found is not None:
        with _lock:
            _thumbnails[key] = found
            _thumbnails.move_to_end(key)
            if len(_thumbnails) > _KEPT:
                _thumbnails.popitem(last=False)
    return found


def _render(task: Task, example: Example, picture: Image.Image | None) -> bytes | None:
    picture = picture or task.render(example)
    return None if picture is None else thumbnail_jpeg(picture)
