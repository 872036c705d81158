"""Checkpoints as trainers save them: under any key, nested, with prefixes, in any type. All load the same tensors."""

import argparse
import random
import sys
from collections import OrderedDict, defaultdict
from pathlib import Path, PureWindowsPath
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from flowerml.errors import UserError
from flowerml.models.weights.load import load_backbone

KEYS = [
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "network",
    "student",
    "params",
    "weights",
    "my_net",
    "generator",
]
EMA_KEYS = ["state_dict_ema", "model_ema", "ema", "ema_state_dict", "teacher", "ema_model"]
PREFIXES = [
    "module.",
    "model.",
    "_orig_mod.",
    "backbone.",
    "encoder.",
    "net.",
    "trunk.timm_model.",
    "my.own.name.",
    "f.",
]
TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def small_net() -> nn.Module:
    """Names that a careless stripping would break: a part called `encoder`, and one called `model`."""
    return nn.ModuleDict(
        {
            "stem": nn.Conv2d(3, 2, 1),
            "encoder": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
            "model": nn.ModuleDict({"norm": nn.LayerNorm(2)}),
        }
    )


def random_state(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state = small_net().state_dict()
    return {name: torch.randn_like(t) if t.is_floating_point() else t + seed for name, t in state.items()}


def extras(draw: random.Random, state: dict[str, torch.Tensor]) -> dict[str, object]:
    """What trainers save beside the weights."""
    moments = {number: {"step": torch.tensor(3.0), "exp_avg": tensor} for number, tensor in enumerate(state.values())}
    every = {
        "epoch": 3,
        "loss": torch.tensor(0.5),
        "best": np.float64(0.9),
        "args": argparse.Namespace(lr=np.float32(0.1), out=Path("out"), data=PureWindowsPath("C:/x")),
        "optimizer": {"state": moments, "param_groups": [{"lr": 0.1, "params": list(moments)}]},
        "optim_by_name": {name: {"exp_avg": tensor} for name, tensor in state.items()},
        "scaler": {"scale": torch.tensor(2.0)},
        "lr_schedulers": [{"last_epoch": 3}],
        "metrics": defaultdict(list, acc=[np.int64(1), np.array([0.5])]),
        "config": SimpleNamespace(a=1, torch=torch.__version__, shape=torch.Size([1])),
        "rng": torch.get_rng_state(),
        "hyper_parameters": {"lr": 0.1, "crops": (1, 2), "none": None},
    }
    return {name: every[name] for name in draw.sample(sorted(every), draw.randrange(5))}


def wrapped(draw: random.Random, state: dict[str, torch.Tensor]) -> object:
    """The state dict behind up to four prefixes and under up to three keys."""
    prefix = "".join(draw.choice(PREFIXES) for _ in range(draw.randrange(5)))
    content: dict[str, object] = OrderedDict((prefix + name, tensor) for name, tensor in state.items())
    if prefix and draw.random() < 0.3:
        content["head.weight"] = torch.zeros(5, 2)
    for level in range(draw.randrange(4)):
        content = {draw.choice(KEYS): content, **(extras(draw, state) if level else {})}
    if draw.random() < 0.3 and not any(isinstance(value, torch.Tensor) for value in content.values()):
        raw = {name: tensor + 1 for name, tensor in state.items()}
        content = {"raw_model": raw, draw.choice(EMA_KEYS): {"module." + name: t for name, t in state.items()}}
    return content


def assert_loaded(path: Path, state: dict[str, torch.Tensor]) -> None:
    module = small_net()
    load_backbone(module, path, (), lambda found: found)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[name].to(tensor.dtype)), name


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_whatever_wraps_them_the_same_tensors_are_loaded(tmp_path, block):
    """75 wrappers each, drawn with a fixed seed: key names, nesting, prefixes, types, what else is in the file."""
    for number in range(75 * block, 75 * block + 75):
        draw = random.Random(number)
        kind = draw.choice(TYPES)
        state = {name: t.to(kind) if t.is_floating_point() else t for name, t in random_state(number).items()}
        content = wrapped(draw, state)
        path = tmp_path / f"w{draw.choice(['.pth', '.pt', '.bin', '.ckpt', '.safetensors', ''])}"
        if all(isinstance(value, torch.Tensor) for value in content.values()) and draw.random() < 0.5:
            save_file(dict(content), path)
        else:
            torch.save(content, path, _use_new_zipfile_serialization=draw.random() < 0.8)
        try:
            assert_loaded(path, state)
        except (UserError, AssertionError) as error:
            shape = {key: list(value)[:2] if isinstance(value, dict) else type(value) for key, value in content.items()}
            pytest.fail(f"wrapper {number}: {shape}: {error}")


class TestAveragedWeights:
    @pytest.mark.parametrize("key", EMA_KEYS)
    def test_come_first(self, tmp_path, key):
        ema, raw = random_state(1), random_state(2)
        for order in ((("model", raw), (key, ema)), ((key, ema), ("model", raw))):
            torch.save(dict(order), tmp_path / "w.pth")
            assert_loaded(tmp_path / "w.pth", ema)

    def test_come_first_by_prefix_too(self, tmp_path):
        ema, raw = random_state(1), random_state(2)
        names = {f"model.{name}": t for name, t in raw.items()} | {
            f"ema_model.module.{name}": t for name, t in ema.items()
        }
        torch.save({"state_dict": names}, tmp_path / "w.pth")
        assert_loaded(tmp_path / "w.pth", ema)

    def test_that_are_not_whole_are_passed_over(self, tmp_path):
        """Averages of parameters alone lack the statistics of batch norm."""
        raw = random_state(2)
        ema = {name: t for name, t in random_state(1).items() if "running" not in name and "num_batches" not in name}
        torch.save({"model": raw, "ema": ema}, tmp_path / "w.pth")
        assert_loaded(tmp_path / "w.pth", raw)

    def test_of_swa_utils(self, tmp_path):
        averaged = torch.optim.swa_utils.AveragedModel(small_net())
        torch.save(averaged.state_dict(), tmp_path / "w.pth")
        assert_loaded(tmp_path / "w.pth", averaged.module.state_dict())


def test_tensors_of_a_larger_model_are_still_refused(tmp_path):
    torch.save(
        {"model": {f"module.{n}": t for n, t in {**random_state(1), "extra.weight": torch.zeros(1)}.items()}},
        tmp_path / "w.pth",
    )
    with pytest.raises(UserError, match=r"1 tensors have no place in this model, the first is 'extra.weight'"):
        assert_loaded(tmp_path / "w.pth", {})


def test_configurations_of_trainers_that_are_not_installed_are_read_as_plain_values(tmp_path, monkeypatch):
    """Lightning's hyper_parameters, MMEngine's message hub, yacs nodes: weights_only stays on."""
    classes = {"yacs.config": ("CfgNode", dict), "mmengine.logging.history_buffer": ("HistoryBuffer", object)}
    saved = []
    for module, (name, base) in classes.items():
        kind = type(name, (base,), {"__module__": module})
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        setattr(sys.modules[module], name, kind)
        saved.append(kind())
        saved[-1].__dict__["history"] = [1, 2]
    saved[0]["lr"] = 0.1
    state = random_state(1)
    torch.save({"cfg": saved[0], "message_hub": {"loss": saved[1]}, "state_dict": state}, tmp_path / "w.pth")
    monkeypatch.undo()
    assert_loaded(tmp_path / "w.pth", state)


def test_what_a_masked_autoencoder_has_beside_the_encoder_is_not_in_the_way(tmp_path):
    decoder = {"mask_token": torch.zeros(1), "decoder_pos_embed": torch.zeros(2), "decoder_blocks.0.w": torch.zeros(1)}
    state = random_state(1)
    torch.save({"model": {**state, **decoder}, "args": argparse.Namespace(mask_ratio=0.75)}, tmp_path / "w.pth")
    assert_loaded(tmp_path / "w.pth", state)
