"""Bad folders of pictures, one row each: for training, testing, checking, drawing, fetching and predicting."""

import pytest

from tests.cli.bad_input import damage as spoil
from tests.cli.bad_input import rows as bad
from tests.cli.bad_input.rows import LONG, Case

NO_FOLDER = "does not exist: it must be a folder with one sub-folder of pictures per class"
MISSING = (
    "no folder for daisy, dandelion, rose, sunflower, tulip; expected daisy, dandelion, rose, sunflower, tulip; found"
    " no sub-folders. Name another folder, or, where a new model is trained, other classes: --classes a,b, or --classes"
    " folders for all of them"
)
ELSEWHERE = "Choose another folder, or free space or permissions there"
ONE_BAD = "1 of 61 pictures can't be read (mend or remove them, or go on without them: --bad-images skip):\n"
NO_SPLIT = "each side needs one. Add pictures, or train on everything with --val-split 0"
LATIN = "'caf\udce9'"  # what a command line in Latin-1 is for Python

FOLDERS = {
    "no folder": Case("train --train-dir nowhere", f"the pictures' folder 'nowhere' {NO_FOLDER}"),
    "check: no folder": Case("dataset check --train-dir nowhere", f"the pictures' folder 'nowhere' {NO_FOLDER}"),
    "a name too long": Case(f"train --train-dir {LONG}", f"the pictures' folder '{LONG}' …"),
    "a file": Case(
        "train --train-dir photos.zip",
        "the pictures' folder 'photos.zip' is a file: it must be a folder with one sub-folder of pictures per class",
        spoil.with_file("photos.zip"),
    ),
    "an empty folder": Case("train --train-dir data", f"data: {MISSING}", spoil.with_folders("data")),
    "no class folders": Case(
        "train --train-dir data",
        "data: no folder for…; found no sub-folders (passed over: 1 pictures outside the class folders (.jpg 1): …). …",
        spoil.with_file("data/photo.jpg"),
    ),
    "newline in the folder's name": Case(
        "train --train-dir 'my\ndata'", rf"…my\ndata…: {MISSING}", spoil.with_folders("my\ndata")
    ),
    "a folder in Latin-1": Case(f"train --train-dir {LATIN}", r"--train-dir is 'caf\udce9'.…UTF-8…"),
    "a class missing": Case(
        "train --classes daisy,rose,orchid",
        "flowers: no folder for orchid; expected daisy, orchid, rose; found daisy, dandelion, rose, sunflower, tulip."
        " Name another folder, or, where a new model is trained, other classes: --classes a,b, or --classes folders for"
        " all of them",
    ),
    "one class": Case("train --classes rose", "flowers: only one class (rose): a classifier needs at least two"),
    "a class twice": Case(
        "train --classes rose,rose,tulip",
        "--classes is 'rose,rose,tulip'. Allowed: names, comma-separated, each once, or auto",
    ),
    "a class without a name": Case(
        "train --classes rose,,tulip", "--classes is 'rose,,tulip'. Allowed: names, comma-separated…, or auto"
    ),
    "check: a class twice": Case(
        "dataset check --train-dir flowers --classes rose,rose,tulip",
        "--classes is 'rose,rose,tulip'. Allowed: names, comma-separated…",
    ),
    "check: a class without a name": Case(
        "dataset check --train-dir flowers --classes rose,,tulip",
        "--classes is 'rose,,tulip'. Allowed: names, comma-separated…",
    ),
    "an empty class": Case(
        "train --train-dir data --classes lily,rose",
        "data: no pictures (.avif, .bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp) in the folder of lily, rose. Add"
        " some",
        spoil.with_folders("data/lily", "data/rose"),
    ),
    "two folders of one class": Case(
        "train --train-dir data",
        "data: rose and roses both mean class rose: merge them into one folder",
        spoil.with_picture("roses/1.jpg", b"x"),
    ),
    "a class that may not be read": Case(
        "train --train-dir data", "data/rose: Permission denied", spoil.locked("rose")
    ),
    "a class of one picture": Case(
        "train --train-dir data",
        f"class daisy can't be split: its 1 picture(s) form 1 group(s) of near-duplicates, and {NO_SPLIT}",
        spoil.only_pictures({"daisy": 1, "dandelion": 3, "rose": 3, "sunflower": 3, "tulip": 3}),
    ),
    "a class of one picture thrice": Case(
        "train --train-dir data",
        f"class daisy can't be split: its 3 picture(s) form 1 group(s) of near-duplicates, and {NO_SPLIT}",
        spoil.one_class_of(spoil.flat(40, 30)),
    ),
    "a class of single pixels": Case(
        "train --train-dir data",
        f"class daisy can't be split: its 3 picture(s) form 1 group(s) of near-duplicates, and {NO_SPLIT}",
        spoil.one_class_of(spoil.flat(1, 1)),
    ),
    "a manifest in Latin-1": Case(
        "train --train-dir data",
        "data/manifest.csv: can't be read (…can't decode byte 0xe9…); mend it or take it out of the folder",
        spoil.with_picture("manifest.csv", "class,file,near_dup_group\nrose,été.jpg,1\n".encode("latin-1")),
    ),
    "a manifest without end": Case(
        "train --train-dir data",
        "data/manifest.csv: can't be read (field larger than field limit (131072)); mend it or take it out of the"
        " folder",
        spoil.with_picture("manifest.csv", b"class,file,near_dup_group\nrose," + b"x" * 200_000),
    ),
    "another folder's manifest": Case(
        "train --train-dir data",
        "data/manifest.csv: names none of the pictures here (columns class and file); mend it or take it out of the"
        " folder",
        spoil.with_picture("manifest.csv", b"class,file,near_dup_group\nlily,1.jpg,1\n"),
    ),
    "test folder: newline in the name": Case(
        "train --test-dir 'my\ntest'", rf"the pictures' folder 'my\ntest' {NO_FOLDER}"
    ),
    "no test folder": Case("train --test-dir nowhere", f"the pictures' folder 'nowhere' {NO_FOLDER}"),
    "a test folder of other classes": Case(
        "train --test-dir data",
        "data: no folder for daisy, dandelion, sunflower, tulip; expected daisy, dandelion, rose, sunflower, tulip;"
        " found rose. …",
        spoil.only_pictures({"rose": 1}),
    ),
    "a bad picture in the test folder": Case(
        "train --test-dir data",
        "1 of 61 pictures…can't be read…:\n  'rose/none.jpg'\tthe file is empty",
        spoil.with_picture("rose/none.jpg", b""),
    ),
    "the training folder as test folder": Case("train --test-dir flowers", "--test-dir flowers…--train-dir…"),
    "make: not an empty folder": Case(
        "dataset make --train-dir data",
        "--train-dir data exists and is not empty: drawings never mix with other pictures; name a new folder",
        spoil.with_file("data/x"),
    ),
    "make: below a file": Case(
        "dataset make --train-dir file/set --per-class 1",
        f"can't write file/set/…: Not a directory. {ELSEWHERE}",
        spoil.with_file("file"),
    ),
    "make: full disk": Case(
        "dataset make --train-dir disk/set --per-class 20",
        f"can't write disk/set/…: No space left on device (… are free there). {ELSEWHERE}",
        spoil.mounted("size=64k"),
    ),
}

PICTURES = {
    "a web page": (
        b"<!DOCTYPE html><p>Not found",
        "not a picture in JPEG, PNG, WEBP, BMP, GIF, TIFF, AVIF (it looks like a web page)",
    ),
    "half a photo": (spoil.half_a_photo(), "damaged: image file is truncated (… bytes not processed)"),
    "an empty file": (b"", "the file is empty"),
    "a text": (b"a photo of a rose", "not a picture in JPEG, PNG, WEBP, BMP, GIF, TIFF, AVIF"),
    "a decompression bomb": (spoil.bomb(), "the picture is over the limit of 89,478,485 pixels"),
}
FOLDERS |= {
    **{
        what: Case(
            "train --train-dir data", f"{ONE_BAD}  'rose/bad.jpg'\t{reason}", spoil.with_picture("rose/bad.jpg", data)
        )
        for what, (data, reason) in PICTURES.items()
    },
    "a bad picture of an odd name": Case(
        "train --train-dir data",
        f"{ONE_BAD}  'rose/new\\nline é.jpg'\tnot a picture in JPEG, PNG, WEBP, BMP, GIF, TIFF, AVIF",
        spoil.with_picture("rose/new\nline é.jpg", b"x"),
    ),
    "a picture's name in Latin-1": Case(
        "train --train-dir data",
        f"{ONE_BAD}  'rose/caf\\udce9.jpg'\tthe file name is not valid UTF-8: rename it",
        spoil.with_picture("rose/caf\udce9.jpg", b"x"),
    ),
    "a link to nothing": Case(
        "train --train-dir data",
        f"{ONE_BAD}  'rose/link.jpg'\tNo such file or directory",
        spoil.with_link("rose/link.jpg", "nowhere.jpg"),
    ),
    "a named pipe": Case("train --train-dir data", f"{ONE_BAD}  'rose/pipe.jpg'\tnot a regular file", spoil.with_pipe),
    "a picture that may not be read": Case(
        "train --train-dir data",
        f"{ONE_BAD.replace('61', '60')}  'rose/rose_0000.jpg'\tPermission denied",
        spoil.locked("rose/rose_0000.jpg"),
    ),
    "skipping all of a class": Case(
        "train --train-dir data --classes rose,tulip,lily --bad-images skip",
        "data: no readable picture of lily:\n  'lily/1.jpg'\tthe file is empty",
        spoil.with_picture("lily/1.jpg", b""),
    ),
}


@pytest.mark.parametrize("case", bad.rows(FOLDERS))
def test_bad_input_is_one_line_and_leaves_nothing_open(case, place, capfd, monkeypatch):
    bad.run_case(case, place, capfd, monkeypatch)
