"""A run whose pictures are read from a server: as that of the folder, after a stop too; without one it says so."""

import pytest

from flowerml.data.sources.remote import remote_span, row_groups
from flowerml.data.sources.remote.limits import COPIES_VARIABLE, STREAMED_VARIABLE
from flowerml.errors import RunFailed
from flowerml.events import MemoryRecorder
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from tests.data.sources.remote.servers import serving
from tests.runs.conftest import SMALL
from tests.runs.interrupted_runs import assert_whole, epoch
from tests.runs.loading.forms_of_data import as_streamed_parquet, as_streamed_shards


@pytest.fixture
def site():
    with serving() as site:
        yield site


@pytest.fixture(params=[as_streamed_shards, as_streamed_parquet])
def address(request, flowers, site, tmp_path, monkeypatch):
    """Files of which none is copied and no picture kept: each picture, or its group, is asked for when it is read."""
    monkeypatch.setenv(COPIES_VARIABLE, "1e-6")
    monkeypatch.setenv(STREAMED_VARIABLE, "1e-9")
    monkeypatch.setattr(remote_span, "RETRY_DELAYS_S", (0.0,))
    monkeypatch.setattr(row_groups, "_MEMORY_BYTES", 0)
    row_groups._group_memory.cache_clear()
    return str(request.param(flowers, tmp_path / "packed", site))


@pytest.mark.slow
def test_resumed_is_the_uninterrupted_run_of_the_folder(begin, address, small_run, tmp_path, capsys):
    begin(epoch(2), train_dir=address, checkpoint_every_steps=2)
    begin(train_dir=address)
    assert "it goes on after" in capsys.readouterr().err
    assert_whole(tmp_path / "out", small_run[0])


class GoesAway(MemoryRecorder):
    """The server fails from the end of the first epoch on."""

    def __init__(self, site):
        super().__init__("first")
        self._site = site

    def record(self, event):
        super().record(event)
        if epoch(1)(event):
            self._site.part_statuses = [503] * 10_000


@pytest.mark.slow
def test_a_server_that_goes_away_ends_the_run_in_one_line_and_it_goes_on_when_it_is_back(
    begin, address, flowers, small_run, site, tmp_path
):
    settings, _ = resolve({**SMALL, "dropout": 0.2, "train_dir": address, "output_dir": str(tmp_path / "out")})
    with pytest.raises(RunFailed, match=r"a picture can't be read any more: .*jpg: http.*server answers 503") as failed:
        run_training(settings, lambda *_: GoesAway(site))
    assert "\n" not in str(failed.value)
    site.part_statuses.clear()
    begin(train_dir=address)
    assert_whole(tmp_path / "out", small_run[0])
