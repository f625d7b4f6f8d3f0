"""``scorefield export RUN``: a trained run as files that run anywhere."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..errors import RangeError, unknown
from ..recipes.drawing import Drawing
from . import trained
from .commands import File, Run
from .named import sampler
from .told import told


def export(
    run: Run,
    to: Annotated[str, typer.Option(help="onnx, int8, pt or diffusers")] = "onnx",
    steps: Annotated[int | None, typer.Option(help="steps of the walk; by default what the recipe chose")] = None,
    name: Annotated[
        str | None, typer.Option("--sampler", help="such as heun; by default what the recipe chose")
    ] = None,
    opset: Annotated[int, typer.Option(help="version of ONNX's operators")] = 20,
    n: Annotated[int, typer.Option("--n", help="samples that judge int8")] = 2000,
    added: Annotated[
        float | None,
        typer.Option(
            help="part that int8 may add to the denoising error at any level; by default the first of 0.5, 0.2, … 0 that is fine",
            show_default=False,
        ),
    ] = None,
    ratio: Annotated[float, typer.Option(help="largest rise of the Fréchet distance that int8 may cost")] = 1.2,
    out: Annotated[
        Path | None, typer.Option(help="folder to write to; by default in the run's", show_default=False)
    ] = None,
    recipe: File = None,
) -> None:
    """Write a trained run for elsewhere: ONNX graphs checked against PyTorch, int8 with a report, tensors, a diffusers folder."""
    with told():
        if to not in TARGETS:
            raise unknown("target of --to", to, TARGETS)
        found = trained.opened(run, recipe)
        how = found.sampling
        if name or steps is not None:
            walked = how.steps if steps is None else steps
            how = replace(how, sampler=sampler(name) if name else how.sampler, steps=walked, times=None)
        folder = out or found.place(to)
        if to == "int8":
            _int8(run, recipe, folder, how, opset=opset, n=n, added=added, ratio=ratio)
        else:
            TARGETS[to](found, folder, how, opset)


def _onnx(found: trained.Trained, folder: Path, how: Drawing, opset: int) -> None:
    from .. import export as exporting

    about = {"shape": found.shape, "scaling": found.scaling, "run": found.folder.name, "opset": opset}
    done = exporting.export(found.model, folder, how=how, **about)  # type: ignore[arg-type]
    _list(done.files)
    typer.echo(str(done.equality))


def _weights(word: str, found: trained.Trained, folder: Path, how: Drawing, opset: int) -> None:
    from .. import export as exporting

    write = {"pt": exporting.to_pt, "diffusers": exporting.to_diffusers}[word]
    _list(write(found.model, folder, how=how, shape=found.shape, scaling=found.scaling, run=found.folder.name))


def _int8(
    run: Path, recipe: str | None, folder: Path, how: Drawing, *, opset: int, n: int, added: float | None, ratio: float
) -> None:
    from .. import export as exporting

    if n < 100:
        raise RangeError(f"--n {n}: at least 100 samples, for a Fréchet distance that says something.")
    done = trained.finished(run, recipe)
    made = exporting.compact(
        done.model, folder, how=how, data=done.experiment.data, run=run.name, samples=n, bound=added, ratio=ratio,
        opset=opset,
    )  # fmt: skip
    typer.echo(made.quality.table())
    kept = ", ".join(made.chosen.floating) or "none"
    typer.echo(f"int8 arithmetic in {len(made.chosen.integer)} layers; float activations in: {kept}")
    _list(made.files)


def _list(files: tuple[Path, ...]) -> None:
    for path in files:
        typer.echo(f"{path.stat().st_size / 1e6:8.2f} MB  {path}")


TARGETS: dict[str, Callable[..., None]] = {
    "onnx": _onnx,
    "int8": _int8,
    "pt": partial(_weights, "pt"),
    "diffusers": partial(_weights, "diffusers"),
}
