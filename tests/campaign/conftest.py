"""The faulty tracking server, for campaigns."""

from tests.tracking.conftest import _server, server  # noqa: F401 - fixtures
