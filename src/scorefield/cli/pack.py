"""``scorefield pack RUN --out FOLDER``: a small copy of a run to hand over, with a fresh report, a picture and a card.

What the card says is measured of the copy, after the rounding of its weights. The models in the `box` were made by it.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .. import box, files, plots
from ..checkpoints import copy, facts
from ..errors import RangeError
from ..recipes import pictures
from ..recipes.card import card
from . import trained
from .commands import File, Run
from .told import told


def pack(
    run: Run,
    out: Annotated[
        Path, typer.Option(help="the new folder: a run without the state to continue it", show_default=False)
    ],
    half: Annotated[bool, typer.Option("--half", help="round the weights to half precision")] = False,
    steps: Annotated[
        int | None, typer.Option(help="steps that it draws in unless told otherwise; by default those of the run")
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(help="Markdown for the card, such as licence, limits and use", show_default="notes.md of the run"),
    ] = None,
    recipe: File = None,
) -> None:
    """Make a small copy of a run to hand over: weights, a fresh report, a picture and a card."""
    with told():
        if out.exists():
            raise RangeError(f"--out {out}: it is there already; name a new folder.")
        words = _notes(run, notes)
        trust = trained.trust(recipe)
        with files.replace_folder(out) as folder:
            how = (
                {}
                if steps is None
                else {"sampling": replace(trained.opened(run, recipe).sampling, steps=steps, times=None)}
            )
            copy(run, folder, half=half, trust=trust, **how)
            if "recipe" in facts(folder, trust=trust):
                _evaluated(folder, recipe)
            _picture(trained.opened(folder, recipe), folder / "samples.png")
            if words:
                files.replace(folder / "notes.md", words.encode())
            files.replace(folder / "card.md", card(folder, name=out.name, notes=words, trust=trust).encode())
        typer.echo(
            f"{sum(path.stat().st_size for path in out.iterdir()):,} bytes in {out}; its card is {out / 'card.md'}"
        )


def _notes(run: Path, notes: Path | None) -> str:
    path = notes or box.place(run) / "notes.md"
    if notes is not None and not notes.is_file():
        raise RangeError(f"--notes {notes}: no file of that name.")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _evaluated(folder: Path, recipe: str | None) -> None:
    """The report of the recipe in the folder; its pictures are for those who evaluate again."""
    with tempfile.TemporaryDirectory() as scratch:
        done = replace(trained.finished(folder, recipe), folder=Path(scratch))
        done.experiment.evaluate(done, typer.echo)
        files.replace(folder / "report.json", (Path(scratch) / "report.json").read_bytes())


def _picture(found: trained.Trained, path: Path) -> None:
    """64 images or 2,000 points, as ``sample`` draws them; nothing for events that make no picture."""
    if pictures.are_images(found.shape):
        plots.sheet(found.sampling.sample(found.model, 64, shape=found.shape), path, columns=16)
    elif found.shape == (2,):
        plots.save(plots.scatter(found.sampling.sample(found.model, 2000, shape=found.shape)), path)
