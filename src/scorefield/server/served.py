"""What is served: a run's model, its units, how it draws, and what it can and cannot be asked for."""

import inspect
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import box
from ..checkpoints import facts, load
from ..data import Scaling
from ..distillation import Renoise
from ..errors import RangeError, RunError
from ..guidance import Classifier
from ..models import Denoiser, require_independent_rows
from ..recipes.drawing import Drawing
from ..recipes.find import find
from ..samplers import Langevin, Sampler, default
from ..samplers.named import known

STUDENT = "a few-step student jumps to the data: its answers are no averages E[x_0 | x_t], so it has no "


@dataclass(frozen=True)
class Served:
    """A run, opened to be served: ``shape`` of an event, ``scaling`` to the data's units, ``drawing`` as its recipe chose.

    >>> moons = Served.open("moons")
    >>> moons.shape, moons.cannot("completion")
    ((2,), None)
    """

    name: str
    model: nn.Module
    about: dict[str, Any]
    card: str | None = None

    @classmethod
    def open(cls, run: str | Path, recipe: str | None = None) -> "Served":
        """The run of a folder, or a model of the box.

        Raises: RunError, DamagedError; RangeError if its model needs the file of its recipe; RunError for a run that draws nothing;
        RowsError for a model whose rows see each other.
        """
        trust = ("scorefield",) if recipe is None else ("scorefield", find(recipe).__module__.partition(".")[0])
        folder = box.place(run)
        try:
            about, model = facts(folder, trust=trust), load(folder, trust=trust)
        except RangeError as error:
            raise RangeError(f"{error} If the recipe was your own, add --recipe path/to/recipe.py.") from error
        if isinstance(model, Classifier):
            raise RunError(f"run {run}: a classifier draws nothing; serve the model that it guides.")
        card = folder / "card.md"
        place = "cuda" if torch.cuda.is_available() else "cpu"
        words = card.read_text() if card.exists() else None
        served = cls(Path(run).name, model.to(place).requires_grad_(False), about, words)
        if not served.shape:
            raise RunError(f"run {run}: it does not say what shape its events have, so nothing can be asked of it.")
        two = next((each for each in model.parameters()), torch.empty(0)).new_ones(2, *served.shape)
        times = (torch.tensor(0.5, dtype=torch.float64),) if isinstance(model, Denoiser) else ()
        require_independent_rows(model, torch.stack([two[0], -two[1]]), *times)
        return served

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The event shape; () if the run does not tell."""
        return tuple(self.about.get("data", {}).get("shape", getattr(self.model, "shape", None) or ()))

    @cached_property
    def scaling(self) -> Scaling:
        """The way to the data's units."""
        return self.about.get("scaling", Scaling.identity())

    @cached_property
    def drawing(self) -> Drawing:
        """How the recipe chose to draw."""
        return self.about.get("sampling", Drawing())

    @property
    def student(self) -> Renoise | None:
        """The walk of a few-step student; None for any other model."""
        return self.drawing.sampler if isinstance(self.drawing.sampler, Renoise) else None

    @property
    def sampler(self) -> Sampler:
        """The sampler that draws unless another is asked for."""
        return self.drawing.sampler or (default(self.drawing.steps) if isinstance(self.model, Denoiser) else Langevin())

    @cached_property
    def samplers(self) -> tuple[type[Sampler], ...]:
        """The samplers that walk such a model: a denoiser's take no static score, and those of static scores no denoiser."""
        if self.student:
            return (type(self.student),)
        wanted = isinstance(self.model, Denoiser)
        return tuple(kind for kind in known().values() if (_model_of(kind) is Denoiser) == wanted)

    def require_walks(self, sampler: Sampler) -> None:
        """Raises: RangeError for a sampler that does not walk such a model, or holds one that does not."""
        if not isinstance(sampler, self.samplers):
            names = ", ".join(each.__name__ for each in self.samplers)
            raise RangeError(
                f"sampler {sampler}: it does not walk a {type(self.model).__name__}; one of {names} wanted."
            )
        for part in vars(sampler).values():
            if isinstance(part, Sampler):
                self.require_walks(part)

    @property
    def classes(self) -> int | None:
        """Number of labels; None for a run without."""
        return self.drawing.classes if isinstance(self.model, Denoiser) else None

    @property
    def top(self) -> float | None:
        """The largest σ/α of its noise; None for a static score."""
        if not isinstance(self.model, Denoiser):
            return None
        return float(self.model.noise.ratio(torch.ones((), dtype=torch.float64)))

    @property
    def log_scale(self) -> float:
        """Σ log scale over the event: what log p loses in nats on the way to the data's units."""
        scale = torch.as_tensor(self.scaling.scale, dtype=torch.float64)
        return float(scale.log().expand(self.shape).sum())

    def cannot(self, what: str) -> str | None:
        """Why this run cannot do something; None if it can."""
        if what in ("scores", "denoise", "densities", "completion") and self.student:
            ending = {
                "scores": "score.",
                "denoise": "denoised mean.",
                "densities": "density.",
                "completion": "posterior.",
            }
            return f"{STUDENT}{ending[what]} Serve the run it learnt from."
        if what in ("denoise", "densities", "completion") and not isinstance(self.model, Denoiser):
            return f"{type(self.model).__name__} is a static score: it has no noise levels, which this needs; ask for /scores."
        if what == "guidance" and (self.classes is None or self.student):
            return "guidance needs a model of labelled data that was not distilled."
        if what == "label" and self.classes is None:
            return "the run has no labels."
        if what == "sampler" and self.student:
            return "a few-step student walks by renoising only; leave the sampler out."
        return None

    def drawn(self, sampler: Sampler | None, steps: int | None, guidance: float | None) -> Drawing:
        """The drawing of a request: the run's own where nothing else is asked for."""
        how = self.drawing
        if guidance is not None:
            how = replace(how, weight=guidance)
        if sampler is None and (steps is None or steps == how.steps):
            return how
        return replace(how, sampler=sampler or how.sampler, steps=steps or how.steps, times=None)

    def description(self) -> dict[str, Any]:
        """What a client may know, as JSON: the body of GET /model but for limits."""
        numbers = sum(each.numel() for each in self.model.parameters())
        data = {key: value for key, value in self.about.get("data", {}).items() if key in ("name", "columns", "rows")}
        return {
            "name": self.name,
            "kind": "student" if self.student else "denoiser" if isinstance(self.model, Denoiser) else "score",
            "shape": list(self.shape),
            "classes": self.classes,
            "parameters": numbers,
            "noise": str(getattr(self.model, "noise", None)) if isinstance(self.model, Denoiser) else None,
            "largest_level": self.top,
            "shift": _listed(self.scaling.shift),
            "scale": _listed(self.scaling.scale),
            "data": data,
            "recipe": self.about.get("recipe"),
            "versions": self.about["versions"],
            "card": self.card,
            "sampler": str(self.sampler),
            "steps": self.drawing.steps,
            "guidance": self.drawing.weight if self.classes is not None and not self.student else None,
            "samplers": [_told(kind) for kind in self.samplers],
            "cannot": {what: why for what in OPERATIONS if (why := self.cannot(what))},
        }


OPERATIONS = ("samples", "scores", "denoise", "densities", "completion", "label", "guidance", "sampler")


def _listed(value: Any) -> float | list[float]:
    return [float(each) for each in value] if isinstance(value, tuple) else float(value)


def _model_of(kind: type[Sampler]) -> Any:
    return inspect.signature(kind.step).parameters["model"].annotation


def _told(kind: type[Sampler]) -> dict[str, Any]:
    parameters = {each.name: _plain(each.default) for each in inspect.signature(kind).parameters.values()}
    return {
        "name": kind.__name__,
        "parameters": parameters,
        "summary": (inspect.getdoc(kind) or "").partition("\n")[0],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, int | float) else str(value)


def to_data(served: Served, x: Tensor) -> Tensor:
    """x in the data's units, on the CPU, as float32."""
    return served.scaling.to_data(x.cpu()).float()
