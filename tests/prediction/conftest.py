"""Delivered weights of both families."""

from pathlib import Path

import pytest

from tests.prediction.delivered import NAMES, deliver


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("delivered")
    paths = {family: folder / f"{family}_flowers.pth" for family in NAMES}
    for family, name in NAMES.items():
        deliver(paths[family], name)
    return paths
