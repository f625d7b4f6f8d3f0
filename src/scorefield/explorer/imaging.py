"""Images of a run, as events while they are computed: digits that form, halves that are completed, and ways between two of them.

forming      x_t down the noise levels, beside E[x₀ | x_t], what the model thinks the image will be
completion   draws of p(x | seen part): moment matching (Rozet et al. 2024, section 4, arXiv:2405.13712) or what was seen put
             back after every step (Song et al. 2021, appendix I.2, arXiv:2011.13456)
path         data → noise along the probability flow, a great circle between two noises, and back
             (Song, Meng & Ermon 2021, section 4.3, arXiv:2010.02502)
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import data
from ..data import Dataset
from ..errors import MissingPackageError, RangeError
from ..guidance import Free, Krylov, Mask, Measurement, MomentMatching, Replacement
from ..inversion import invert, restore
from ..metrics.pairs import nearest
from ..models import Denoiser
from ..recipes.drawing import Drawing
from ..recipes.pictures import are_images
from ..samplers import Ancestral, Sampler, State
from ..samplers.langevin import Static
from ..samplers.named import sampler as named
from ..sampling import walk
from .canvas import Image, Images, bytes_of, noisy_bytes
from .held import Held, Opened

Event = dict[str, Any]
Method = Literal["moments", "replacement", "resampling"]
SHIPPED = {"digits": data.digits, "digits8": data.digits8}
SEEN_STD = 0.05
"""Standard deviation of what is seen about what is drawn, in units of pixels from −1 to 1: moment matching needs some."""


@dataclass(frozen=True)
class Pictured:
    """A run of images: its model, and how it was drawn."""

    run: Opened
    model: Denoiser
    drawing: Drawing

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return self.run.shape

    def guided(self, weight: float) -> Denoiser:
        """The model as it is drawn, its labels of this weight."""
        if self.drawing.classes is None:
            return self.model
        return Free(self.model, weight, self.drawing.low, self.drawing.high)

    def labels(self, n: int, seed: int, label: int | None) -> dict[str, Tensor]:
        """The condition of n images: a label for all, None for labels drawn evenly, −1 for no label at all."""
        if self.drawing.classes is None or label == -1:
            return {}
        return {"label": self.drawing.labels(n, seed, label)}

    def named(self, text: str, steps: int) -> tuple[Sampler | None, Float[Tensor, "times"] | None]:
        """(sampler, grid) by name; "" is the run's own.

        Raises: UnknownNameError, RangeError as `samplers.named.sampler`, and for one that walks at one noise level.
        """
        if text:
            chosen = named(text)
            if isinstance(chosen, Static):
                raise RangeError(
                    f"sampler {text}: it walks in one score, and images come down the noise levels; try Heun()."
                )
            return chosen, None
        own = self.drawing
        return own.sampler, own.times if own.steps == steps else None


def pictured(held: Held, name: str = "") -> Pictured:
    """The run of this name if it is a denoiser of images; "" is the given one, or the box's digits.

    Raises: RangeError for a run of other data; UnknownNameError if there is none.
    """
    given = held.given
    if not name and not (given is not None and _pictures(given)):
        name = "digits"
    found = held.opened(name)
    if not _pictures(found):
        raise RangeError(f"run {found.name}: events of shape {found.shape}; images are drawn by denoisers of images.")
    return Pictured(found, found.model, found.about.get("sampling", Drawing()))  # type: ignore[arg-type]


def training_data(run: Opened) -> tuple[Dataset | None, str]:
    """The very data that a run was trained on, and else why they cannot be had.

    >>> training_data(Held().opened("digits"))[0]
    digits: 4500 rows of shape (1, 28, 28), 500 held out
    """
    recorded = run.about.get("data", {})
    name = recorded.get("name", "")
    if name not in SHIPPED:
        return None, f"The training data of {run.name} are not at hand: {name or 'the run does not name them'}."
    try:
        found = _loaded(name)
    except MissingPackageError as error:
        return None, str(error)
    if found.fingerprint != recorded.get("fingerprint"):
        return None, f"The training data of {run.name} are other rows than those installed here as {name}."
    return found, ""


def forming(
    model: Pictured, *, n: int, seed: int, steps: int, sampler: str, label: int | None, weight: float
) -> Iterator[Event]:
    """plan, a state after every step, the nearest training images, end."""
    started = time.monotonic()
    chosen, times = model.named(sampler, steps)
    cond = model.labels(n, seed, label)
    states = walk(
        model.guided(weight),
        n,
        steps=steps,
        sampler=chosen,
        times=times,
        seed=seed,
        shape=model.shape,
        **cond,  # type: ignore[arg-type]
    )
    labels = cond["label"].tolist() if cond else None
    yield from _told(model, states, {"kind": "plan", "steps": steps, "labels": labels}, started)


def completing(
    model: Pictured,
    drawing: Image,
    seen: Bool[Tensor, "channels height width"],
    *,
    n: int,
    seed: int,
    steps: int,
    method: Method,
    label: int | None,
    weight: float,
) -> Iterator[Event]:
    """plan, a state after every step, the nearest training images, end with how far the known part was missed."""
    started = time.monotonic()
    operator = Mask(seen)
    y = operator(drawing[None])[0]
    inner, cond = model.guided(weight), model.labels(n, seed, label)
    way: Sampler
    if method == "moments":
        guide: Denoiser = MomentMatching(inner, Measurement(operator, y, SEEN_STD), Krylov(3))
        way = Ancestral()
    else:
        guide = inner
        way = Replacement(Measurement(operator, y, 0.0), rounds=5 if method == "resampling" else 1)
    states = walk(guide, n, steps=steps, sampler=way, seed=seed, shape=model.shape, **cond)  # type: ignore[arg-type]
    labels = cond["label"].tolist() if cond else None
    plan = {"kind": "plan", "steps": steps, "labels": labels, "seen": seen[0].int().flatten().tolist()}

    def missed(x: Images) -> Event:
        return {"missed": [float(f"{each:.3g}") for each in (operator(x) - y).square().mean(1).sqrt().tolist()]}

    yield from _told(model, states, plan, started, missed)


def between(model: Pictured, ends: Images, *, frames: int, steps: int) -> Iterator[Event]:
    """plan with the two ends, then the images along the way, with the straight mixture of pixels, and the error of there and back."""
    started = time.monotonic()
    yield {"kind": "plan", "ends": bytes_of(ends), "steps": steps}
    noise = invert(model.model, ends, steps=steps)
    yield {"kind": "noise", "noise": noisy_bytes(noise, model.model.noise, torch.ones(()).double())}
    found = restore(model.model, circle(noise, frames), steps=steps)
    share = torch.linspace(0, 1, frames)[:, None, None, None]
    error = (found[[0, -1]] - ends).square().mean().sqrt()
    yield {
        "kind": "path",
        "images": bytes_of(found),
        "mixed": bytes_of((1 - share) * ends[:1] + share * ends[1:]),
        "error": float(error),
        **_beside(model.run, found),
    }
    yield {"kind": "end", "seconds": time.monotonic() - started}


def circle(
    ends: Float[Tensor, "2 channels height width"], frames: int
) -> Float[Tensor, "frames channels height width"]:
    """Points at equal angles on the great circle from one end to the other, sizes in between: slerp.

    Normal draws in many dimensions lie on a sphere, which a straight line between two of them leaves.

    >>> circle(torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]]), 3)[1].norm().round(decimals=6)
    tensor(1.)
    """
    a, b = ends[0].flatten(), ends[1].flatten()
    size = ends.flatten(1).norm(dim=1)
    angle = torch.arccos((a @ b / (size[0] * size[1])).clamp(-1, 1))
    if float(angle.sin().abs()) < 1e-6:
        share = torch.linspace(0, 1, frames)
        return ((1 - share)[:, None] * a + share[:, None] * b).reshape(frames, *ends.shape[1:])
    turned = torch.linspace(0, 1, frames).to(a) * angle
    along = torch.sin(angle - turned)[:, None] * a + torch.sin(turned)[:, None] * b
    return (along / torch.sin(angle)).reshape(frames, *ends.shape[1:])


def examples(model: Pictured, count: int) -> tuple[Images, list[int] | None]:
    """Held-out images evenly from all classes, which no model saw; where the data cannot be had, samples of the model itself."""
    found, _ = training_data(model.run)
    if found is not None:
        rows = torch.linspace(0, len(found.held_out) - 1, count).round().long()
        labels = found.held_out_labels
        return found.held_out[rows], None if labels is None else labels[rows].tolist()
    drawn = model.drawing.sample(model.model, count, shape=model.shape)
    return drawn, None


def _told(
    model: Pictured,
    states: Iterator[State],
    plan: Event,
    started: float,
    more: Callable[[Images], Event] = lambda x: {},
) -> Iterator[Event]:
    noise = model.model.noise
    for k, state in enumerate(states):
        if k == 0:
            yield plan | {"noisy": noisy_bytes(state.x, noise, state.t), "sigma": float(noise.ratio(state.t))}
            continue
        event = {
            "kind": "state",
            "step": k,
            "sigma": float(noise.ratio(state.t)),
            "noisy": noisy_bytes(state.x, noise, state.t),
        }
        yield event | ({} if state.denoised is None else {"clean": bytes_of(state.denoised)})
    yield {
        "kind": "end",
        "images": bytes_of(state.x),
        "seconds": time.monotonic() - started,
        **_beside(model.run, state.x),
        **more(state.x),
    }


def _beside(run: Opened, x: Images) -> Event:
    found, why = training_data(run)
    if found is None:
        return {"nearest": None, "why": why}
    distance, index = nearest(x.flatten(1), found.train.flatten(1))
    return {
        "nearest": bytes_of(found.train[index[:, 0]]),
        "distances": [float(f"{each:.4g}") for each in distance[:, 0].tolist()],
        "usual": _usual(found.name),
    }


@lru_cache(maxsize=2)
def _loaded(name: str) -> Dataset:
    return SHIPPED[name]()


@lru_cache(maxsize=2)
def _usual(name: str) -> float:
    """The median distance of a held-out image to the training images: how near new images come by chance."""
    found = _loaded(name)
    distance, _ = nearest(found.held_out.flatten(1), found.train.flatten(1))
    return float(f"{float(distance[:, 0].median()):.4g}")


def _pictures(run: Opened) -> bool:
    return are_images(run.shape) and isinstance(run.model, Denoiser)
