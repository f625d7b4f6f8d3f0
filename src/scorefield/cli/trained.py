"""What the commands need of a run: its model, how it was sampled, and its recipe called again.

A run of one's own recipe needs that file again, with ``--recipe``: a folder's word alone makes no code run.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import box, files
from ..checkpoints import facts, load
from ..data import Scaling
from ..errors import RangeError, RunError
from ..guidance import Classifier
from ..recipes.drawing import Drawing
from ..recipes.experiment import Finished
from ..recipes.find import Recipe, find, names


@dataclass(frozen=True)
class Trained:
    """A run as it was recorded, with its averaged model on the device there is."""

    folder: Path
    model: nn.Module
    about: dict[str, Any]

    def place(self, name: str) -> Path:
        """Where a file made from the run goes: into its folder, or into ``runs/box/NAME``. Raises: StorageError."""
        folder = box.results(self.folder)
        with files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape."""
        recorded = self.about.get("data", {}).get("shape", getattr(self.model, "shape", None))
        if recorded is None:
            raise RunError(f"run {self.folder}: it does not say what shape its events have; save it with data={{...}}.")
        return tuple(recorded)

    @property
    def scaling(self) -> Scaling:
        """The way to the data's units."""
        return self.about.get("scaling", Scaling.identity())

    @property
    def sampling(self) -> Drawing:
        """How the recipe chose to draw. Raises: RunError for a classifier, which draws nothing."""
        if isinstance(self.model, Classifier):
            raise RunError(
                f"run {self.folder}: a classifier draws nothing; it guides a model of the same data, as guidance.Tilt(model, it)."
            )
        return self.about.get("sampling", Drawing())


def trust(recipe: str | None) -> tuple[str, ...]:
    """The packages whose classes may be built: scorefield, and the file of one's own recipe."""
    return ("scorefield",) if recipe is None else ("scorefield", find(recipe).__module__.partition(".")[0])


def opened(folder: Path, recipe: str | None = None) -> Trained:
    """The run of a folder. Raises: RunError, DamagedError; RangeError if its model needs the file of its recipe."""
    trusted = trust(recipe)
    try:
        about, model = facts(folder, trust=trusted), load(folder, trust=trusted)
    except RangeError as error:
        raise RangeError(f"{error} If the recipe was your own, add --recipe path/to/recipe.py.") from error
    return Trained(folder, model.to(device()), about)


def recipe_of(about: dict[str, Any], folder: Path, recipe: str | None = None) -> Recipe:
    """The recipe that made a run. Raises: RunError if it must be named."""
    word = recipe or about.get("recipe")
    if word is None:
        raise RunError(f"run {folder}: no recipe made it; name one with --recipe.")
    if recipe is None and word not in names():
        raise RunError(f"run {folder}: your own recipe made it ({word}); to let that file run, add --recipe {word}.")
    return find(word)


def finished(folder: Path, recipe: str | None = None) -> Finished:
    """The recipe called again with the recorded arguments, and the model as the run describes it.

    Raises: RunError if the folder is no run, or of a recipe that trains several models.
    """
    about = facts(folder, trust=trust(recipe))
    experiment: Any = recipe_of(about, folder, recipe)(**about.get("arguments", {}))
    if not hasattr(experiment, "finished"):
        raise RunError(f"run {folder}: its recipe is no single experiment; what it measured is in report.json.")
    done: Finished = experiment.finished(folder)
    return replace(done, model=load(folder, trust=trust(recipe)).to(device()))


def device() -> str:
    """Where the commands compute."""
    return "cuda" if torch.cuda.is_available() else "cpu"
