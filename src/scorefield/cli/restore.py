"""``scorefield restore RUN``: images seen in part, through a blur or coarsely, and the posterior draws of a trained run."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from .. import plots
from ..errors import RangeError, ShapeError, unknown
from ..models import Denoiser
from ..recipes import pictures
from ..recipes.restore import MEASUREMENTS, restored
from . import trained
from .commands import File, Run
from .told import told


def restore(
    run: Run,
    measurement: Annotated[str, typer.Option(help="mask (the lower half is hidden), blur or downsample")] = "mask",
    n: Annotated[int, typer.Option("--n", "-n", help="number of held-out images")] = 6,
    noise: Annotated[
        float, typer.Option(help="standard deviation of the measurement's noise, in [-1, 1] units")
    ] = 0.05,
    draws: Annotated[int, typer.Option(help="posterior draws of each; four are shown")] = 16,
    steps: Annotated[int, typer.Option(help="steps of the walk")] = 50,
    seed: Annotated[int, typer.Option(help="of the measurement's noise and of the draws")] = 0,
    out: Annotated[Path | None, typer.Option(help="a .png picture", show_default=False)] = None,
    recipe: File = None,
) -> None:
    """Restore held-out images from a measurement of them: posterior draws, their mean and spread."""
    with told():
        if measurement not in MEASUREMENTS:
            raise unknown("measurement", measurement, MEASUREMENTS)
        if n < 1 or not noise > 0:
            raise RangeError(f"restore(n={n}, noise={noise:g}): at least 1 image, and noise above 0.")
        done = trained.finished(run, recipe)
        held_out, model = done.experiment.data.held_out, done.model
        truth = held_out[torch.linspace(0, len(held_out) - 1, min(n, len(held_out)) + 2).long()[1:-1]]  # of every class
        if not pictures.are_images(tuple(truth.shape[1:])) or not isinstance(model, Denoiser):
            raise ShapeError(
                f"run {run}: events of shape {tuple(truth.shape[1:])}; restore works on denoisers of images."
            )
        operator = MEASUREMENTS[measurement](tuple(truth.shape[1:]))
        found = restored(model, truth, operator, std=noise, draws=draws, steps=steps, seed=seed)
        path = plots.save(found.picture(min(4, draws)), out or done.place(f"restored-{measurement}.png"))
        typer.echo(f"{measurement}: {found.table()}; picture in {path}")
