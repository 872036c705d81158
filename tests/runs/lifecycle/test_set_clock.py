"""A lease while the clock is set: back by an hour, so that what was written before is of the future, or forward."""

import json
import time

import pytest

from flowerml.errors import UserError
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.lease import acquire

HOUR = 3600.0


@pytest.fixture
def elsewhere(tmp_path):
    """A lease of a minute that a process of another host holds, of which nothing but its heartbeats is known."""
    lease = acquire(tmp_path, 60)
    path = lease.folder / "claim.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "elsewhere"}))
    return lease


@pytest.fixture
def set_clock(monkeypatch):
    """Sets the clock by so many seconds."""
    real = time.time

    def by(seconds):
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return by


@pytest.mark.parametrize("beats", [False, True])
def test_one_that_died_before_the_clock_was_set_back_is_not_held_for_the_hour(tmp_path, elsewhere, set_clock, beats):
    if beats:
        elsewhere.heartbeat()
    set_clock(-HOUR)
    assert acquire(tmp_path, 60).owner.token == 2


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_one_that_lives_holds_its_lease_from_its_next_heartbeat_on(tmp_path, elsewhere, set_clock, seconds):
    elsewhere.heartbeat()
    set_clock(seconds)
    elsewhere.heartbeat()
    assert lease_owner(tmp_path).heartbeat_age < 30
    with pytest.raises(UserError, match="is being worked on by"):
        acquire(tmp_path, 60)


@pytest.mark.parametrize("seconds", [-20.0, 20.0])
def test_clocks_of_two_hosts_may_differ_by_less_than_the_lease(tmp_path, elsewhere, set_clock, seconds):
    elsewhere.heartbeat()
    set_clock(seconds)
    with pytest.raises(UserError, match="is being worked on by"):
        acquire(tmp_path, 60)
