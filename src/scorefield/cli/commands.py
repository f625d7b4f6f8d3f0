"""The commands on a trained run: ``sample``, ``evaluate``, ``doctor``."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from .. import box, files, plots
from .. import doctor as checks
from ..checkpoints import Run as Kept
from ..data import open_data
from ..errors import RangeError, RunError, ShapeError, unknown
from ..recipes import pictures
from ..recipes.find import names
from ..recipes.measure import Measures, distances, table
from ..recipes.table import csv
from . import trained
from .named import known, sampler
from .told import told

Run = Annotated[
    Path,
    typer.Argument(help="the folder of a run, or a model of the box: " + ", ".join(box.names()), show_default=False),
]
File = Annotated[str | None, typer.Option("--recipe", help="the .py file of your own recipe, if one made the run")]


def sample(
    run: Run,
    n: Annotated[int, typer.Option("--n", "-n", help="number of samples")] = 16,
    steps: Annotated[int | None, typer.Option(help="steps of the walk; by default what the recipe chose")] = None,
    name: Annotated[
        str | None,
        typer.Option("--sampler", help='such as heun or "Ancestral(eta=0.5)"; by default what the recipe chose'),
    ] = None,
    seed: Annotated[int, typer.Option(help="sample i of a seed is the same whatever n is")] = 0,
    label: Annotated[
        int | None, typer.Option(help="the class to draw, for runs on labelled data; by default all, evenly")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="a .png picture, or numbers in the data's units as .npy, .npz or .csv", show_default=False),
    ] = None,
    recipe: File = None,
) -> None:
    """Draw new samples from a trained run."""
    with told():
        found = trained.opened(run, recipe)
        how = found.sampling
        if name or steps is not None:
            walked = how.steps if steps is None else steps
            how = replace(how, sampler=sampler(name) if name else how.sampler, steps=walked, times=None)
        seen = pictures.are_images(found.shape) or found.shape == (2,)
        path = out or found.place(f"drawn-{seed}.{'png' if seen else 'csv'}")
        write = _writer(path, found)
        write(how.sample(found.model, n, shape=found.shape, seed=seed, label=label))
        typer.echo(f"{n} samples in {path}")
        if out is None:
            one = "" if how.classes is None else " --label 3 (one class),"
            typer.echo(f"Others: --seed {seed + 1},{one} -n {4 * n}; as numbers: --out samples.npy")


sample.__doc__ = f"{sample.__doc__}\n\n    Samplers: {', '.join(kind.__name__ for kind in known().values())}."


def tune(
    run: Run,
    steps: Annotated[int, typer.Option(help="steps of the walks that the times are for")] = 10,
    recipe: File = None,
) -> None:
    """Fit the times of a walk to a trained run and keep them in it: ``sample RUN --steps`` so many then uses them."""
    with told():
        found = trained.opened(run, recipe)
        how = replace(found.sampling, steps=steps, times=None).tuned(found.model, steps, shape=found.shape)
        if box.results(run) != box.place(run):
            raise RunError(
                f"{run} came with the package, where nothing is kept: make it yours by scorefield pack {run} --out runs/mine."
            )
        with Kept.open(run) as kept:
            kept.amend(sampling=replace(found.sampling, fitted=how.fitted))
        typer.echo(f"times of {steps} steps, kept in {run}: {' '.join(f'{float(t):.3g}' for t in how.fitted[-1])}")


def evaluate(
    run: Run,
    data: Annotated[
        str | None,
        typer.Option(help="compare with these data instead: a file, a folder, digits, hf:NAME", show_default=False),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", "-n", help="number of samples to judge; by default the recipe's")
    ] = None,
    recipe: File = None,
) -> None:
    """Say how good a trained run's samples are, beside what real data get in the same place."""
    with told():
        if n is not None and n < 2:
            raise RangeError(f"--n {n}: at least 2 samples are needed.")
        if data is None:
            done = trained.finished(run, recipe)
            done.experiment.evaluate(done if n is None else replace(done, count=n), typer.echo)
        else:
            typer.echo(table(_compared(trained.opened(run, recipe), data, n or 1000)))


def doctor(
    target: Annotated[
        str, typer.Argument(help="data, a recipe with its options, or the folder of a run", metavar="DATA|RECIPE|RUN")
    ],
    recipe: File = None,
) -> None:
    """Look for what goes wrong with data, with a recipe before it is trained, or with a trained run."""
    with told():
        if (box.place(target) / "run.json").exists():
            report(checks.examine(trained.finished(Path(target), recipe)))
        elif Path(target).exists() or ":" in target or target in ("digits8",):
            report(checks.examine(open_data(target)))
        else:
            raise unknown("doctor's target", target, [*names(), "digits8", "hf:NAME", "a file", "a folder"])


def report(findings: list[Any]) -> None:
    """The findings, one a line, and how many of them matter."""
    for finding in findings:
        typer.echo(str(finding))
    bad = sum(finding.verdict is checks.Verdict.BAD for finding in findings)
    typer.echo(f"{len(findings)} looked at, {bad} bad.")


def _compared(found: trained.Trained, data: str, n: int) -> Measures:
    source = open_data(data)
    if source.shape != found.shape:
        raise ShapeError(f"--data {data}: events of shape {source.shape}; the run's are {found.shape}.")
    rows = found.scaling.to_model(source.scaling.to_data(torch.cat([source.train, source.held_out])))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    half = min(n, len(rows) // 2)
    drawn = found.sampling.sample(found.model, n, shape=found.shape)
    return distances(drawn, rows[order[:half]], [rows[order[half : 2 * half]]])


def _writer(path: Path, found: trained.Trained) -> Callable[[Tensor], object]:
    """What writes samples to a file of this suffix, known before the samples are drawn. Raises: RangeError, ShapeError."""

    def numbers(x: Tensor) -> np.ndarray:
        return found.scaling.to_data(x).numpy()

    def picture(x: Tensor) -> None:
        if pictures.are_images(found.shape):
            plots.sheet(x, path)
        elif found.shape == (2,):
            plots.save(plots.scatter(x, title=f"{len(x)} samples"), path)
        else:
            raise ShapeError(f"--out {path}: events of shape {found.shape} make no picture; take .npy or .csv.")

    def array(x: Tensor) -> None:
        stream = io.BytesIO()
        np.save(stream, numbers(x)) if path.suffix == ".npy" else np.savez_compressed(stream, x=numbers(x))
        files.replace(path, stream.getvalue())

    def lines(x: Tensor) -> None:
        columns = tuple(found.about.get("data", {}).get("columns", ()))
        files.replace(path, csv(torch.from_numpy(numbers(x)).flatten(1), columns))

    writers = {".png": picture, ".npy": array, ".npz": array, ".csv": lines}
    if path.suffix not in writers:
        raise RangeError(f"--out {path}: suffix {path.suffix!r}; one of {', '.join(writers)} wanted.")
    if path.suffix == ".png" and not pictures.are_images(found.shape) and found.shape != (2,):
        raise ShapeError(f"--out {path}: events of shape {found.shape} make no picture; take .npy or .csv.")
    return writers[path.suffix]
