"""Exercises about the score itself: ∇log p and what it cannot know."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...calculus import Exact, Hutchinson
from ...exact import Gaussian, Mixture
from ...metrics import fisher_divergence
from ...tensors import Streams
from ..sources import BLIND, CONSERVATIVE, HYVARINEN, NCSN, SLICED
from .base import Choices, Dial, Exercise, Number, Shown
from .pictures import Bars, Curves, Plane, Points, arrows, heights, lattice

CHAPTER = "The score"


def pair(half: float = 2.0, std: float = 0.5, right: float = 0.5) -> Mixture:
    """Two round modes at (±half, 0), the right one of weight ``right``."""
    means = torch.tensor([[-half, 0.0], [half, 0.0]], dtype=torch.float64)
    return Mixture(torch.tensor([1 - right, right]).double(), means, std**2 * torch.eye(2).double())


def row(*values: float) -> Float[Tensor, "1 _"]:
    """One point."""
    return torch.tensor([values], dtype=torch.float64)


def _gaussian(std: float) -> Shown:
    density = Gaussian(torch.zeros(2).double(), std**2 * torch.eye(2).double())
    near, far = density(row(1.0, 0.0))[0, 0], density(row(2.0, 0.0))[0, 0]
    ratio, inward = float(far / near), bool(near < 0)
    right = 2 if not inward else 0 if ratio > 1.5 else 3 if ratio > 0.9 else 1
    along = torch.linspace(-4, 4, 81).double()
    line = torch.stack([along, torch.zeros_like(along)], 1)
    return Shown(
        right,
        (Number("|s| two away over |s| one away", ratio), Number("|s| one away", float(near.abs()))),
        (
            Plane("Score over the density", 4.0, arrows(density, 4.0), heights(density.log_density, 4.0).exp()),
            Curves("Along the horizontal axis", "x", "s", along, (("score", density(line)[:, 0]),)),
        ),
    )


def _between(half: float) -> Shown:
    density = pair(half)
    middle, aside = (float(density(row(x, 0.0)).norm()) for x in (0.0, 0.1))
    right = 0 if middle < 1e-9 < aside else 1 if middle < 1e9 else 2
    along = torch.linspace(-4, 4, 161).double()
    line = torch.stack([along, torch.zeros_like(along)], 1)
    return Shown(
        right,
        (Number("|s| in the middle", middle), Number("|s| a tenth to the right", aside)),
        (
            Plane("Score over the density", 4.0, arrows(density, 4.0), heights(density.log_density, 4.0).exp()),
            Curves("Along the line through both modes", "x", "s", along, (("score", density(line)[:, 0]),), mark=0.0),
        ),
    )


def _scaled(factor: float) -> Shown:
    density = pair()
    at = lattice(3.0, 9)

    def slope(shift: float) -> Points:
        x = at.clone().requires_grad_()
        return torch.autograd.grad((density.log_density(x) + shift).sum(), x)[0]

    change = float((slope(math.log(factor)) - slope(0.0)).norm(dim=1).max())
    right = 0 if change < 1e-9 else 1
    along = torch.linspace(-4, 4, 161).double()
    line = torch.stack([along, torch.zeros_like(along)], 1)
    height = density.log_density(line)
    lines = (("log p", height), (f"log {factor:g}p", height + math.log(factor)))
    return Shown(
        right,
        (Number("largest change of s", change), Number("change of log p", math.log(factor), "nats")),
        (Curves("Moved up, with the same slope", "x", "log density", along, lines),),
    )


def _weights(weight: float) -> Shown:
    even, uneven = pair(3.0), pair(3.0, right=weight)
    x = even.sample(1000, Streams(0, range(1000)))
    found = fisher_divergence(uneven, even, x)
    apart = float((uneven.log_density(x) - even.log_density(x)).abs().mean())
    right = 0 if found.value < 1e-3 else 1 if found.value < 1 else 2
    return Shown(
        right,
        (
            Number("Fisher divergence of the two densities", found.value, "", found.error),
            Number("mean difference of log p", apart, "nats"),
        ),
        tuple(
            Plane(title, 5.0, arrows(density, 5.0), heights(density.log_density, 5.0).exp())
            for title, density in (("Both modes of weight ½", even), (f"The right one of weight {weight:g}", uneven))
        ),
    )


def _div(density: Mixture, x: Points) -> Float[Tensor, "n"]:
    with torch.no_grad():
        return Exact()(density, x)[1]


def _divergence(half: float) -> Shown:
    density = pair(half)
    div = _div(density, torch.cat([row(0.0, 0.0), row(half, 0.0)]))
    between, mode = float(div[0]), float(div[1])
    right = 0 if between > 0 > mode else 1 if mode > 0 else 2
    field = heights(lambda x: _div(density, x), 4.0, 33)
    return Shown(
        right,
        (Number("div s between the modes", between), Number("div s on a mode", mode)),
        (Plane("div s, with the score", 4.0, arrows(density, 4.0), field, signed=True),),
    )


def _rotated(strength: float) -> Shown:
    density = pair()

    def turned(x: Points) -> Points:
        return density(x) + strength * torch.stack([-x[:, 1], x[:, 0]], 1)

    angle = torch.arange(400).double() * (2 * math.pi / 400)
    loop = torch.stack([angle.cos(), angle.sin()], 1)
    along = torch.stack([-angle.sin(), angle.cos()], 1) * (2 * math.pi / 400)
    exact, round_ = (float((field(loop) * along).sum()) for field in (density, turned))
    right = 1 if abs(round_) > 1e-6 else 0
    closed = torch.cat([loop, loop[:1]])
    return Shown(
        right,
        (Number("gain of log p once around, turned", round_, "nats"), Number("the same, exact score", exact, "nats")),
        (
            Plane("Exact score", 3.0, arrows(density, 3.0), heights(density.log_density, 3.0).exp(), paths=(closed,)),
            Plane(
                "With a rotation", 3.0, arrows(turned, 3.0), heights(density.log_density, 3.0).exp(), paths=(closed,)
            ),
        ),
    )


def _probed(coupling: float) -> Shown:
    d, n = 64, 4000
    matrix = torch.diag(torch.linspace(1, 2, d)) + coupling * (torch.ones(d, d) - torch.eye(d))
    trace = float(matrix.trace())
    found = Hutchinson()(lambda x: x @ matrix, torch.zeros(n, d), Streams(0, range(n)))[1]
    squares = (found - trace).square()
    spread = float(squares.mean().sqrt())
    error = float(squares.std()) / (2 * max(spread, 1e-12) * math.sqrt(n))
    off = float((matrix - torch.diag(matrix.diag())).square().sum())
    right = 0 if spread < 1e-3 * trace else 1 if spread < 0.5 * trace else 2
    return Shown(
        right,
        (
            Number("error of one ±1 probe", spread, "", error),
            Number("the trace", trace),
            Number("foretold", math.sqrt(2 * off)),
        ),
        (
            Bars(
                "Root mean square error of one probe",
                "",
                (
                    ("±1 probe, measured", spread, error),
                    ("±1 probe, √(2 Σ off-diagonal²)", math.sqrt(2 * off), 0.0),
                    ("Gaussian probe, √2 ‖A‖", math.sqrt(2) * float(matrix.norm()), 0.0),
                ),
            ),
        ),
    )


EXERCISES = (
    Exercise(
        "gaussian",
        CHAPTER,
        "The simplest score",
        "A round Gaussian lies in the middle of the plane. At every point an arrow shows its score, ∇log p. "
        "What do the arrows look like?",
        Choices(
            (
                "They point to the mean, and grow in proportion to the distance from it.",
                "They point to the mean, and fade with the distance, as the density does.",
                "They point away from the mean.",
                "They point to the mean, all of one length.",
            )
        ),
        _gaussian,
        Dial("standard deviation", 0.5, 2.0, 1.0, 0.05),
        "log p is a parabola, so its slope is a straight line. The score is the slope of the logarithm: where the "
        "density is almost nothing, the score is largest.",
        "s(x) = ∇log N(x; m, σ²I) = −(x − m)/σ²",
        HYVARINEN.at("section 3.1"),
        "import torch\n"
        "from scorefield.exact import Gaussian\n\n"
        "p = Gaussian(torch.zeros(2), torch.eye(2))\n"
        "s = p(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))\n"
        "print(float(s[1].norm() / s[0].norm()))",
        "#/field?modes=0,0,1&sigma=0.02",
    ),
    Exercise(
        "between",
        CHAPTER,
        "Halfway",
        "Two equal modes, and a point exactly halfway between them. How long is the score there, and a small step to"
        " the right?",
        Choices(
            (
                "Zero halfway; a small step aside it is long.",
                "It is longest halfway, since both modes pull.",
                "It has no value there: log p has a kink.",
            )
        ),
        _between,
        Dial("half the distance of the modes", 0.6, 3.0, 2.0, 0.1),
        "Halfway the pulls cancel: it is a saddle of log p. A step aside one mode is many times as likely as the "
        "other, and its pull is all there is. Posterior weights switch from one mode to the other within a length "
        "σ²/distance.",
        "s(x) = Σ_k r_k(x) (m_k − x)/σ²,   r_k ∝ w_k N(x; m_k, σ²I)",
        NCSN.at("section 2"),
        "import torch\n"
        "from scorefield.exact import Mixture\n\n"
        "p = Mixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.25 * torch.eye(2))\n"
        "s = p(torch.tensor([[0.0, 0.0], [0.1, 0.0]]))\n"
        "print(float(s[0].norm()))",
        "#/field?modes=-2,0,0.5;2,0,0.5&sigma=0.02",
    ),
    Exercise(
        "normaliser",
        CHAPTER,
        "The constant nobody knows",
        "You forgot to normalise: your density is 7 times too large everywhere. How wrong is its score?",
        Choices(("Not at all.", "7 times too long.", "It depends on where you are.")),
        _scaled,
        Dial("factor", 0.1, 100.0, 7.0, 0.1),
        "The logarithm turns the factor into a constant, and the slope of a constant is zero. This is why scores can"
        " be learnt for models whose normalising constant no one can compute.",
        "∇log(c p(x)) = ∇log c + ∇log p(x) = ∇log p(x)",
        HYVARINEN.at("eq. 1–2"),
        "import torch\n"
        "from scorefield.models import Energy\n\n"
        "x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))\n"
        "p, seven_p = Energy(lambda x: x**4), Energy(lambda x: x**4 - torch.log(torch.tensor(7.0)))\n"
        "print(float((p(x) - seven_p(x)).detach().norm(dim=1).max()))",
    ),
    Exercise(
        "weights",
        CHAPTER,
        "What the score cannot see",
        "Two modes lie far apart, six times their width. You change their weights from half and half to 1 : 9. "
        "How much does the score change where the data are?",
        Choices(
            (
                "Hardly at all: no one could tell from samples.",
                "Noticeably: the arrows on the left shrink.",
                "By a factor of nine on the left.",
            )
        ),
        _weights,
        Dial("weight of the right mode", 0.05, 0.95, 0.9, 0.05),
        "Inside a mode the weight is a constant factor, and the score forgets constants. Only in the empty land "
        "between does it show, where there are no data to learn from. Score matching at one noise level cannot learn"
        " how often each mode occurs.",
        "x near m_1:   p(x) ≈ w_1 N(x; m_1, σ²I),   s(x) ≈ −(x − m_1)/σ², without w_1",
        BLIND.at("section 1"),
        "import torch\n"
        "from scorefield.exact import Mixture\n"
        "from scorefield.metrics import fisher_divergence\n"
        "from scorefield.tensors import Streams\n\n"
        "means = torch.tensor([[-3.0, 0.0], [3.0, 0.0]]).double()\n"
        "even, uneven = (Mixture(torch.tensor(w).double(), means, 0.25 * torch.eye(2).double()) for w in ([0.5, 0.5], [0.1, 0.9]))\n"
        "print(fisher_divergence(uneven, even, even.sample(1000, Streams(0, range(1000)))).value)",
        "#/field?modes=-2.5,0,0.4,0.2;2.5,0,0.4,1.8&sigma=0.02",
    ),
    Exercise(
        "divergence",
        CHAPTER,
        "Sources and sinks",
        "Where is the divergence of the score positive, so that arrows come out of a place rather than run into it?",
        Choices(
            ("Between the modes.", "On the modes.", "Nowhere: arrows always run together."),
        ),
        _divergence,
        Dial("half the distance of the modes", 0.6, 3.0, 2.0, 0.1),
        "On a mode log p bends down in every direction: a sink. On the saddle between two modes it bends up along "
        "the line that joins them, far more sharply than it bends down across. Score matching is the game of making "
        "|s|² small and the divergence at the data as negative as possible.",
        "J(s) = E[½|s(x)|² + div s(x)]",
        HYVARINEN.at("eq. 4"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.exact import Mixture\n\n"
        "p = Mixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.25 * torch.eye(2))\n"
        "value, div = sf.Exact()(p, torch.tensor([[0.0, 0.0], [2.0, 0.0]]))\n"
        "print(float(div[0].detach()))",
        "#/field?modes=-2,0,0.5;2,0,0.5&sigma=0.02&show=divergence",
    ),
    Exercise(
        "rotation",
        CHAPTER,
        "Round in circles",
        "To every arrow of an exact score you add a little rotation about the middle. Is there a density with this "
        "score?",
        Choices(
            (
                "Yes: any field of arrows is the score of some density.",
                "No: once around a loop, log p would have risen, at the place where it started.",
            )
        ),
        _rotated,
        Dial("rotation", 0.0, 2.0, 0.5, 0.1),
        "A score is a gradient, so its integral around any loop is zero and its curl vanishes. A network that "
        "answers with arrows may rotate; one that answers with an energy, whose gradient is taken, cannot.",
        "∮ s·dx = 0 for every loop   ⇔   s = ∇log p for some p",
        CONSERVATIVE.at("abstract"),
        "import math, torch\n"
        "from scorefield.exact import Mixture\n\n"
        "p = Mixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]).double(), 0.25 * torch.eye(2).double())\n"
        "angle = torch.arange(400).double() * (2 * math.pi / 400)\n"
        "x = torch.stack([angle.cos(), angle.sin()], 1)\n"
        "along = torch.stack([-x[:, 1], x[:, 0]], 1)\n"
        "print(float(((p(x) + 0.5 * along) * along).sum() * 2 * math.pi / 400))",
        "#/field?method=network&show=curl",
    ),
    Exercise(
        "probes",
        CHAPTER,
        "A trace from one probe",
        "A field in 64 dimensions has a diagonal Jacobian. You estimate its trace with a single probe v of random "
        "signs, as vᵀA v. How large is the error?",
        Choices(("Zero.", "A tenth of the trace or so.", "As large as the trace itself.")),
        _probed,
        Dial("coupling off the diagonal", 0.0, 0.5, 0.0, 0.01),
        "With v_i = ±1 every v_i² is 1, so the diagonal comes out exactly whatever the signs. Only what is off the "
        "diagonal adds noise. A Gaussian probe pays for the diagonal too. Turn the dial to couple the dimensions.",
        "Var(vᵀA v) = 2 Σ_{i≠j} A_{ij}² for v = ±1;   2‖A‖² for v ~ N(0, I);   A symmetric",
        SLICED.at("eq. 8"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.tensors import Streams\n\n"
        "A = torch.diag(torch.linspace(1, 2, 64))\n"
        "div = sf.Hutchinson()(lambda x: x @ A, torch.zeros(4000, 64), Streams(0, range(4000)))[1]\n"
        "print(float((div - A.trace()).square().mean().sqrt()))",
        "#/train?who=exact,sliced",
    ),
)
