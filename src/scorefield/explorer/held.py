"""What a running explorer holds: the run it was given, the models in the box, tables that were sent, and small models it trained."""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .. import box
from ..checkpoints import facts, load
from ..errors import RangeError, RunError, ScorefieldError, UnknownNameError
from ..exact import Density, Empirical
from ..models import Denoiser
from ..recipes.drawing import Drawing
from ..samplers import Langevin
from ..sampling import sample
from . import densities
from .densities import Chosen
from .tables import Table

KEPT = 12
ROWS, SIZE, STEPS = 1000, 0.002, 500
"""How a static score is drawn from that does not say how: so many rows, so many Langevin steps of this size."""


@dataclass(frozen=True)
class Opened:
    """A run as the explorer uses it: its averaged model, on the CPU, and what was recorded with it."""

    name: str
    model: nn.Module
    about: dict[str, Any]
    folder: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape. Raises: RunError if the run does not say."""
        recorded = self.about.get("data", {}).get("shape", getattr(self.model, "shape", None))
        if recorded is None:
            raise RunError(f"run {self.name}: it does not say what shape its events have.")
        return tuple(recorded)

    @property
    def planar(self) -> bool:
        """Whether it is a score of points of the plane: a denoiser, or a static score, which answers each with two numbers."""
        if self.shape != (2,) or isinstance(self.model, Denoiser):
            return self.shape == (2,)
        try:
            return self.model(torch.zeros(1, 2)).shape == (1, 2)
        except (TypeError, RuntimeError, ScorefieldError):
            return False

    @property
    def level(self) -> float | None:
        """The one noise level that a static score knows: the sigma recorded with it, or 0. None for a denoiser, which knows many."""
        return None if isinstance(self.model, Denoiser) else float(self.about.get("sigma", 0.0))

    @property
    def drawing(self) -> Drawing | None:
        """How it draws, as was recorded with it; None if that was not, or without a sampler for a static score."""
        how = self.about.get("sampling")
        return how if how is not None and (self.level is None or how.sampler is not None) else None

    def draws(self) -> Float[Tensor, "rows 2"]:
        """Points that it draws. Raises: DivergedError for a static score that Langevin steps leave."""
        with torch.no_grad():
            if self.drawing is not None:
                return self.drawing.sample(self.model, densities.MOST_ROWS, shape=(2,))
            if self.level is None:
                return sample(self.model, densities.MOST_ROWS, shape=(2,))
            return sample(self.model, ROWS, sampler=Langevin(SIZE), steps=STEPS, shape=(2,))

    @property
    def density(self) -> Chosen:
        """The density that it learned: that of its recipe, where that is a toy with its usual numbers, else its own draws."""
        recipe = self.about.get("recipe")
        return Chosen(name=recipe if recipe in densities.TOYS else "run")


@dataclass
class Kept:
    """The last few values by key, made once each."""

    most: int = KEPT
    values: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def get(self, key: str) -> Any:
        """The value of a key, or None."""
        with self.lock:
            if key in self.values:
                self.values.move_to_end(key)
            return self.values.get(key)

    def put(self, key: str, value: Any) -> Any:
        """Keeps a value, and lets the one go that was not asked for longest."""
        with self.lock:
            self.values[key] = value
            while len(self.values) > self.most:
                self.values.popitem(last=False)
        return value


class Held:
    """The state of one explorer. ``run`` is the run it was started with, a folder or a name in the box, or None.

    >>> Held().density(Chosen(name="moons")).shape
    (2,)
    """

    def __init__(self, run: Path | None = None):
        self.given = None if run is None else _opened(box.place(run), str(run))
        self._tables = Kept()
        self.models = Kept()
        self._densities = Kept()
        self._runs = Kept()

    def keep(self, table: Table) -> None:
        """Keeps a table that was sent, and the last few before it."""
        self._tables.put(table.id, table)

    @property
    def tables(self) -> dict[str, Table]:
        """The tables that were sent, by their ids."""
        return dict(self._tables.values)

    def about(self) -> dict[str, Any]:
        """What the page needs to know before it draws: the version, and which runs there are."""
        from .. import __version__

        given = [] if self.given is None else [self.given]
        boxed = [self.opened(name) for name in box.names() if not given or name != given[0].name]
        runs = [_described(each) for each in (*given, *boxed)]
        return {"version": __version__, "run": None if self.given is None else self.given.name, "runs": runs}

    @property
    def opening(self) -> str:
        """The link to open first: the field of the run that was given, its images, or the plain page."""
        if self.given is None:
            return ""
        if self.given.planar:
            return f"#/field?density={self.given.density.name}&method=run"
        return "#/images" if len(self.given.shape) == 3 else ""

    def opened(self, name: str = "") -> Opened:
        """The run of this name: that which the explorer was given, or one in the box; "" is the given one.

        Raises: UnknownNameError.
        """
        if self.given is not None and name in ("", self.given.name):
            return self.given
        if name not in box.names():
            known = [*box.names(), *([self.given.name] if self.given else [])]
            raise UnknownNameError(f"run {name!r}: this explorer holds {', '.join(known) or 'no run'}.")
        return self._runs.get(name) or self._runs.put(name, _opened(box.place(name), name))

    def planar(self, name: str = "") -> Opened:
        """The run of this name if it is a score of the plane; "" is the given one, or the first such in the box.

        Raises: RangeError for a run of other data; UnknownNameError if there is none.
        """
        if not name and (self.given is None or not self.given.planar):
            name = next((each for each in box.names() if self.opened(each).planar), "")
        found = self.opened(name)
        if not found.planar:
            raise RangeError(
                f"run {found.name}: events of shape {found.shape}; a field is drawn of scores of the plane, shape (2,)."
            )
        return found

    def density(self, chosen: Chosen, run: str = "") -> Density:
        """The chosen density, made once. Raises: as `densities.of_table`; as `planar` for the density of a run."""
        key = f"{chosen.key} {run}" if chosen.name == "run" else chosen.key
        return self._densities.get(key) or self._densities.put(key, self._made(chosen, run))

    def _made(self, chosen: Chosen, run: str) -> Density:
        if chosen.name == "table":
            return densities.of_table(self.tables, chosen)
        if chosen.name == "run":
            return Empirical(self.planar(run).draws())
        return densities.toy(chosen)


def _opened(folder: Path, name: str) -> Opened:
    """Raises: RunError, DamagedError; RunError for a run that does not say what its events are."""
    found = Opened(name, load(folder).cpu().requires_grad_(False), facts(folder), Path(folder))
    _ = found.shape
    return found


def _described(run: Opened) -> dict[str, Any]:
    recipe = run.about.get("recipe", "")
    density = run.density.name if run.planar else None
    level = run.level if run.planar else None
    return {
        "name": run.name,
        "shape": run.shape,
        "recipe": recipe,
        "planar": run.planar,
        "density": density,
        "level": level,
    }
