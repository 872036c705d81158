"""Uploads that somebody else answers: MLflow takes a proxy's page for success, the file is not at the server."""

import pytest

from flowerml.journal import COMPARISON, Journal, read_delivered
from flowerml.tracking.client.failures import ArtifactStoreError, is_access_denied
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from tests.tracking.delivery.helpers import deliver

UPLOADS, LIST = "/mlflow-artifacts/artifacts/", "/mlflow-artifacts/artifacts"


def deliver_once(folder):
    """Deliver as one process would, until there is nothing that may be tried now."""
    delivery = JournalDelivery(Journal(folder))
    delivery.open()
    while delivery.deliver_batch():
        pass
    delivery.close()
    return delivery


@pytest.fixture
def interfere(server):
    """`interfere(fault, *names)`: uploads whose path ends so get the fault, once each."""

    def set_faults(fault, *names):
        left = list(names)

        def choose(number, path):
            for name in left:
                if UPLOADS in path and path.endswith(name):
                    left.remove(name)
                    return fault
            return None

        server.reset(choose)

    return set_faults


def test_a_file_that_a_proxy_has_answered_is_uploaded_again(server, write, undisturbed, interfere):
    folder = write()
    interfere("page", "best.pth")
    assert server.rows(deliver_once(folder).run_id) == undisturbed[0]
    assert read_delivered(folder).waiting == ()


def test_it_is_uploaded_again_until_it_is_there(server, write, undisturbed, interfere):
    folder = write()
    interfere("page", "best.pth", "best.pth")
    assert server.rows(deliver_once(folder).run_id) == undisturbed[0]


def test_it_is_found_although_another_file_waits_at_the_runs_end(server, write, undisturbed):
    """The comparison with the server's files comes after the last that waits."""
    folder = write()
    faults = {"best.pth": "page", "errors.html": "503"}
    server.reset(lambda number, path: faults.get(path.rsplit("/", 1)[-1]) if UPLOADS in path else None)
    delivery = deliver_once(folder)
    names = [name for name, _ in server.rows(delivery.run_id)["files"]]
    assert (names, delivery.waiting_files) == (["settings.json"], 1)
    server.reset()
    assert server.rows(deliver(folder)) == undisturbed[0]


def test_files_that_cant_be_compared_at_the_runs_end_are_later(server, write, undisturbed, interfere):
    folder = write()
    interfere("page", "best.pth")
    answer = server.fault
    server.fault = lambda number, path: "503" if path.endswith(LIST) else answer(number, path)
    delivery = deliver_once(folder)
    assert server.rows(delivery.run_id)["state"] == undisturbed[0]["state"]
    assert read_delivered(folder).waiting == (COMPARISON,)
    server.reset()
    assert server.rows(deliver(folder)) == undisturbed[0]
    assert read_delivered(folder).waiting == ()


def test_a_file_whose_new_upload_is_refused_waits(server, write, undisturbed, interfere):
    folder = write()
    interfere("page", "best.pth")
    first = server.fault
    server.fault = lambda number, path: (
        first(number, path) or ("503" if UPLOADS in path and path.endswith("best.pth") else None)
    )
    delivery = deliver_once(folder)
    assert delivery.waiting_files == 1
    server.reset()
    assert server.rows(deliver(folder)) == undisturbed[0]


def test_a_proxy_that_answers_every_upload_ends_no_delivery(server, write, undisturbed, capsys):
    """The run's end is delivered, the files wait, and a warning says what may be the cause."""
    folder = write()
    server.reset(lambda number, path: "page" if UPLOADS in path else None)
    delivery = deliver_once(folder)
    assert server.rows(delivery.run_id) == {**undisturbed[0], "files": []}
    assert delivery.waiting_files == 1
    assert "uploads are answered, but the files are not there: is a proxy in between?" in capsys.readouterr().err
    server.reset()
    assert server.rows(deliver(folder)) == undisturbed[0]


@pytest.mark.parametrize(("reason", "denied"), [("403 Client Error: Forbidden", True), ("503 Server Error", False)])
def test_a_list_that_may_not_be_asked_for_is_told_from_one_that_fails(reason, denied):
    error = ArtifactStoreError("s3://bucket")
    error.__cause__ = RuntimeError(reason)
    assert is_access_denied(error) == denied
