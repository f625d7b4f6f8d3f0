"""What int8 costs and what it saves: size, latency, Fréchet distance, denoising error by level, before and after.

The two graphs are given the same noisy held-out rows and draw the same samples of the same seed, so that their difference is known
far better than either figure. A model is called fine if its Fréchet distance is at most 1.2 times that of the float32 graph, and
its denoising error at most twice as large at every level, since a distance of means and covariances does not see everything;
otherwise it gets no name, unless larger bounds are asked for in so many words.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data import Scaling
from ..errors import ExportError, RangeError
from ..metrics import Estimate, frechet_distance
from ..metrics.estimate import mean
from ..plots.style import BLUE, GREEN, GREY, RED, dress, figure, legend
from .backend import session
from .int8 import Noisy
from .program import draws
from .timing import Timing, timed

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from onnx import ModelProto

RATIO = 1.2
WORST = 2.0
Distance = Callable[[Float[Tensor, "n *event"]], Any]


@dataclass(frozen=True)
class Level:
    """Mean |x̂ − x_0|² per number at one noise level, and that of the change |x̂_after − x̂_before|²."""

    ratio: float
    before: Estimate
    after: Estimate
    change: float


@dataclass(frozen=True)
class Backend:
    """One graph's size in bytes, milliseconds of an evaluation for 1 and 64 rows, and its samples' Fréchet distance."""

    size: int
    one: Timing
    many: Timing
    frechet: Estimate


@dataclass(frozen=True)
class Quality:
    """Before and after quantisation; the bounds are the largest ratios of Fréchet distances and of errors that count as fine."""

    before: Backend
    after: Backend
    levels: tuple[Level, ...]
    samples: int
    bound: float = RATIO
    error_bound: float = WORST

    @property
    def worst(self) -> float:
        """The largest ratio of denoising errors, after over before, of all levels."""
        return max(level.after.value / level.before.value for level in self.levels)

    @property
    def ratio(self) -> float:
        """Fréchet distance after over before."""
        return self.after.frechet.value / self.before.frechet.value

    @property
    def fine(self) -> bool:
        """Whether both ratios are within their bounds."""
        return bool(self.ratio <= self.bound and self.worst <= self.error_bound)

    def require_fine(self) -> None:
        """Raises: ExportError, with the figures, for a model that quantisation ruined."""
        if not self.fine:
            raise ExportError(
                f"export --to int8: the Fréchet distance rises from {self.before.frechet} to {self.after.frechet}, {self.ratio:.2f} "
                f"times, and the denoising error up to {self.worst:.2f} times; at most {self.bound:g} and {self.error_bound:g} times "
                "count as fine. The int8 files were not written; quantise fewer layers with a smaller --added, or insist with --ratio."
            )

    def plain(self) -> dict[str, Any]:
        """Everything as JSON data."""
        found = asdict(self)
        return found | {"ratio": self.ratio, "worst": self.worst, "fine": self.fine}

    def table(self) -> str:
        """The figures as lines of text, the levels below."""
        a, b = self.before, self.after
        rows = [
            ("", "float32", "int8", "int8 is"),
            ("size (MB)", f"{a.size / 1e6:.2f}", f"{b.size / 1e6:.2f}", f"{a.size / b.size:.2f}× smaller"),
            ("1 row (ms)", f"{a.one.p50:.2f}", f"{b.one.p50:.2f}", f"{a.one.p50 / b.one.p50:.2f}× faster"),
            ("64 rows (ms)", f"{a.many.p50:.1f}", f"{b.many.p50:.1f}", f"{a.many.p50 / b.many.p50:.2f}× faster"),
            ("Fréchet", str(a.frechet), str(b.frechet), f"{self.ratio:.3f} times"),
            *(
                (f"error at {e.ratio:.3g}", f"{e.before.value:.3g}", f"{e.after.value:.3g}", _change(e))
                for e in self.levels
            ),
        ]
        return "\n".join(f"{name:<16}{one:>16}{two:>16}  {last}".rstrip() for name, one, two, last in rows)

    def picture(self) -> "Figure":
        """Denoising error by level, and size, latency and Fréchet distance as parts of those of float32."""
        made = figure(9.6, 3.4)
        left = dress(
            made.add_subplot(1, 2, 1), title="denoising error on held-out rows",
            xlabel="noise level σ/α", ylabel="mean squared error",
        )  # fmt: skip
        at = [level.ratio for level in self.levels]
        for name, colour, values in (
            ("float32", BLUE, [level.before for level in self.levels]),
            ("int8", RED, [level.after for level in self.levels]),
        ):
            left.errorbar(
                at, [v.value for v in values], yerr=[v.error for v in values], label=name, color=colour, marker="o",
                markersize=3, linewidth=1.4, capsize=2,
            )  # fmt: skip
        left.plot(at, [level.change for level in self.levels], color=GREY, linestyle="--", label="of the change")
        left.set_xscale("log")
        left.set_yscale("log")
        for axis in (left.xaxis, left.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
        legend(left)
        right = dress(made.add_subplot(1, 2, 2), title="int8 as a part of float32", xlabel="part of float32")
        a, b = self.before, self.after
        names = ["size", "1 row", "64 rows", "Fréchet"]
        parts = [b.size / a.size, b.one.p50 / a.one.p50, b.many.p50 / a.many.p50, self.ratio]
        right.barh(range(4), parts, color=[GREEN, BLUE, BLUE, RED], height=0.6)
        for k, part in enumerate(parts):
            right.annotate(f"{part:.2f}", (part, k), (4, 0), textcoords="offset points", va="center", fontsize=8)
        right.axvline(1.0, color=GREY, linewidth=1)
        right.axvline(self.bound, color=RED, linestyle=":", linewidth=1)
        right.set_xlim(0, 1.25 * max(*parts, self.bound))
        right.set_yticks(range(4), names)
        right.invert_yaxis()
        right.grid(visible=False, axis="y")
        return made


def compared(
    before: tuple["ModelProto", "ModelProto"],
    after: tuple["ModelProto", "ModelProto"],
    data: Sequence[Noisy],
    frechet: tuple[Estimate, Estimate],
    *,
    samples: int,
    bound: float = RATIO,
    error_bound: float = WORST,
) -> Quality:
    """Two (denoiser, sampler) pairs of graphs on the same noisy rows, with what `drawn_distance` says of so many samples of each.

    Raises: RangeError for a bound that is not positive.
    """
    if not bound > 0:
        raise RangeError(
            f"compared(bound={bound:g}): the ratio of Fréchet distances must be positive; 1.2 is the usual."
        )
    asked = [session(pair[0].SerializeToString()) for pair in (before, after)]
    one, many = (_times(asked, data[-1], n) for n in (1, 64))
    backends = [
        Backend(len(pair[0].SerializeToString()), one[k], many[k], frechet[k]) for k, pair in enumerate((before, after))
    ]
    levels = tuple(_level(asked, each) for each in data)
    return Quality(backends[0], backends[1], levels, samples, bound, error_bound)


def drawn_distance(
    sampler: "ModelProto", distance: Distance, labels: Int[Tensor, "n"], scaling: Scaling, *, seed: int = 0
) -> Estimate:
    """What ``distance`` says of n samples of a seed, drawn by a sampler's graph with these labels, in the model's units.

    `recipes.fidelity` is the distance for labelled images, `plain_distance` for other data.
    """
    run = session(sampler.SerializeToString())
    noise = sampler.graph.input[0].type.tensor_type.shape.dim
    count, *shape = [each.dim_value for each in noise[1:]]
    parts = []
    for start in range(0, len(labels), 64):
        rows = range(start, min(start + 64, len(labels)))
        given = {"noise": draws(count, tuple(shape), seed, rows).numpy()}
        if len(sampler.graph.input) > 1:
            given["label"] = labels[start : rows.stop].numpy()
        parts.append(scaling.to_model(torch.from_numpy(run.run(None, given)[0])))
    found = distance(torch.cat(parts))
    return Estimate(float(found.value), float(found.error))


def plain_distance(real: Float[Tensor, "m *event"]) -> Distance:
    """Samples -> the Fréchet distance between Gaussians in the space of the data itself, for data without labels.

    >>> plain_distance(torch.randn(100, 2))(torch.randn(100, 2) + 3).value > 5
    True
    """
    return lambda x: frechet_distance(x.flatten(1), real.flatten(1))


def _times(asked: Sequence[Any], level: Noisy, n: int) -> list[Timing]:
    given = {name: np.resize(value, (n, *value.shape[1:])) for name, value in level.inputs.items()}
    contenders = {str(k): partial(run.run, None, given) for k, run in enumerate(asked)}
    found = timed(contenders, calls=200, seconds=8.0)
    return [found[str(k)] for k in range(len(asked))]


def _level(asked: Sequence[Any], level: Noisy) -> Level:
    before, after = (torch.from_numpy(run.run(None, level.inputs)[0]).double() for run in asked)
    errors = [mean((answer - level.clean.double()).square().flatten(1).mean(1)) for answer in (before, after)]
    return Level(level.ratio, errors[0], errors[1], float((after - before).square().mean()))


def _change(level: Level) -> str:
    return f"{level.after.value / max(level.before.value, 1e-30):.2f} times"
