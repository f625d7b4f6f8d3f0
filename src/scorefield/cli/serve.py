"""``scorefield serve RUN``: a run behind HTTP."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MissingPackageError, RangeError, RunError
from .commands import File, Run
from .told import told


def serve(
    run: Run,
    host: Annotated[
        str, typer.Option(help="0.0.0.0 for every network of this machine; set --token-file then")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free")] = 8000,
    workers: Annotated[int, typer.Option(help="processes that hold the model")] = 1,
    threads: Annotated[
        int | None, typer.Option(help="of each worker; by default all processors but one, shared evenly")
    ] = None,
    batch: Annotated[int, typer.Option(help="rows that share an evaluation, at most")] = 16,
    max_rows: Annotated[int, typer.Option(help="samples of a request, at most")] = 1024,
    max_steps: Annotated[int, typer.Option(help="steps of a walk, at most")] = 1000,
    max_points: Annotated[int, typer.Option(help="points of a body, at most")] = 256,
    max_body: Annotated[float, typer.Option(help="MiB of a body, at most")] = 4.0,
    queue: Annotated[int, typer.Option(help="requests that may wait; more get 429")] = 256,
    timeout: Annotated[float, typer.Option(help="seconds of a request, at most")] = 60.0,
    token_file: Annotated[Path | None, typer.Option(help="a file with the token that requests must bring")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error")] = "info",
    onnx: Annotated[
        Path | None, typer.Option(help="compute with this denoiser.onnx or int8 file of the run, by scorefield export")
    ] = None,
    recipe: File = None,
) -> None:
    """Serve a trained run over HTTP: samples, scores, densities and denoised points, batched across requests."""
    with told():
        try:
            from ..server.app import application
            from ..server.limits import Limits
            from ..server.run import bound, logs
            from ..server.run import run as serving
        except ModuleNotFoundError as error:
            raise MissingPackageError(f"serve needs {error.name}: pip install 'scorefield[serve]'.") from error
        logs(log_level)
        limits = Limits(
            max_rows, max_steps, max_points, body=int(max_body * 2**20), queue=queue, timeout=timeout, batch=batch
        )
        with bound(host, port) as listening:
            threads = max(1, ((os.cpu_count() or 1) - 1) // max(1, workers)) if threads is None else threads
            how = {"recipe": recipe, "onnx": None if onnx is None else str(onnx.resolve())}
            gate = application(
                str(run), limits=limits, workers=workers, threads=threads, token=_token(token_file), **how
            )
            place = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
            typer.echo(f"{run} at {place}, described by {place}/model and {place}/openapi.json; Ctrl-C stops it.")
            serving(gate, listening)


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise RunError(
            f"--token-file {path}: {error.strerror}; a text file with at least 16 characters wanted."
        ) from error
    if len(token) < 16 or not token.isprintable() or not token.isascii():
        raise RangeError(f"--token-file {path}: at least 16 printable ASCII characters wanted, in one line.")
    return token
