"""Pictures seen in part, through a blur or coarsely, and what a trained model makes of them: draws of p(x | y), their mean and spread.

Measurements are made of held-out images, so that the truth is known: the mean's error is compared with the spread that the draws
claim. A posterior that is right has (truth − mean)² ≈ (1 + 1/draws) spread² on average.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from .. import plots
from ..errors import RangeError
from ..guidance import Blur, Downsample, Krylov, Mask, Measurement, MomentMatching, Operator
from ..models import Denoiser
from ..plots.style import figure
from ..samplers import Ancestral
from ..sampling import sample
from ..tensors import Streams, normal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shape = tuple[int, ...]
Images = Float[Tensor, "n channels height width"]


def mask(shape: Shape) -> Operator:
    """The upper half is seen.

    >>> mask((1, 4, 4)).observed
    (8,)
    """
    seen = torch.ones(shape, dtype=torch.bool)
    seen[:, shape[1] // 2 :] = False
    return Mask(seen)


def blur(shape: Shape) -> Operator:
    """A Gaussian blur of standard deviation 1/14 of the height: two pixels of a digit.

    >>> blur((1, 28, 28)).kernel.shape
    torch.Size([11, 11])
    """
    width = shape[1] / 14
    reach = torch.arange(-math.ceil(2.5 * width), math.ceil(2.5 * width) + 1.0)
    weights = (-(reach**2) / (2 * width**2)).exp()
    return Blur(weights[:, None] * weights / weights.sum() ** 2, shape)


def downsample(shape: Shape) -> Operator:
    """Means of squares of a seventh of the height: 7 × 7 numbers of a digit of 28 × 28.

    >>> downsample((1, 28, 28)).observed
    (1, 7, 7)
    """
    factor = max(2, shape[1] // 7)
    while shape[1] % factor or shape[2] % factor:
        factor -= 1
    return Downsample(factor, shape)


MEASUREMENTS: dict[str, Callable[[Shape], Operator]] = {"mask": mask, "blur": blur, "downsample": downsample}


@dataclass(frozen=True, eq=False)
class Restored:
    """Truth, what was seen of it, and draws of p(x | y) for each."""

    truth: Images
    operator: Operator
    seen: Float[Tensor, "n *observed"]
    std: float
    draws: Float[Tensor, "n draws channels height width"]

    @property
    def mean(self) -> Images:
        """The mean of the draws."""
        return self.draws.mean(1)

    @property
    def spread(self) -> Images:
        """The standard deviation of the draws, pixel by pixel."""
        return self.draws.std(1)

    def table(self) -> str:
        """How far draws are from what was seen, in units of its noise; the mean's error, and the error that the spread foretells."""
        seen = self.seen.repeat_interleave(self.draws.shape[1], 0)
        misfit = (self.operator(self.draws.flatten(0, 1)) - seen).flatten(1).square().mean(1).sqrt() / self.std
        error = (self.truth - self.mean).square().mean().sqrt()
        foretold = (self.spread.square().mean() * (1 + 1 / self.draws.shape[1])).sqrt()
        return (
            f"misfit of the draws / noise {float(misfit.median()):.2f} (worst {float(misfit.max()):.2f}); "
            f"error of the mean {float(error):.3f}, foretold by the spread {float(foretold):.3f}"
        )

    def picture(self, shown: int = 4) -> "Figure":
        """A row for each: truth, what was seen (y, or A⁺y), ``shown`` draws, their mean and their spread (white is largest)."""
        seen = self.seen if self.seen.shape == self.truth.shape else self.operator.solve(self.seen)
        spread = 2 * self.spread / self.spread.amax().clamp(min=1e-6) - 1
        parts = [self.truth, seen, *self.draws[:, :shown].unbind(1), self.mean, spread]
        heads = ["truth", "seen", *(f"draw {k + 1}" for k in range(shown)), "mean", "spread"]
        pixels = plots.mosaic(torch.stack(parts, 1).flatten(0, 1), columns=len(parts))
        height, width = pixels.shape[:2]
        picture = figure(0.75 * len(parts), 0.75 * len(parts) * height / width + 0.25)
        ax = picture.add_subplot()
        ax.imshow(pixels, interpolation="nearest")
        each = (width + 2) / len(parts)
        ax.set_xticks([each * (k + 0.5) - 1 for k in range(len(parts))], heads, fontsize=7)
        ax.set_yticks([])
        ax.tick_params(bottom=False, top=False, labeltop=True, labelbottom=False, pad=1)
        for side in ax.spines.values():
            side.set_visible(False)
        return picture


def restored(
    model: Denoiser,
    truth: Images,
    operator: Operator,
    *,
    std: float = 0.05,
    draws: int = 16,
    steps: int = 50,
    iterations: int = 4,
    seed: int = 0,
) -> Restored:
    """Draws of p(x | y) for y = A truth + std z, by moment matching with conjugate gradients, walked ancestrally.

    ``iterations`` of conjugate gradients cost as many pull-backs through the network each step. Raises: RangeError for fewer than
    two draws; ShapeError if model, truth and operator disagree.

    >>> from scorefield.exact import Empirical; from scorefield.noises import EDM
    >>> images = torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 1, 4, 4)
    >>> found = restored(Empirical(images).denoiser(EDM()), images, mask((1, 4, 4)), draws=2, steps=10)
    >>> bool((found.mean - images).abs().max() < 0.1)
    True
    """
    if draws < 2:
        raise RangeError(f"restored(draws={draws}): a spread needs at least 2 draws.")
    place = next((parameter.device for parameter in model.parameters()), truth.device)
    clean = operator(truth)
    seen = clean + std * normal(clean, Streams(seed, range(len(truth))))
    guide = MomentMatching(model, Measurement(operator, seen[0], std), Krylov(iterations))
    each = seen.repeat_interleave(draws, 0).to(place)
    x = sample(
        guide, len(each), steps=steps, sampler=Ancestral(), seed=seed, shape=tuple(truth.shape[1:]), observation=each
    )
    return Restored(truth, operator, seen, std, x.cpu().reshape(len(truth), draws, *truth.shape[1:]))
