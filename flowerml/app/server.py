"""Serve the page on loopback until the process is interrupted."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from flowerml.errors import UserError

if TYPE_CHECKING:
    from flowerml.app.models import AppModels

logger = logging.getLogger(__name__)

HOSTS = ("127.0.0.1", "localhost")
_GRACE_S = 2  # for requests that are being answered when the server is stopped


def check_gradio() -> None:
    """Raise UserError where Gradio, an optional package, is missing."""
    if find_spec("gradio") is None:
        raise UserError('flowerml app needs Gradio: pip install "flowerml[app]"')


@contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Context with a socket that listens on one of HOSTS; port 0 takes a free one.

    Raises:
        UserError: the port is taken, or this user may not have it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
            bound.listen()  # at once: until then Linux gives the port to others too. Who connects waits for the models
        except OSError as error:
            raise UserError(
                f"--port {port} on {host}: {error.strerror or error}. Give another, or stop what listens there"
            ) from error
        yield bound


def serve(models: "AppModels", bound: socket.socket, host: str, uploads: Path) -> None:
    """Serve the page on a bound socket and log its address. Uploaded pictures go to the folder `uploads`.

    Ends by SIGINT or SIGTERM, whose handler of before is then called, as uvicorn does.

    Raises:
        UserError: Gradio can't be loaded, or the server did not start.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # also what Gradio asks on its own at import

    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    try:
        from flowerml.app.page import build_page
    except ImportError as error:  # Gradio is there, and one of its own packages is missing or does not fit
        raise UserError(f'Gradio can\'t be loaded ({error}): pip install "flowerml[app]"') from error
    page = build_page(models)
    # Not by other names: a page elsewhere could point one at this machine.
    page.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                logger.info(f"http://{host}:{bound.getsockname()[1]}\n(Ctrl-C ends it)")

    # Its log would have the tracebacks of connections that a stop has cut off.
    config = uvicorn.Config(page, log_level="critical", access_log=False, timeout_graceful_shutdown=_GRACE_S)
    server = Server(config)
    server.run(sockets=[bound])
    if not server.started:
        raise UserError("the page's server did not start, for a reason that uvicorn keeps to itself")
