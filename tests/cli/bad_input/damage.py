"""Ways to spoil what a command is given: folders of pictures, files of weights, places for results, tracking stores."""

import contextlib
import os
import pickle
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image
from safetensors.torch import save_file

from tests.cli.bad_input.rows import FLOWERS, Place
from tests.data.pictures import encode, put, put_scene, scene

# --- ways to break a folder of pictures
# -------------------------------------------------------------------------------------------


def with_file(name: str, data: bytes = b"") -> Callable[[Place], object]:
    """A file of this content in the working folder."""
    return lambda place: put(place.root / name, data)


def with_folders(*names: str) -> Callable[[Place], object]:
    """Empty folders in the working folder."""
    return lambda place: [(place.root / name).mkdir(parents=True) for name in names]


def with_picture(name: str, data: bytes | Callable[[], bytes]) -> Callable[[Place], object]:
    """A copy of the pictures in `data`, with one file more, `data/<name>`."""
    return lambda place: put(place.own_flowers() / name, data() if callable(data) else data)


def with_link(name: str, target: str) -> Callable[[Place], object]:
    """A copy of the pictures in `data`, with a symbolic link `data/<name>`."""
    return lambda place: (place.own_flowers() / name).symlink_to(target)


def only_pictures(counts: Mapping[str, int], seed: int = 0) -> Callable[[Place], object]:
    """`data` with so many pictures of each class, all different."""

    def make(place: Place) -> None:
        for number, (name, count) in enumerate(counts.items()):
            for picture in range(count):
                put_scene(place.root / "data" / name / f"{picture}.jpg", seed + 100 * number + picture)

    return make


def one_class_of(data: bytes) -> Callable[[Place], object]:
    """`data` with pictures of four flowers, and of daisy three files of this content."""

    def make(place: Place) -> None:
        only_pictures(dict.fromkeys(FLOWERS[1:], 3))(place)
        for number in range(3):
            put(place.root / "data" / "daisy" / f"{number}.png", data)

    return make


def flat(width: int, height: int) -> bytes:
    """A PNG of one colour."""
    return encode(Image.new("RGB", (width, height), (200, 30, 60)), "PNG")


def locked(name: str) -> Callable[[Place], object]:
    """A copy of the pictures in `data`, of which `data/<name>` may not be read."""

    def make(place: Place) -> None:
        path = place.own_flowers() / name
        path.chmod(0)
        place.locked.append(path)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")

    return make


def bomb() -> bytes:
    """A small file of 180 million pixels, more than twice what is allowed."""
    return encode(Image.new("1", (13_400, 13_400)), "PNG")


def half_a_photo() -> bytes:
    """A JPEG that ends in its middle."""
    whole = encode(scene(1, width=160, height=160), "JPEG")
    return whole[: len(whole) // 2]


def with_pipe(place: Place) -> None:
    """A named pipe among the pictures: whoever opens it waits for a writer. One comes after a while, so that the test
    can end.
    """
    pipe = place.own_flowers() / "rose" / "pipe.jpg"
    os.mkfifo(pipe)

    def release() -> None:
        for _ in range(200):
            with contextlib.suppress(OSError):
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            time.sleep(0.1)

    threading.Thread(target=release, daemon=True).start()


def vanishing(place: Place) -> None:
    """The pictures of one class go once the run has begun."""
    data, begun = place.own_flowers(), place.root / "out" / "run.json"

    def remove() -> None:
        for _ in range(60_000):
            if begun.exists():
                shutil.rmtree(data / "rose")
                return
            time.sleep(0.001)

    threading.Thread(target=remove, daemon=True).start()


# --- ways to break files of weights
# -------------------------------------------------------------------------------------------------


class _Code:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


def pickled_code(name: str) -> Callable[[Place], object]:
    """A file that runs code where it is unpickled without care; zipped as torch writes it."""

    def make(place: Place) -> None:
        torch.save({"state_dict": _Code()}, place.root / name, pickle_module=pickle)

    return make


def torch_file(name: str, value: object) -> Callable[[Place], object]:
    """A value as torch saves it."""
    return lambda place: torch.save(value, place.root / name)


def backbone(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Place], object]:
    """The small run's backbone as `w.safetensors`, its tensors changed."""

    def make(place: Place) -> None:
        state = torch.load(place.trained / "best.pth", weights_only=True)["state_dict"]
        tensors = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
        change(tensors)
        save_file(tensors, place.root / "w.safetensors")

    return make


def half_of(make: Callable[[Place], object], name: str) -> Callable[[Place], object]:
    """The first half of a file that `make` leaves."""

    def cut(place: Place) -> None:
        make(place)
        os.truncate(place.root / name, (place.root / name).stat().st_size // 2)

    return cut


def changed(change: Callable[[dict], object] = lambda content: None) -> Callable[[Place], object]:
    """The small run's checkpoint as `model.pth`, its content changed."""
    return lambda place: place.checkpoint(change)


def flipped(place: Place) -> None:
    """One bit of a checkpoint's weights is another."""
    path = place.checkpoint()
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + largest.file_size // 2] ^= 1
    path.write_bytes(data)


# --- ways to spoil the place where results go, and what stands around
# ---------------------------------------------------------------


def finished_run(place: Place) -> None:
    """`out` holds the small finished run."""
    shutil.copytree(place.trained, place.root / "out")


def mounted(options: str) -> Callable[[Place], object]:
    """A small or read-only file system at `disk`."""
    return lambda place: place.mount("disk", options)


def deleted_experiment(place: Place) -> None:
    """The store's experiment `flowers` is in its bin."""
    place.checkpoint()
    client = MlflowClient()
    client.delete_experiment(client.create_experiment("flowers"))


def no_gpu(_place: Place) -> None:
    """Only where there is none: elsewhere the command would be right."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")


def answering(status: int) -> Callable[[Place], object]:
    """A server on the loopback as the tracking store that answers everything with this HTTP status and a web page; 0:
    with nothing.
    """

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if status == 0:
                time.sleep(1.5)
                return
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html><p>Hello")

        do_POST = do_GET

        def log_message(self, *_words) -> None: ...

    def make(place: Place) -> None:
        server = HTTPServer(("127.0.0.1", 0), Answer)
        place.servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        os.environ["MLFLOW_TRACKING_URI"] = (
            f"http://team:secret@127.0.0.1:{server.server_port}"  # each test's own, put back after it
        )

    return make


def read_only_store(place: Place) -> None:
    """The store is a database on a disk that can't be written to."""
    place.mount("disk", "size=8m")
    shutil.copy(place.root / "mlflow.db", place.root / "disk")
    subprocess.run(["mount", "-o", "remount,ro", place.root / "disk"], check=True)


def with_named_pipe(name: str) -> Callable[[Place], object]:
    """A named pipe, which nobody writes into, where a file should be."""
    return lambda place: os.mkfifo(place.root / name)
