"""The fault suite's table, its pictures, and the process that starts runs to be spoiled."""

import pytest

from tests.faults.support.nursery import Nursery
from tests.faults.support.tally import Tally, table

_rows: list[list[str]] = []


@pytest.fixture
def tally(request, record_property):
    """The table row of the fault that the module's mark names: `fault("1 kill -9 at a random step")`."""
    counted = Tally(request.node.get_closest_marker("fault").args[0])
    yield counted
    record_property("fault", counted.row())


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        _rows.extend(value for name, value in report.user_properties if name == "fault")


def pytest_terminal_summary(terminalreporter):
    if _rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(table(_rows))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of 200 generated pictures."""
    from flowerml.data.synthetic.flowers import make_flowers

    root = tmp_path_factory.mktemp("pictures")
    make_flowers(root, per_class=40, size=48, seed=5)
    return root


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    """Starts runs in processes of their own, without the seconds of import."""
    with Nursery(tmp_path_factory.mktemp("nursery")) as started:
        yield started


@pytest.fixture(scope="session")
def undisturbed(nursery, pictures, tmp_path_factory, empty_store):
    """The folder of a run that nothing has happened to."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    child = nursery.start(pictures, folder)
    assert child.wait() == 0, child.log()
    return folder
