"""Shared by the tests of the annotation readers."""

import pytest

from flowerml.data.relations.formats import read_annotations
from flowerml.data.relations.vocabulary import load_vocabulary
from flowerml.errors import UserError
from tests.conftest import SHARED

NAMES = load_vocabulary()


VRD = SHARED / "data" / "vrd"


needs_vrd = pytest.mark.skipif(not VRD.is_dir(), reason="the VRD annotations are not on this machine")


def refusal(path, names=NAMES):
    with pytest.raises(UserError) as caught:
        read_annotations(path, names)
    return str(caught.value)
