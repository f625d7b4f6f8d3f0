"""Does the graph give what the model gives? Asked at every export, of both graphs, before a file gets its name.

In the model's units, where data are of size one, with x̂ and ends of walks in PyTorch's float64 as the truth:

    denoiser   max |graph − truth| ≤ tolerance at the levels of the walk, on noisy samples
    sampler    max |graph − truth| ≤ max(tolerance, 10 nudge, 10 max |PyTorch's float32 − truth|) for each sample

and row i of a batch is what it is alone. The nudge is how far the truth itself moves when every draw becomes the next number that
float32 has: a walk near the border between two images amplifies the last digits of its draws a thousandfold, and with them
those of a network that computes in float32, PyTorch's as any other. The report counts such samples.
"""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data import Scaling
from ..errors import ExportError
from ..models import Denoiser
from .backend import session
from .graph import classes_of, in_float32
from .program import Program, draws

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 1e-4
SLACK = 10.0


@dataclass(frozen=True)
class Equality:
    """Largest differences between graph and PyTorch, in the model's units, over ``samples`` walks and their calls.

    ``denoiser`` and ``sampler`` are against float64, ``to_float32`` is the sampler's against PyTorch's float32, ``rounding`` what
    PyTorch's own float32 walk loses, ``typical`` the median over samples, ``beyond`` how many samples are above the tolerance, and
    ``nudged`` how far those move in float64 when each of their draws becomes the next float32 number.
    """

    denoiser: float
    sampler: float
    to_float32: float
    typical: float
    rounding: float
    beyond: int
    samples: int
    tolerance: float
    nudged: float = 0.0

    def __str__(self) -> str:
        text = (
            f"against PyTorch, in the model's units: denoiser {self.denoiser:.1e}, sampler {self.sampler:.1e} "
            f"(median sample {self.typical:.1e}; PyTorch's own float32: {self.rounding:.1e})"
        )
        if not self.beyond:
            return text
        return text + (
            f"; {self.beyond} of {self.samples} above {self.tolerance:g}: there float64 itself moves by {self.nudged:.1e} when each "
            "draw becomes the next float32 number"
        )


@torch.no_grad()
def require_equal(
    model: Denoiser,
    walk: Program,
    labels: Int[Tensor, "n"] | None,
    scaling: Scaling,
    denoiser: "ModelProto",
    sampler: "ModelProto",
    *,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    n: int = 16,
) -> Equality:
    """The differences between the graphs and the model over n samples of a seed; ``labels`` are theirs.

    Raises: ExportError if the graphs answer otherwise than the model, or mix the rows of a batch.
    """
    single = cast(Denoiser, in_float32(model))
    double = copy.deepcopy(single).double()
    shape = tuple(sampler.graph.output[0].type.tensor_type.shape.dim[k + 1].dim_value for k in range(_rank(sampler)))
    noise = draws(walk.draws, shape, seed, range(n))
    classes = classes_of(model)
    labels = labels if classes else None
    asked, worst = session(denoiser.SerializeToString()), 0.0

    def compared(x: Tensor, t: Tensor, **cond: Any) -> Tensor:
        nonlocal worst
        answer = double(x, t, **cond)
        given = {"x": x.float(), "t": t.double().expand(len(x))}
        if labels is not None:
            given["label"] = cond.get("label", torch.full((len(x),), classes or 0))
        found = _run(asked, **given)
        worst = max(worst, float((found - double(x.float().double(), t, **cond)).abs().max()))
        return answer

    truth = walk.run(compared, noise.double(), labels)
    _require(worst <= tolerance, f"the denoiser's graph differs from PyTorch by {worst:.2g}", tolerance)
    plain = walk.run(single, noise, labels)
    whole = session(sampler.SerializeToString())
    given = {"noise": noise} | ({} if labels is None else {"label": labels})
    found = scaling.to_model(_run(whole, **given))
    errors = (found - truth).abs().flatten(1).amax(1)
    rounding = (plain - truth).abs().flatten(1).amax(1)
    alone = scaling.to_model(_run(whole, **{name: value[-1:] for name, value in given.items()}))
    mixed = float((alone - found[-1:]).abs().max())
    beyond = ~(errors <= tolerance)
    doubtful = beyond | (torch.arange(n) == n - 1) & (mixed > tolerance)
    nudged = torch.zeros_like(errors)
    if bool(doubtful.any()):
        nudged[doubtful] = _nudged(double, walk, noise[doubtful], None if labels is None else labels[doubtful])
    allowed = (SLACK * torch.maximum(nudged, rounding)).clamp(min=tolerance)
    bad = (errors > allowed).nonzero().flatten().tolist()
    largest = float(errors.nan_to_num(nan=float("inf")).max())
    _require(
        not bad and largest < float("inf"),
        f"the sampler's graph differs from PyTorch by {largest:.2g} in {len(bad)} of {n} samples", tolerance,
    )  # fmt: skip
    _require(mixed <= float(allowed[-1]), f"the last sample changes by {mixed:.2g} when drawn alone", tolerance)
    return Equality(
        worst, largest, float((found - plain).abs().max()), float(errors.median()), float(rounding.max()),
        int(beyond.sum()), n, tolerance, float(nudged[beyond].max()) if bool(beyond.any()) else 0.0,
    )  # fmt: skip


def _nudged(model: Denoiser, walk: Program, noise: Tensor, labels: Tensor | None) -> Float[Tensor, "n"]:
    """How far the ends of these walks move, in float64, when each draw becomes the next float32 number."""
    after = torch.nextafter(noise, torch.full_like(noise, torch.inf))
    here, there = (walk.run(model, z.double(), labels) for z in (noise, after))
    return (there - here).abs().flatten(1).amax(1)


def _run(asked: Any, **inputs: Tensor) -> Float[Tensor, "batch *event"]:
    return torch.from_numpy(asked.run(None, {name: value.contiguous().numpy() for name, value in inputs.items()})[0])


def _rank(graph: "ModelProto") -> int:
    return len(graph.graph.output[0].type.tensor_type.shape.dim) - 1


def _require(holds: bool, what: str, tolerance: float) -> None:
    if not holds:
        raise ExportError(
            f"export: {what}, more than {tolerance:g} and than rounding explains; nothing was written. "
            "Please report the network; its run can still be served by PyTorch."
        )
