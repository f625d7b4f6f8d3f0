"""``scorefield export RUN``: a trained run as files that run anywhere."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import unknown
from . import trained
from .commands import File, Run
from .named import sampler
from .told import told

TARGETS = ("onnx",)


def export(
    run: Run,
    to: Annotated[str, typer.Option(help="onnx")] = "onnx",
    steps: Annotated[int | None, typer.Option(help="steps of the walk; by default what the recipe chose")] = None,
    name: Annotated[
        str | None, typer.Option("--sampler", help="such as heun; by default what the recipe chose")
    ] = None,
    opset: Annotated[int, typer.Option(help="version of ONNX's operators")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="folder to write to; by default in the run's", show_default=False)
    ] = None,
    recipe: File = None,
) -> None:
    """Write a trained run as ONNX: its denoiser and its whole walk, checked against PyTorch."""
    from .. import export as exporting

    with told():
        if to not in TARGETS:
            raise unknown("target of --to", to, TARGETS)
        found = trained.opened(run, recipe)
        how = found.sampling
        if name or steps:
            how = replace(how, sampler=sampler(name) if name else how.sampler, steps=steps or how.steps, times=None)
        done = exporting.export(
            found.model, out or found.place(to), how=how, shape=found.shape, scaling=found.scaling,
            run=found.folder.name, opset=opset,
        )  # fmt: skip
        for path in done.files:
            typer.echo(f"{path.stat().st_size / 1e6:8.2f} MB  {path}")
        typer.echo(str(done.equality))
