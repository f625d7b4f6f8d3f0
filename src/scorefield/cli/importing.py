"""``scorefield import FOLDER``: what diffusers saved, as a run."""

from pathlib import Path
from typing import Annotated

import typer

from ..checkpoints import save
from ..data import open_data
from ..errors import ShapeError
from .told import told


def importing(
    folder: Annotated[Path, typer.Argument(help="a UNet2DModel and its scheduler, as diffusers saved them")],
    out: Annotated[Path, typer.Option(help="folder of the new run", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(
            help="data like those it was trained on, to verify what it predicts: a file, a folder, digits, hf:NAME"
        ),
    ] = None,
) -> None:
    """Read a diffusers model as a run, the meaning of its network verified against its scheduler, and on data if given."""
    from .. import export as exporting

    with told():
        rows = None if data is None else open_data(data)
        found = exporting.from_diffusers(folder, None if rows is None else rows.train)
        if rows is not None and rows.shape != found.shape:
            raise ShapeError(f"--data {data}: events of shape {rows.shape}; the model's are {found.shape}.")
        about = {"name": folder.name, "shape": found.shape, "columns": ()}
        save(found.model, out, data=about, scaling=found.scaling, sampling=found.how, imported=folder.name)
        typer.echo(
            f"{type(found.model).__name__} of events {found.shape} in {out}; within {found.error:.1e} of its scheduler's formulas"
        )
