"""TF32: in a training as its setting says, never in figures that are kept, and as before afterwards."""

from collections.abc import Iterator

import pytest
import torch

from flowerml.models.precision import plain_fp32, training_precision

GPU = torch.device("cuda")  # the switches are there without one


@pytest.fixture(autouse=True)
def torchs_own() -> Iterator[None]:
    """Begins with torch's defaults, and fails where they do not come back."""
    assert in_tf32() == (True, False)
    yield
    assert in_tf32() == (True, False)


def in_tf32() -> tuple[bool, bool]:
    """Whether convolutions and matrix products are computed in TF32."""
    backends = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    return tuple(backend.fp32_precision == "tf32" for backend in backends)


@pytest.mark.parametrize(
    ("tf32", "expected"), [("off", (False, False)), ("convolutions", (True, False)), ("on", (True, True))]
)
def test_a_training_has_what_its_setting_says_and_kept_figures_none(tf32, expected):
    with training_precision(tf32, GPU):
        assert in_tf32() == expected
        with plain_fp32():
            assert in_tf32() == (False, False)
        assert in_tf32() == expected


@pytest.mark.parametrize("tf32", ["off", "convolutions", "on"])
def test_what_the_compiler_reads_says_the_same(tf32):
    """Torch raises where its older and its newer switches differ; the compiler reads both."""
    with training_precision(tf32, GPU):
        with plain_fp32():
            pass
        assert torch.backends.cuda.matmul.allow_tf32 is (tf32 == "on")
        assert torch.backends.cudnn.allow_tf32 is (tf32 != "off")
        assert torch.get_float32_matmul_precision() == ("high" if tf32 == "on" else "highest")


def test_it_ends_with_a_training_that_fails():
    with pytest.raises(ValueError, match="lost"), training_precision("on", GPU):
        raise ValueError("lost")


def test_other_devices_are_left_alone():
    with training_precision("off", torch.device("cpu")):
        assert in_tf32() == (True, False)
