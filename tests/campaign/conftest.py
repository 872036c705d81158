"""The faulty tracking server, for campaigns."""

from tests.tracking.conftest import faulty_server, server  # noqa: F401 - fixtures
