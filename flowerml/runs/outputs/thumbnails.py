"""Thumbnails of a run's examples, kept for the next run of the process: trials of a sweep have mistakes in common."""

from collections import OrderedDict

from flowerml.data.loader import Example
from flowerml.reporting.thumbnail import thumbnail_jpeg
from flowerml.tasks import Task

_KEPT = 2000  # of about 10 kB each
_thumbnails: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()  # the one used last at the end


def example_thumbnail(task: Task, example: Example) -> bytes | None:
    """The JPEG file of what the task shows of an example; None where it can't be read any more."""
    if example.sha256 is None:  # nothing says that it is the same picture
        return _render(task, example)
    key = (task.name, example.id, example.sha256)
    found = _thumbnails.get(key) or _render(task, example)
    if found is not None:
        _thumbnails[key] = found
        _thumbnails.move_to_end(key)
        if len(_thumbnails) > _KEPT:
            _thumbnails.popitem(last=False)
    return found


def _render(task: Task, example: Example) -> bytes | None:
    picture = task.render(example)
    return None if picture is None else thumbnail_jpeg(picture)
