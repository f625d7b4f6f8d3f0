"""``scorefield bench RUN``: how fast it draws, by backend, rows and steps."""

from pathlib import Path
from typing import Annotated

import typer

from .. import files, plots
from ..errors import RangeError
from . import trained
from .commands import File, Run
from .told import told


def bench(
    run: Run,
    backends: Annotated[
        str | None,
        typer.Option(help="some of eager,compiled,onnx,int8; by default all that are there", show_default=False),
    ] = None,
    rows: Annotated[str, typer.Option(help="samples a call")] = "1,8,64",
    steps: Annotated[
        str | None, typer.Option(help="steps of the walk; by default those of the run", show_default=False)
    ] = None,
    seconds: Annotated[float, typer.Option(help="time for each line of the table, about")] = 3.0,
    threads: Annotated[int, typer.Option(help="processor cores that a call may use")] = 1,
    out: Annotated[Path | None, typer.Option(help="folder for bench.json and bench.png", show_default=False)] = None,
    recipe: File = None,
) -> None:
    """Measure how fast a run draws: median and 99th percentile of a call, and samples a second, by backend."""
    from ..export import bench as measuring

    with told():
        found = trained.opened(run, recipe)
        int8 = found.place("int8") / "denoiser-int8.onnx"
        names = [name.strip() for name in backends.split(",")] if backends else list(measuring.BACKENDS)
        if backends is None and not int8.is_file():
            names.remove("int8")
            typer.echo("int8 is left out: there is no such graph; write it with: scorefield export RUN --to int8")
        if backends is None and not measuring.compiler():
            names.remove("compiled")
            typer.echo("compiled is left out: torch.compile needs a C++ compiler, and there is none")
        cells: list[measuring.Cell] = []
        for cell in measuring.bench(
            found.model.cpu(), how=found.sampling, shape=found.shape, scaling=found.scaling, backends=names,
            rows=_numbers("rows", rows), steps=None if steps is None else _numbers("steps", steps), int8=int8,
            seconds=seconds, threads=threads,
        ):  # fmt: skip
            typer.echo(measuring.line(cell) if cells else f"{measuring.HEAD}\n{measuring.line(cell)}")
            cells.append(cell)
        folder = out or found.place("bench")
        with files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        files.replace(folder / "bench.json", measuring.plain(cells, threads))
        typer.echo(f"{folder / 'bench.json'} and {plots.save(measuring.picture(cells), folder / 'bench.png')}")


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise RangeError(f"--{option} {text}: whole numbers with commas wanted, such as 1,8,64.") from error
