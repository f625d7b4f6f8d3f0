"""What a worker computes: a batch whose row i is a function of its own request alone, whatever it was batched with.

Row j of a request of seed s draws Streams(s, j). The network's arithmetic is the one thing left that a batch could change: matrix
products of few rows may round otherwise than those of many. So the sizes of batches at which the network's answers agree bit for
bit, wherever a row stands, are measured at the start (`agreeing`), and every batch is filled up to one of them. Guided completions
and densities, which differentiate the network, are computed request by request.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..errors import DivergedError, RangeError
from ..guidance import Free, Krylov, Mask, Measurement, MomentMatching
from ..likelihood import log_density
from ..models import Denoiser
from ..recipes.drawing import even_labels
from ..samplers import Ancestral, Langevin, Sampler, State, default
from ..samplers.named import sampler as named
from ..spaces import Euclidean
from ..tensors import Streams, normal
from .served import Served, to_data

Arrays = Mapping[str, np.ndarray]
Show = Callable[[int, float, dict[str, np.ndarray]], None]
FEW = 4
KEPT = 32
ITERATIONS = 4


@dataclass(frozen=True)
class Plan:
    """How a batch of samples is drawn: the model as it is guided, the sampler, the times."""

    model: Any
    sampler: Sampler
    times: Float[Tensor, "times"]


@dataclass(eq=False)
class Engine:
    """The operations on one model. ``largest`` is the most rows of a batch, ``before`` is called ahead of every evaluation.

    ``graph`` is the same denoiser by other means, an `export.OnnxDenoiser`: it computes whatever needs no gradient.

    >>> engine = Engine(Served.open("moons"), largest=4)
    >>> rows = {"seed": np.array([7, 7]), "row": np.array([0, 1]), "label": np.array([-1, -1])}
    >>> both = engine.samples({}, rows)["x"]
    >>> alone = engine.samples({}, {name: each[1:] for name, each in rows.items()})["x"]
    >>> bool((both[1:] == alone).all())
    True
    """

    served: Served
    largest: int = 16
    graph: nn.Module | None = None
    before: Callable[[], None] | None = None
    evaluations: int = 0
    plans: dict[tuple, Plan] = field(default_factory=dict)

    def __post_init__(self):
        if self.largest < 1:
            raise RangeError(f"Engine(largest={self.largest}): a batch has at least 1 row.")
        for each in (self.served.model, self.graph):
            if each is not None:
                each.register_forward_pre_hook(self._count)
                steady(each)

    @property
    def plain(self) -> Any:
        """What computes without gradients."""
        return self.graph if self.graph is not None else self.served.model

    def _count(self, *_: object) -> None:
        self.evaluations += 1
        if self.before is not None:
            self.before()

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The sizes to which batches are filled up."""
        return agreeing(self.served, self.largest, self.plain)

    def compute(
        self, operation: str, options: Mapping[str, Any], arrays: Arrays, show: Show | None = None
    ) -> dict[str, np.ndarray]:
        """One batch: named arrays in, named arrays out, a row each. Raises: as the library."""
        if operation == "samples":
            return self.samples(options, arrays, show)
        return {"scores": self.scores, "denoise": self.denoise, "densities": self.densities}[operation](options, arrays)

    def samples(self, options: Mapping[str, Any], arrays: Arrays, show: Show | None = None) -> dict[str, np.ndarray]:
        """``x``, in the data's units, and the ``label`` of each row."""
        n, completes = len(arrays["row"]), "mask" in arrays
        rows = torch.from_numpy(self._filled(n)) if not completes else torch.arange(n)
        seed, row, label = (torch.from_numpy(arrays[name])[rows] for name in ("seed", "row", "label"))
        plan = self._completion(options, arrays) if completes else self._plan(options)
        streams, cond = Streams(seed, row), {}
        if self.served.classes is not None:
            even = even_labels(self.served.classes, streams)
            label = torch.where(label < 0, self.served.classes if completes else even, label)
            cond = {"label": label.to(self._like.device)}
        empty = self._like.new_empty(len(rows), *self.served.shape)
        if isinstance(plan.model, Denoiser):
            x = plan.model.prior(empty, streams)
        else:
            x = getattr(plan.sampler, "space", Euclidean()).reference(empty, streams)
        for step, state in enumerate(plan.sampler.walk(plan.model, x, plan.times, streams, **cond)):
            if show is not None and step % options.get("every", 1) == 0:
                show(step, float(state.t), self._seen(state, n))
        return {"x": to_data(self.served, state.x[:n]).numpy(), "label": label[:n].numpy()}

    def scores(self, options: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
        """∇ log p_t(x) of x = scale · x_t + shift, in the data's units."""
        x, t, cond = self._points(arrays)
        if isinstance(self.served.model, Denoiser):
            found = self.plain.score(x, t, **cond)
        else:
            found = self.plain(x)
        scale = torch.as_tensor(self.served.scaling.scale, dtype=torch.float64)
        return {"score": (found.detach().cpu().double() / scale).float().numpy()[: len(arrays["x"])]}

    def denoise(self, options: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
        """E[x_0 | x_t], in the data's units."""
        x, t, cond = self._points(arrays)
        return {"x": to_data(self.served, self.plain(x, t, **cond))[: len(arrays["x"])].numpy()}

    def densities(self, options: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
        """log p(x) in nats, of x in the data's units, its standard error, and the parts of that."""
        x = self.served.scaling.to_model(torch.from_numpy(arrays["x"])).to(self._like)
        row = torch.from_numpy(arrays["row"])
        label = torch.from_numpy(arrays["label"])
        cond: dict[str, Any] = {"label": self._null(label)} if self.served.classes is not None else {}
        model: Any = self.served.model
        found = log_density(model, x, steps=options["steps"], generator=Streams(options["seed"], row), **cond)
        parts = {name: getattr(found, name).numpy() for name in ("error", "trace", "solver", "prior", "floor")}
        return {"log_density": (found.value - self.served.log_scale).numpy(), **parts}

    @property
    def _like(self) -> Tensor:
        weights = (each for each in self.served.model.parameters() if each.is_floating_point())
        return next(weights, torch.empty(0))

    def _filled(self, n: int) -> np.ndarray:
        """0 … n − 1, and row 0 again until the batch has one of the agreeing sizes."""
        size = next((each for each in self.sizes if each >= n), n)
        return np.concatenate([np.arange(n), np.zeros(size - n, dtype=np.int64)])

    def _points(self, arrays: Arrays) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        rows = torch.from_numpy(self._filled(len(arrays["x"])))
        x = self.served.scaling.to_model(torch.from_numpy(arrays["x"])[rows]).to(self._like)
        cond = {"label": self._null(torch.from_numpy(arrays["label"])[rows])} if self.served.classes is not None else {}
        return x, self._times(arrays)[rows].to(x.device), cond

    def _times(self, arrays: Arrays) -> Tensor:
        """The time of each row: given, or that of its noise level."""
        t, level = torch.from_numpy(arrays["t"]), torch.from_numpy(arrays["level"])
        if isinstance(self.served.model, Denoiser):
            t = torch.where(level > 0, self.served.model.noise.time(level.clamp(min=0)), t)
        return t

    def _null(self, label: Tensor) -> Tensor:
        """Labels with the network's own "none", its last, for −1."""
        return torch.where(label < 0, self.served.classes or 0, label).to(self._like.device)

    def _plan(self, options: Mapping[str, Any]) -> Plan:
        key = (options.get("sampler"), options.get("steps"), options.get("guidance"))
        if key not in self.plans:
            while len(self.plans) >= KEPT:
                self.plans.pop(next(iter(self.plans)))
            how = self.served.drawn(named(key[0]) if key[0] else None, key[1], key[2])
            sampler = how.sampler or (default(how.steps) if isinstance(self.served.model, Denoiser) else Langevin())
            model = self.plain
            if self.served.classes is not None:
                model = Free(model, how.weight, how.low, how.high)
            times = how.grid if how.grid is not None else sampler.times(model, how.steps)
            self.plans[key] = Plan(model, sampler, times)
        return self.plans[key]

    def _completion(self, options: Mapping[str, Any], arrays: Arrays) -> Plan:
        """Moment matching by conjugate gradients, walked ancestrally: what `scorefield restore` does.

        Without a label the model is asked without one: what is seen tells the class, and a class drawn at random would contradict it.
        """
        mask = torch.from_numpy(arrays["mask"])
        seen = self.served.scaling.to_model(torch.from_numpy(arrays["image"])[None])[0]
        operator = Mask(mask)
        y = operator(torch.where(mask, seen, 0.0)[None])[0]
        model: Any = self.served.model
        if options.get("guidance") is not None:
            how = self.served.drawn(None, None, options["guidance"])
            model = Free(model, how.weight, how.low, how.high)
        guide = MomentMatching(model, Measurement(operator, y.to(self._like), options["noise"]), Krylov(ITERATIONS))
        sampler = named(options["sampler"]) if options.get("sampler") else Ancestral()
        return Plan(guide, sampler, sampler.times(guide, options.get("steps") or 50))

    def _seen(self, state: State, n: int) -> dict[str, np.ndarray]:
        shown = {"x": to_data(self.served, state.x[:n]).numpy()}
        if state.denoised is not None:
            shown["denoised"] = to_data(self.served, state.denoised[:n]).numpy()
        return shown


def require_finite(arrays: Arrays, rows: slice) -> None:
    """Raises: DivergedError if the answer of these rows is not made of finite numbers."""
    for name, array in arrays.items():
        bad = int((~np.isfinite(array[rows])).sum())
        if bad:
            raise DivergedError(
                f"{name}: {bad} of {array[rows].size} numbers are not finite; the input lies too far from the data, "
                "or the noise level is too low for it."
            )


def steady(model: nn.Module) -> None:
    """Linear layers of the model multiply `FEW` rows at least: products of fewer take another path, and round otherwise.

    >>> layer = nn.Linear(64, 64)
    >>> steady(layer)
    >>> layer(torch.ones(1, 64)).shape
    torch.Size([1, 64])
    """
    for each in model.modules():
        if type(each) is nn.Linear:
            each.forward = partial(_multiplied, each)  # type: ignore[method-assign]


def _multiplied(layer: nn.Linear, x: Tensor) -> Tensor:
    if x.ndim != 2 or len(x) >= FEW:
        return functional.linear(x, layer.weight, layer.bias)
    return functional.linear(functional.pad(x, (0, 0, 0, FEW - len(x))), layer.weight, layer.bias)[: len(x)]


def agreeing(served: Served, largest: int, model: Any = None) -> tuple[int, ...]:
    """The powers of two up to ``largest``, and itself, at which the network answers bit for bit as it does at ``largest``; () if none.

    Looked at: one noise level for all rows and one each, with labels and without, every row in every place of its batch.

    >>> agreeing(Served.open("moons"), 4)[-1]
    4
    """
    sizes = sorted({2**k for k in range(largest.bit_length()) if 2**k < largest} | {largest})
    model = served.model if model is None else model
    weights = next((each for each in model.parameters() if each.is_floating_point()), torch.empty(0))
    x = normal(weights.new_empty(largest, *served.shape), Streams(0, range(largest)))
    kept = []
    asked = list(_questions(served, model, x))
    with torch.no_grad():
        wanted = [ask(x, torch.arange(largest)) for ask in asked]
        for size in sizes:
            pieces = [torch.arange(start, start + size) % largest for start in range(0, largest, max(1, size - 1))]
            if all(
                torch.equal(ask(x[rows], rows), right[rows]) for rows in pieces for ask, right in zip(asked, wanted)
            ):
                kept.append(size)
    return tuple(kept) if largest in kept else ()


def _questions(served: Served, model: Any, x: Tensor) -> Iterator[Callable[[Tensor, Tensor], Tensor]]:
    """(x, rows) -> answers: the ways in which a model is asked."""
    if not isinstance(model, Denoiser):
        yield lambda x, rows: model(x)
        return
    labels = torch.arange(len(x)) % (served.classes or 1)
    levels = torch.linspace(0.05, 1.0, len(x), dtype=torch.float64)
    for times in (levels, None):
        for labelled in (False, True)[: 1 + (served.classes is not None)]:

            def ask(x: Tensor, rows: Tensor, times=times, labelled=labelled) -> Tensor:
                t = torch.tensor(0.3, dtype=torch.float64) if times is None else times[rows]
                alpha, sigma = model.noise.at(t, x)
                cond = {"label": labels[rows].to(x.device)} if labelled else {}
                return model((alpha**2 + sigma**2).sqrt() * x, t.to(x.device), **cond)

            yield ask
