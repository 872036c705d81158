"""Bad files of weights and bad checkpoints, one row each."""

import pytest
import torch

from tests.cli.bad_input import damage as spoil
from tests.cli.bad_input import rows as bad
from tests.cli.bad_input.rows import LONG, Case

NO_FOLDER = "does not exist: it must be a folder with one sub-folder of pictures per class"
NO_WEIGHTS = "no such file. Allowed: hub, none, or the path of a .safetensors or .pth file"
A_FOLDER = NO_WEIGHTS.replace("no such file", "it is a folder")

WEIGHTS = {
    "no weights": Case("train --weights w.pth", f"--weights w.pth: {NO_WEIGHTS}"),
    "weights: a folder": Case("train --weights w", f"--weights w: {A_FOLDER}", spoil.with_folders("w")),
    "weights: newline in the name": Case("train --weights 'my\nweights'", r"--weights …my\nweights…: no such file. …"),
    "weights: a name too long": Case(f"train --weights {LONG}", f"--weights {LONG}: …"),
    "weights: a named pipe": Case(
        "train --weights pipe",
        f"--weights pipe: {NO_WEIGHTS.replace('no such file', 'not a regular file')}",
        spoil.with_named_pipe("pipe"),
    ),
    "weights: empty": Case(
        "train --weights w.pth", "--weights w.pth: can't be read (the file is empty)", spoil.with_file("w.pth")
    ),
    "weights: a text": Case(
        "train --weights w.safetensors",
        "--weights w.safetensors: can't be read (…)",
        spoil.with_file("w.safetensors", b"hi"),
    ),
    "weights: half": Case(
        "train --weights w.safetensors",
        "--weights w.safetensors: can't be read (…not fully covered…)",
        spoil.half_of(spoil.backbone(lambda tensors: None), "w.safetensors"),
    ),
    "weights: another model's": Case(
        "train --weights w.pth",
        "--weights w.pth: 138 of 138 tensors of this model are not in the file, the first is 'stem.0.weight': …another"
        " model",
        spoil.torch_file("w.pth", {"layer1.weight": torch.zeros(4, 4)}),
    ),
    "weights: another shape": Case(
        "train --weights w.safetensors",
        "--weights w.safetensors: stem.0.weight is (1,) in the file and (40, 3, 4, 4) in the model",
        spoil.backbone(lambda tensors: tensors.update({"stem.0.weight": torch.zeros(1)})),
    ),
    "weights: more than the model has": Case(
        "train --weights w.safetensors",
        "--weights w.safetensors: 1 tensors have no place in this model, the first is 'foreign.weight'",
        spoil.backbone(lambda tensors: tensors.update({"foreign.weight": torch.zeros(1)})),
    ),
    "weights: not a number": Case(
        "train --weights w.safetensors",
        "the loss is nan at epoch 1, step 1, …, pictures …. Lower the learning rate, or look at these pictures",
        spoil.backbone(lambda tensors: tensors["stem.0.weight"].fill_(torch.nan)),
        code=1,
    ),
    "weights: a list": Case(
        "train --weights w.pth",
        "--weights w.pth: holds no state dict (a mapping from names to tensors)",
        spoil.torch_file("w.pth", [torch.zeros(1)]),
    ),
    "weights: numbers for names": Case(
        "train --weights w.pth",
        "--weights w.pth: holds no state dict (a mapping from names to tensors)",
        spoil.torch_file("w.pth", {1: torch.zeros(1)}),
    ),
    "weights: code": Case(
        "train --weights w.pth", "--weights w.pth: …plain…", spoil.pickled_code("w.pth"), hidden="weights_only"
    ),
}

CHECKPOINTS = {
    "checkpoint: no file": Case(
        "eval --checkpoint model.pth", "checkpoint model.pth: no such file. Give a run's best.pth or a delivered .pth"
    ),
    "checkpoint: a folder": Case(
        "eval --checkpoint model",
        "checkpoint model: it is a folder. Give a run's best.pth or a delivered .pth",
        spoil.with_folders("model"),
    ),
    "checkpoint: newline in the name": Case(
        "eval --checkpoint 'my\nmodel'", r"checkpoint …my\nmodel…: no such file. …"
    ),
    "checkpoint: a name too long": Case(f"eval --checkpoint {LONG}", f"checkpoint {LONG}: …"),
    "checkpoint: a named pipe": Case(
        "eval --checkpoint pipe",
        "checkpoint pipe: not a regular file. Give a run's best.pth or a delivered .pth",
        spoil.with_named_pipe("pipe"),
    ),
    "checkpoint: empty": Case(
        "eval --checkpoint model.pth", "checkpoint model.pth: can't be read (…)", spoil.with_file("model.pth")
    ),
    "checkpoint: a text": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: can't be read (…)",
        spoil.with_file("model.pth", b"no model"),
    ),
    "checkpoint: half": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: can't be read (…)",
        spoil.half_of(spoil.changed(), "model.pth"),
    ),
    "checkpoint: one bit flipped": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: can't be read (the part model/data/… is damaged)",
        spoil.flipped,
    ),
    "checkpoint: another program's": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: not written by flowerml (flowerml-checkpoint-1); weights of other origin go into"
        " --weights",
        spoil.torch_file("model.pth", {"state_dict": {"layer1.weight": torch.zeros(1)}}),
    ),
    "checkpoint: code": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: holds more than plain weights and values: refused, as such a file can run code",
        spoil.pickled_code("model.pth"),
    ),
    "checkpoint: delivered, without a split": Case(
        "eval --checkpoint model.pth",
        "model.pth carries no split (a delivered file): give the pictures with --test-dir FOLDER",
        spoil.changed(lambda content: content.pop("split")),
    ),
    "checkpoint: split: a picture less": Case(
        "eval --checkpoint model.pth",
        "…model.pth…the stored split was changed by hand: its lists and contents do not fit each other",
        spoil.changed(lambda content: content["split"]["val"].pop()),
    ),
    "checkpoint: split: a picture on the other side": Case(
        "eval --checkpoint model.pth",
        "…model.pth…the stored split was changed by hand: its digest does not fit its lists",
        spoil.changed(lambda content: content["split"]["train"].append(content["split"]["val"].pop())),
    ),
    "checkpoint: split: a text": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …",
        spoil.changed(lambda content: content.update(split="train")),
    ),
    "checkpoint: settings: one too many": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …resumed…",
        spoil.changed(lambda content: content["settings"].update(resumed="true")),
    ),
    "checkpoint: settings: out of range": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …batch…",
        spoil.changed(lambda content: content["settings"].update(batch_size=0)),
    ),
    "checkpoint: settings: no seed": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …seed…",
        spoil.changed(lambda content: content["settings"].pop("seed")),
    ),
    "checkpoint: a tensor less": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: its weights do not fit convnextv2_atto (1 missing, first head.bias)",
        spoil.changed(lambda content: content["state_dict"].pop("head.bias")),
    ),
    "checkpoint: fewer classes": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: its weights do not fit convnextv2_atto (head.weight is (5, 320), not (2, 320); …)",
        spoil.changed(lambda content: (content.update(classes=["rose", "tulip"]), content.pop("prior"))),
    ),
    "checkpoint: shares of fewer classes": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: a part is not what flowerml-checkpoint-1 says (ValueError: prior has 4 shares for 5"
        " classes)",
        spoil.changed(lambda content: content["prior"].pop()),
    ),
    "checkpoint: an unknown library": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: a part is not what flowerml-checkpoint-1 says (ValueError: 'keras' is not a valid"
        " Library)",
        spoil.changed(lambda content: content["model"].update(library="keras")),
    ),
    "checkpoint: an unknown model": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …nosuch…",
        spoil.changed(lambda content: content["model"].update(architecture="nosuch")),
    ),
    "checkpoint: an unknown interpolation": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …nearest…",
        spoil.changed(lambda content: content["input"].update(interpolation="nearest-ish")),
    ),
    "checkpoint: its folder gone": Case(
        "eval --checkpoint model.pth",
        f"the pictures' folder 'flowers' {NO_FOLDER}",
        lambda place: (place.checkpoint(), (place.root / "flowers").unlink()),
    ),
    "checkpoint: other pictures": Case(
        "eval --checkpoint model.pth --train-dir data",
        "data: none of the val pictures of model.pth is there: name the folder it was trained on with --train-dir, or"
        " evaluate on other pictures with --test-dir",
        lambda place: (place.checkpoint(), spoil.only_pictures(dict.fromkeys(bad.FLOWERS, 1))(place)),
    ),
    "eval: no test folder": Case(
        "eval --checkpoint model.pth --test-dir nowhere", f"the pictures' folder 'nowhere' {NO_FOLDER}", spoil.changed()
    ),
    "eval: a bad picture in the test folder": Case(
        "eval --checkpoint model.pth --test-dir data",
        "1 of 61 pictures…can't be read…:\n  'rose/none.jpg'\tthe file is empty",
        lambda place: (place.checkpoint(), spoil.with_picture("rose/none.jpg", b"")(place)),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", bad.rows(WEIGHTS | CHECKPOINTS))
def test_bad_input_is_one_line_and_leaves_nothing_open(case, place, capfd, monkeypatch):
    bad.run_case(case, place, capfd, monkeypatch)
