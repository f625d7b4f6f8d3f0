"""Exercises about combining scores: guidance sharpens, and products need a corrector."""

import math

import torch

from ...exact import Gaussian, Mixture
from ...grids import logsnr
from ...guidance import Free, Metropolis, Product
from ...models import Denoiser, Times, Values
from ...noises import EDM
from ...samplers import Heun
from ...sampling import sample
from ..sources import FREE, REDUCE
from .base import Choices, Dial, Exercise, Number, Shown
from .pictures import Bars, Curves, Plane, heights

CHAPTER = "Combining"


class TwoClasses(Denoiser):
    """Two Gaussian classes at (±1, 0) as an exact conditional denoiser: with ``label`` the class, without it the mixture.

    >>> TwoClasses()(torch.zeros(1, 2), torch.tensor(1.0)).abs().max() < 1e-6
    tensor(True)
    """

    def __init__(self):
        super().__init__()
        self.noise = EDM(10.0)
        self.both = Mixture(torch.ones(2), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 0.5 * torch.eye(2))
        self.right = Gaussian(torch.tensor([1.0, 0.0]), 0.5 * torch.eye(2))

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        """E[X_0 | xt], of the right class alone where a label is given."""
        density = self.right if "label" in cond else self.both
        return density.denoiser(self.noise)(xt, t)


def _guided(weight: float) -> Shown:
    model, n = TwoClasses(), 500
    one = torch.ones(n)
    plain = sample(Free(model, 1.0), n, steps=20, seed=0, label=one)
    guided = sample(Free(model, weight), n, steps=20, seed=0, label=one)
    spread = float(guided[:, 0].std() / plain[:, 0].std())
    moved = float(guided[:, 0].mean() - plain[:, 0].mean())
    right = 0 if spread < 0.95 and moved > 0.05 else 1 if spread > 1.05 else 2
    contours = heights(lambda x: model.both.log_density(x.float()), 3.5).exp()
    return Shown(
        right,
        (
            Number("spread, over that of the class", spread, "", spread / math.sqrt(n)),
            Number("moved away from the other class by", moved, "", 1 / math.sqrt(n)),
        ),
        (
            Plane("The class as it is, w = 1", 3.5, values=contours, points=(("samples", plain.double()),)),
            Plane(f"Guided, w = {weight:.3g}", 3.5, values=contours, points=(("samples", guided.double()),)),
        ),
    )


def _factors() -> tuple[Gaussian, Gaussian, Gaussian]:
    """Two Gaussians of variance 1 at ±1, and their product N(0, ½)."""
    return tuple(  # type: ignore[return-value]
        Gaussian(torch.tensor([m]), torch.tensor([[v]])) for m, v in ((-1.0, 1.0), (1.0, 1.0), (0.0, 0.5))
    )


def _multiplied(sigma: float) -> Shown:
    left, right_, both = _factors()
    noise = EDM(10.0)
    product = Product((left.denoiser(noise), right_.denoiser(noise)))
    at, n = torch.ones(1, 1), 2000
    added = float(left.score(at, 1.0, sigma) + right_.score(at, 1.0, sigma))
    ratio = added / float(both.score(at, 1.0, sigma))

    def width(sampler: Heun | Metropolis, steps: int) -> float:
        return float(sample(product, n, sampler=sampler, times=logsnr(noise, steps, floor=0.02), seed=0).std())

    flow, finer, corrected = width(Heun(), 20), width(Heun(), 80), width(Metropolis(Heun(), 3, width=0.7), 20)
    true, error = math.sqrt(0.5), math.sqrt(0.25 / n)
    still_wrong = abs(flow - true) > 5 * error and abs(finer - true) > 5 * error
    right = 1 if still_wrong and abs(corrected - true) < 5 * error else 2 if abs(finer - true) < 5 * error else 0
    x = torch.linspace(-3, 3, 61)[:, None]
    lines = (
        ("sum of the two noised scores", (left.score(x, 1.0, sigma) + right_.score(x, 1.0, sigma))[:, 0]),
        ("score of the noised product", both.score(x, 1.0, sigma)[:, 0]),
    )
    return Shown(
        right,
        (
            Number("sum of scores over the right score", ratio),
            Number("width of the flow's samples", flow, "", error),
            Number("with four times the steps", finer, "", error),
            Number("with a corrector", corrected, "", error),
            Number("width of the product", true),
        ),
        (
            Curves(f"At noise level σ = {sigma:.3g}", "x", "s", x[:, 0], lines),
            Bars(
                "Width of the samples",
                "",
                (
                    ("the product", true, 0.0),
                    ("flow, 20 steps", flow, error),
                    ("flow, 80 steps", finer, error),
                    ("with a corrector", corrected, error),
                ),
            ),
        ),
    )


EXERCISES = (
    Exercise(
        "guidance",
        CHAPTER,
        "More than the class",
        "Classifier-free guidance of weight w = 4 pushes samples towards the right one of two overlapping classes. "
        "Compared with the class itself, the samples are …",
        Choices(
            (
                "less spread, and further from the other class than the class is.",
                "more spread.",
                "the same: with a perfect model guidance does nothing.",
            )
        ),
        _guided,
        Dial("weight w", 0.0, 8.0, 4.0, 0.25),
        "Guidance multiplies the density by p(class | x)^(w − 1) at every noise level: places where the class is in "
        "doubt lose, even if they belong to it. Clearer samples, bought with variety. w = 1 is the class, w = 0 the "
        "data.",
        "s_w = s(x) + w (s(x | c) − s(x)) = ∇log p(x | c) + (w − 1) ∇log p(c | x)",
        FREE.at("eq. 6"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.explorer.exercises.combining import TwoClasses\n"
        "from scorefield.guidance import Free\n\n"
        "one = torch.ones(500)\n"
        "plain, guided = (sf.sample(Free(TwoClasses(), w), 500, steps=20, seed=0, label=one) for w in (1.0, 4.0))\n"
        "print(float(guided[:, 0].std() / plain[:, 0].std()))",
        "#/images?n=8&weight=4",
    ),
    Exercise(
        "product",
        CHAPTER,
        "Why does a product of scores need a corrector?",
        "Two models with exact scores. You want samples of the product of their densities, add their scores at every"
        " noise level, and walk the flow. The samples come out …",
        Choices(
            (
                "right: scores add, since logarithms do.",
                "wrong, however many steps you take.",
                "wrong with few steps, right with many.",
            )
        ),
        _multiplied,
        Dial("noise level σ", 0.0, 5.0, 1.0, 0.05),
        "At σ = 0 scores do add. With noise, the product of the noised densities is not the noised product: the sum "
        "is the score of another density at every level, and no flow leads through these. A corrector samples each "
        "of them as it is, by Langevin steps accepted or refused, and the last of them is the product.",
        "∇log (p·q)∗N(0,σ²) ≠ ∇log p∗N(0,σ²) + ∇log q∗N(0,σ²),   here −x/(½+σ²) ≠ −2x/(1+σ²)",
        REDUCE.at("abstract"),
        "import torch\n"
        "from scorefield.exact import Gaussian\n\n"
        "p, q, pq = (Gaussian(torch.tensor([m]), torch.tensor([[v]])) for m, v in ((-1.0, 1.0), (1.0, 1.0), (0.0, 0.5)))\n"
        "x, sigma = torch.ones(1, 1), 1.0\n"
        "print(float((p.score(x, 1.0, sigma) + q.score(x, 1.0, sigma)) / pq.score(x, 1.0, sigma)))",
    ),
)
