"""Bad input of `dataset check`, `make` and `fetch`, and of `predict`, one row each."""

import pytest

from tests.cli.bad_input import damage as spoil
from tests.cli.bad_input import rows as bad
from tests.cli.bad_input.rows import LONG, Case
from tests.data.download.archive_server import digest

ELSEWHERE = "Choose another folder, or free space or permissions there"
ANOTHER = "Name another folder"
WAYS = (
    "bring the archive from elsewhere and give it as --archive FILE.tgz, name a mirror with --url URL, put photos of"
    " your own into one sub-folder per class, or draw a set with `flowerml dataset make`."
)
TEXT = b"no archive"
MODEL = "Allowed: a delivered .pth, or a run's best.pth"
PLACES = "Name pictures, or a folder that holds them at any depth"

CHECK = {
    "html: a folder": Case(
        "dataset check --train-dir flowers --html page",
        "can't write page: it is a folder. Name a file in it",
        spoil.with_folders("page"),
    ),
    "html: below a file": Case(
        "dataset check --train-dir flowers --html file/page.html",
        f"can't write file/page.html: file is a file. {ELSEWHERE}",
        spoil.with_file("file"),
    ),
    "html: a name too long": Case(
        f"dataset check --train-dir flowers --html {LONG}",
        f"can't write {LONG}: File name too long. Choose another name",
    ),
    "html: read-only": Case(
        "dataset check --train-dir flowers --html disk/page.html",
        f"can't write disk/page.html: Read-only file system. {ELSEWHERE}",
        spoil.mounted("ro"),
    ),
    "check: no checkpoint": Case(
        "dataset check --train-dir flowers --checkpoint 'my\nmodel'",
        r"checkpoint my\nmodel: no such file. Give a run's best.pth or a delivered .pth",
    ),
    "check: a checkpoint's settings": Case(
        "dataset check --train-dir flowers --checkpoint model.pth",
        "checkpoint model.pth: its settings can't be used (setting 'resumed' is unknown); where another version of"
        " flowerml wrote it, use that one",
        spoil.changed(lambda content: content["settings"].update(resumed="true")),
    ),
    "check: a device for nothing": Case(
        "dataset check --train-dir flowers --device cpu",
        "--device is for the model that looks for wrong labels: give it with --checkpoint PATH",
    ),
}

MAKE = {
    "make: none": Case(
        "dataset make --train-dir new --per-class 0", "--per-class is '0'. Allowed: whole number, 1 to 100000"
    ),
    "make: ² of each": Case(
        "dataset make --train-dir new --per-class ²", "--per-class is '²'. Allowed: whole number, 1 to 100000"
    ),
    "make: a name too long": Case(
        f"dataset make --train-dir {LONG}", f"--train-dir {LONG}: File name too long. {ANOTHER}"
    ),
}

FETCH = {
    "url: a file": Case(
        "dataset fetch --train-dir new --url photos.tgz",
        "--url is 'photos.tgz'. Allowed: http://… or https://…, plain ASCII without spaces (others as %XX); for a file:"
        " --archive FILE.tgz",
    ),
    "url: a password": Case(
        "dataset fetch --train-dir new --url http://team:secret@127.0.0.1/x.tgz",
        "--url with a user name or password in it is not taken: fetch it with another tool and give it as --archive"
        " FILE.tgz",
        hidden="secret",
    ),
    "url: nobody listens": Case(
        "dataset fetch --train-dir new --url http://127.0.0.1:1/x.tgz",
        f"http://127.0.0.1:1/x.tgz can't be reached (127.0.0.1:1: connection refused): {WAYS}",
        env={"no_proxy": "127.0.0.1"},
    ),
    "sha256": Case(
        "dataset fetch --train-dir new --sha256 abc",
        "--sha256 is 'abc'. Allowed: 64 hexadecimal digits, as sha256sum prints them",
    ),
    "archive: newline in the name": Case(
        "dataset fetch --train-dir new --archive 'my\nphotos.tgz'",
        r"can't read my\nphotos.tgz: No such file or directory",
    ),
    "archive: a folder": Case(
        "dataset fetch --train-dir new --archive photos",
        "can't read photos: it is a folder",
        spoil.with_folders("photos"),
    ),
    "archive: a named pipe": Case(
        "dataset fetch --train-dir new --archive pipe",
        "can't read pipe: not a regular file",
        spoil.with_named_pipe("pipe"),
    ),
    "archive: another": Case(
        "dataset fetch --train-dir new --archive x.tgz",
        f"--archive x.tgz has sha256 {digest(TEXT)}, expected …: bring it again, or, where it is meant to be another"
        " archive, name its digest: --sha256 HEX",
        spoil.with_file("x.tgz", TEXT),
    ),
    "archive: a text": Case(
        f"dataset fetch --train-dir new --archive x.tgz --sha256 {digest(TEXT)}",
        "x.tgz is not a whole .tgz (Not a gzipped file (…)): bring it again",
        spoil.with_file("x.tgz", TEXT),
    ),
    "fetch: not an empty folder": Case(
        "dataset fetch --train-dir data",
        "--train-dir data exists and is not empty: fetched photos never mix with others; name another folder",
        spoil.with_file("data/x"),
    ),
    "fetch: below a file": Case(
        "dataset fetch --train-dir file/new", f"--train-dir file/new: … is a file. {ANOTHER}", spoil.with_file("file")
    ),
    "fetch: a name too long": Case(
        f"dataset fetch --train-dir {LONG}", f"--train-dir {LONG}: File name too long. {ANOTHER}"
    ),
    "fetch: read-only": Case(
        f"dataset fetch --train-dir disk/new --archive x.tgz --sha256 {digest(TEXT)}",
        "can't unpack into …/disk/new: Read-only file system. Free space or permissions there, or name another folder:"
        " --train-dir",
        lambda place: (spoil.with_file("x.tgz", TEXT)(place), spoil.mounted("ro")(place)),
    ),
    "fetch: full": Case(
        "dataset fetch --train-dir disk/new",
        "…/disk: … free, but … needed (… to fetch, about … unpacked): free space, or name a folder on another disk with"
        " --train-dir",
        spoil.mounted("size=64k"),
    ),
}

PREDICT = {
    "predict: no model": Case("predict flowers --model 'my\nmodel'", rf"--model my\nmodel: no such file. {MODEL}"),
    "predict: a model's name too long": Case(
        f"predict flowers --model {LONG}", f"--model {LONG}: File name too long. {MODEL}"
    ),
    "predict: a model that is a text": Case(
        "predict flowers --model model.pth",
        "checkpoint model.pth: can't be read (…)",
        spoil.with_file("model.pth", b"no model"),
    ),
    "predict: nothing there": Case(
        "predict nowhere --model model.pth", f"nowhere: no such file or folder. {PLACES}", spoil.with_file("model.pth")
    ),
    "predict: a name too long": Case(
        f"predict {LONG} --model model.pth", f"{LONG}: File name too long. {PLACES}", spoil.with_file("model.pth")
    ),
    "predict: an empty folder": Case(
        "predict 'my\ndata' --model model.pth",
        r"my\ndata: no pictures in it (.avif, .bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp)",
        lambda place: (spoil.with_file("model.pth")(place), spoil.with_folders("my\ndata")(place)),
    ),
    "predict: the table a folder": Case(
        "predict flowers --model model.pth --csv table",
        "can't write table: it is a folder. Name a file in it",
        spoil.with_folders("table"),
    ),
    "predict: the table read-only": Case(
        "predict flowers --model model.pth --csv disk/table.csv",
        f"can't write disk/table.csv: Read-only file system. {ELSEWHERE}",
        spoil.mounted("ro"),
    ),
    "predict: device": Case(
        "predict flowers --model model.pth --device gpu", "--device gpu: this machine has cpu…", spoil.changed()
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", bad.rows(CHECK | MAKE | FETCH | PREDICT))
def test_bad_input_is_one_line_and_leaves_nothing_open(case, place, capfd, monkeypatch):
    bad.run_case(case, place, capfd, monkeypatch)
