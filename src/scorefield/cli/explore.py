"""``scorefield explore [RUN]``: the page on this machine alone, opened in the browser."""

import socket
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MissingPackageError, RangeError
from .told import told

HOST = "127.0.0.1"
PORT = 8750


def explore(
    run: Annotated[
        Path | None, typer.Argument(help="the folder of a run, or a name in the box such as digits", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(help="where to listen; 0 takes a free one")] = PORT,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="print the address and open nothing")] = False,
) -> None:
    """Look at score fields in the browser: noise, walks, training, images. Nothing leaves this machine."""
    with told():
        try:
            import uvicorn

            from ..explorer import application
        except ImportError as error:
            raise MissingPackageError(f"explore: {error.name} is missing: pip install 'scorefield[serve]'.") from error
        app = application(run)
        listening = _listening(port)
        address = f"http://{HOST}:{listening.getsockname()[1]}/{app.state.held.opening}"
        typer.echo(f"scorefield explorer at {address} (Ctrl-C ends it)")
        if not no_browser:
            typer.launch(address)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listening])


def _listening(port: int) -> socket.socket:
    """A socket that listens on this machine. Raises: RangeError if the port is taken or is none."""
    if not 0 <= port <= 65535:
        raise RangeError(f"--port {port}: ports are 0 to 65535; 0 takes a free one.")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise RangeError(f"--port {port}: {error.strerror}; choose another, or --port 0 for a free one.") from error
    listening.listen(128)
    return listening
