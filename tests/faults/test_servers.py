"""Faults 7, 8, 10, 16: a tracking server that is down in several ways; many processes on one run or on a new store."""

import time

import pytest
from mlflow.tracking import MlflowClient

from tests.faults.support.servers import (
    OF_THE_MOMENT,
    ServerProcess,
    all_runs,
    assert_delivered,
    assert_not_held_up,
    rows_of,
    sync,
)
from tests.faults.test_killed import assert_as_undisturbed
from tests.tracking.faulty_server import FaultyServer

pytestmark = pytest.mark.slow

AWAY = "7 server refused, stopped, 503, restarted"


@pytest.fixture(scope="module")
def faulty_server_process(tmp_path_factory):
    server = FaultyServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def faulty_server(faulty_server_process, monkeypatch):
    """The server, reset; it reads the location of its files from this process's environment."""
    for name, text in faulty_server_process.environment.items():
        monkeypatch.setenv(name, text)
    faulty_server_process.reset()
    return faulty_server_process


def train_through_outage(tally, nursery, pictures, undisturbed, folder, server, begin, end, seconds, pause):
    """Train a run whose server is down for `seconds` from its first epoch on; `flowerml sync` delivers what is left."""
    with tally.trial():
        child = nursery.start(pictures, folder, {"pause": pause}, store=server.address)
        while not (folder / "history.csv").exists():
            assert child.poll() is None, child.log()
            time.sleep(0.005)
        begin()
        if seconds:
            time.sleep(seconds)
        else:
            time.sleep(0.3)
        end()
        assert child.wait(200) == 0, child.log()
        assert_not_held_up(child.log(), seconds)
        synced = sync(server.address, str(folder))
        assert synced.returncode == 0, synced.stderr
        assert_delivered(tally, MlflowClient(tracking_uri=server.address), folder)
        assert_as_undisturbed(folder, undisturbed)
        assert (
            len(
                [
                    run
                    for run in all_runs(MlflowClient(tracking_uri=server.address))
                    if run.data.tags.get("mlflow.runName") == folder.name
                ]
            )
            == 1
        )
        return child.log()


def fault_actions(server, name):
    """The functions that begin and end a fault."""
    if name == "refused":
        return server.down, server.up
    return (lambda: server.reset(lambda *_: name)), server.reset


@pytest.mark.fault(AWAY)
@pytest.mark.parametrize("name", ["refused", *(pytest.param(name, marks=pytest.mark.slow) for name in ("503", "hang"))])
def test_the_server_is_away_for_a_moment(tally, nursery, pictures, undisturbed, faulty_server, tmp_path, name):
    begin, end = fault_actions(faulty_server, name)

    def hang():
        begin()
        faulty_server.hold.clear()

    def go_on():
        faulty_server.hold.set()
        end()

    train_through_outage(
        tally,
        nursery,
        pictures,
        undisturbed,
        tmp_path / name,
        faulty_server,
        hang if name == "hang" else begin,
        go_on,
        0,
        0.5,
    )


@pytest.mark.repeats
@pytest.mark.fault(AWAY)
@pytest.mark.parametrize("seconds", [20, 60])
@pytest.mark.parametrize("name", ["refused", "503"])
def test_the_server_is_away_for_20_and_for_60_seconds(
    tally, nursery, pictures, undisturbed, faulty_server, tmp_path, name, seconds
):
    """Within the run, and beyond its end."""
    begin, end = fault_actions(faulty_server, name)
    train_through_outage(
        tally, nursery, pictures, undisturbed, tmp_path / f"{name}-{seconds}", faulty_server, begin, end, seconds, 12
    )


@pytest.mark.fault(AWAY)
def test_a_real_server_is_stopped_and_woken_and_killed_and_restarted(tally, nursery, pictures, undisturbed, tmp_path):
    server = ServerProcess(tmp_path)
    try:
        for number, (begin, end, seconds) in enumerate(
            [
                (server.stop, server.wake, 0),
                (server.stop, server.wake, 20),
                (server.stop, server.wake, 60),
                (server.down, server.up, 0),
            ]
        ):
            train_through_outage(
                tally,
                nursery,
                pictures,
                undisturbed,
                tmp_path / str(number),
                server,
                begin,
                end,
                seconds,
                12 if seconds else 2,
            )
    finally:
        server.down()


@pytest.mark.fault("8 server absent at the start")
def test_absent_at_the_start_and_synced_later(tally, nursery, pictures, undisturbed, faulty_server, tmp_path):
    """The rows are those of a run that had it from the start, but for what a clock says."""
    with tally.trial():
        had = nursery.start(pictures, tmp_path / "had", store=faulty_server.address, run_name="same")
        assert had.wait() == 0, had.log()
        faulty_server.down()
        absent = nursery.start(pictures, tmp_path / "absent", store=faulty_server.address, run_name="same")
        assert absent.wait() == 0, absent.log()
        assert_not_held_up(absent.log())
        assert "flowerml sync" in absent.log()
        faulty_server.up()
        assert sync(faulty_server.address, "--all", "--runs-root", str(tmp_path)).returncode == 0
        again = sync(faulty_server.address, str(tmp_path / "absent"))
        assert again.returncode == 0
        assert "everything is at run" in again.stderr, "a second time adds nothing"
        ids = [
            assert_delivered(tally, MlflowClient(tracking_uri=faulty_server.address), tmp_path / name)
            for name in ("had", "absent")
        ]
        (points, params, files, _), (later, others, rest, _) = (
            rows_of(MlflowClient(tracking_uri=faulty_server.address), run_id) for run_id in ids
        )
        untimed = [
            [(name, step, value) for name, step, _, value in rows if name not in OF_THE_MOMENT]
            for rows in (points, later)
        ]
        assert untimed[0] == untimed[1]
        assert params == {**others, "output_dir": params["output_dir"]}
        assert files == rest
        assert_as_undisturbed(tmp_path / "absent", undisturbed)


def eight_on_a_fresh_store(tally, nursery, folder, trials):
    for trial in trials:
        store = f"sqlite:///{folder / f'{trial}.db'}"
        with tally.trial():
            children = [nursery.meet(store) for _ in range(8)]
            assert [child.wait(300) for child in children] == [0] * 8, [child.log() for child in children]


@pytest.mark.fault("16 eight processes on a fresh store")
def test_eight_processes_meet_on_a_fresh_store(tally, nursery, tmp_path):
    eight_on_a_fresh_store(tally, nursery, tmp_path, range(1))


@pytest.mark.repeats
@pytest.mark.fault("16 eight processes on a fresh store")
def test_eight_processes_meet_on_a_fresh_store_nineteen_times_more(tally, nursery, tmp_path):
    eight_on_a_fresh_store(tally, nursery, tmp_path, range(1, 20))


@pytest.mark.fault("16 eight processes on a fresh store")
def test_eight_runs_on_a_fresh_store_at_once(tally, nursery, pictures, tmp_path):
    """Each writes its own run."""
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with tally.trial():
        changes = {"epochs": 1, "warmup_epochs": 0, "checkpoint_every_steps": 0}
        children = [
            nursery.start(pictures, tmp_path / str(seed), store=store, seed=seed, **changes) for seed in range(8)
        ]
        assert [child.wait(300) for child in children] == [0] * 8, [child.log() for child in children]
        runs = all_runs(MlflowClient(tracking_uri=store))
        assert [run.info.status for run in runs] == ["FINISHED"] * 8


@pytest.mark.repeats
@pytest.mark.fault("10 ten processes claim one run")
def test_ten_claim_twenty_times(tally, tmp_path):
    from tests.runs.lifecycle.lease_processes import ten_claim

    for trial in range(20):
        with tally.trial():
            ten_claim(tmp_path / str(trial))


@pytest.mark.fault("10 ten processes claim one run")
def test_ten_runs_on_one_folder_train_once(tally, nursery, pictures, undisturbed, tmp_path):
    folder = tmp_path / "out"
    with tally.trial():
        children = [nursery.start(pictures, folder) for _ in range(10)]
        codes = [child.wait(300) for child in children]
        assert sorted(codes) == [0] + [2] * 9, [child.log() for child in children]
        told = [child.log() for child, code in zip(children, codes, strict=True) if code == 2]
        assert all("is being worked on by process" in log or "holds the finished run" in log for log in told)
        assert_as_undisturbed(folder, undisturbed)
