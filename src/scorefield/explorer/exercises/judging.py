"""Exercises about judging: likelihoods, Stein's identity, and what a test cannot see."""

import math

import torch

from ...exact import Gaussian
from ...likelihood import log_density
from ...metrics import ksd, ksd_test, mmd
from ...metrics.estimate import mean
from ...noises import VP
from ...tensors import Streams
from ..sources import BLIND, EVALUATION, SDE, STEIN
from .base import Choices, Dial, Estimate, Exercise, Number, Shown
from .pictures import Bars, Curves, Plane, heights
from .scores import pair

CHAPTER = "Judging"


def _typical(dimension: float) -> Shown:
    d = int(dimension)
    p = Gaussian(torch.zeros(d).double(), torch.eye(d).double())
    x = p.sample(2000, Streams(0, range(2000)))
    best = float(p.log_density(torch.zeros(1, d).double()))
    gap = mean(best - p.log_density(x))
    radius = torch.linspace(0, 15, 151).double()
    shell = (d - 1) * radius.clamp(min=1e-9).log() - radius**2 / 2
    return Shown(
        gap.value,
        (
            Number("nats below the mean", gap.value, "nats", gap.error),
            Number("half the dimension", d / 2),
            Number("distance of a draw from the mean", float(x.norm(dim=1).mean())),
        ),
        (
            Curves(
                f"Where the draws of N(0, I) in {d} dimensions are",
                "distance from the mean",
                "density of the distance",
                radius,
                (("draws", (shell - shell.max()).exp()),),
                mark=math.sqrt(d),
            ),
        ),
    )


def _flowed(std: float) -> Shown:
    p = Gaussian(torch.zeros(2).double(), torch.diag(torch.tensor([std**2, 0.25])).double())
    x = p.sample(8, Streams(0, range(8)))
    known = p.denoiser(VP())
    found = log_density(known, x)
    exact = p.log_density(x)
    # The flow of a Gaussian divides every axis by its width: where it lands, and the prior's density there.
    landed = x / torch.tensor([std, 0.5]).double()
    prior = -0.5 * landed.square().sum(1) - math.log(2 * math.pi)
    off, alone = (float((each - exact).abs().max()) for each in (found.value, prior))
    right = 1 if off < 1e-2 < alone else 0 if alone < 1e-2 else 2
    rows = torch.arange(1, 9)
    return Shown(
        right,
        (
            Number("error with the integral of the divergence", off, "nats"),
            Number("error of the prior's density alone", alone, "nats"),
            Number("error that log_density states", float(found.error.max()), "nats"),
        ),
        (
            Curves(
                "Eight points",
                "point",
                "nats",
                rows,
                (("log p, exact", exact), ("prior + ∫ divergence", found.value), ("prior alone", prior)),
            ),
        ),
    )


def _stein(width: float) -> Shown:
    n = 20_000
    p = Gaussian(torch.zeros(2).double(), torch.eye(2).double())
    x = p.sample(n, Streams(0, range(n)))

    def identity(width: float):
        y = width * x
        return mean((p(y) * y).sum(1) + 2)

    own, other = identity(1.0), identity(width)
    right = 0 if abs(own.value) < 5 * own.error else 1 if own.value > 0 else 2
    widths = torch.linspace(0.5, 1.5, 21)
    line = [identity(float(w)).value for w in widths]
    return Shown(
        right,
        (
            Number("mean over samples of p", own.value, "", own.error),
            Number(f"over samples {width:.3g} times as wide", other.value, "", other.error),
        ),
        (Curves("E[s(x)·x + 2]", "width of the samples", "mean", widths, (("mean", line),), mark=width),),
    )


def _lost(half: float) -> Shown:
    density, n = pair(half), 300
    every = density.sample(4 * n, Streams(0, range(4 * n)))
    left = every[every[:, 0] < 0][:n]
    test = ksd_test(density, left, generator=torch.Generator().manual_seed(0))
    stein = ksd(density, left)
    found = mmd(left, density.sample(n, Streams(1, range(n))))
    right = 1 if not test.rejected and found.value > 5 * found.error else 0
    return Shown(
        right,
        (
            Number("p-value of the kernel Stein test", test.p_value),
            Number("MMD² to samples of both modes", found.value, "", found.error),
        ),
        (
            Plane(
                "The sample",
                half + 2.5,
                values=heights(density.log_density, half + 2.5).exp(),
                points=(("sample", left),),
            ),
            Bars(
                "Standard errors from zero",
                "",
                (
                    ("kernel Stein discrepancy", stein.value / stein.error, 0.0),
                    ("MMD² to samples of both modes", found.value / found.error, 0.0),
                ),
            ),
        ),
    )


EXERCISES = (
    Exercise(
        "typical",
        CHAPTER,
        "The likeliest point",
        "A standard Gaussian in 100 dimensions. By how many nats does log p of a typical draw lie below log p of the"
        " mean?",
        Estimate(0.0, 200.0, 1.0, 0.2, "nats"),
        _typical,
        Dial("dimension", 2.0, 200.0, 100.0, 2.0),
        "The mean is the likeliest point, and no draw is ever near it: all lie in a shell of radius √d, since there "
        "is so much more room. A high density does not make a typical sample, nor the other way round.",
        "log p(0) − log p(x) = ½|x|² ≈ d/2 = 50",
        EVALUATION.at("section 3"),
        "import torch\n"
        "from scorefield.exact import Gaussian\n"
        "from scorefield.tensors import Streams\n\n"
        "p = Gaussian(torch.zeros(100).double(), torch.eye(100).double())\n"
        "x = p.sample(2000, Streams(0, range(2000)))\n"
        "print(float((p.log_density(torch.zeros(1, 100).double()) - p.log_density(x)).mean()))",
    ),
    Exercise(
        "likelihood",
        CHAPTER,
        "What the flow squeezed",
        "The probability flow carries a data point x to a point of the Gaussian prior. You look up the prior's "
        "density there. What is missing for log p(x)?",
        Choices(
            (
                "Nothing: the flow carries density along.",
                "The divergence of the flow, integrated along the way.",
                "The squared length of the score along the way.",
            )
        ),
        _flowed,
        Dial("width of the first axis", 0.1, 3.0, 0.2, 0.05),
        "The flow stretches narrow directions and squeezes wide ones; where volume grows, density falls. The "
        "divergence is the rate at which it does. The library integrates it with the trace, and states the error of "
        "the result.",
        "log p(x) = log prior(x₁) + ∫₀¹ div v(x_t, t) dt",
        SDE.at("eq. 39"),
        "import torch\n"
        "import scorefield as sf\n"
        "from scorefield.exact import Gaussian\n"
        "from scorefield.tensors import Streams\n\n"
        "p = Gaussian(torch.zeros(2).double(), torch.diag(torch.tensor([0.2**2, 0.25])).double())\n"
        "x = p.sample(8, Streams(0, range(8)))\n"
        "print(float((sf.log_density(p.denoiser(sf.VP()), x).value - p.log_density(x)).abs().max()))",
    ),
    Exercise(
        "stein",
        CHAPTER,
        "A mean that is always the same",
        "Over samples of p, you average s(x)·f(x) + div f(x) for the field f(x) = x, with s = ∇log p. What comes out?",
        Choices(("Zero.", "The dimension.", "It depends on p.")),
        _stein,
        Dial("width of the samples", 0.5, 1.5, 1.2, 0.05),
        "It is the integral of the divergence of p f, which vanishes for every smooth f that does not grow too fast."
        " Samples of another density betray themselves: turn the dial. No normalising constant is needed, only the "
        "score.",
        "E_p[s·f + div f] = ∫ div(p f) dx = 0",
        STEIN.at("section 2"),
        "import torch\n"
        "from scorefield.exact import Gaussian\n"
        "from scorefield.tensors import Streams\n\n"
        "p = Gaussian(torch.zeros(2).double(), torch.eye(2).double())\n"
        "x = p.sample(20_000, Streams(0, range(20_000)))\n"
        "print(float(((p(x) * x).sum(1) + 2).mean()))",
    ),
    Exercise(
        "lost-mode",
        CHAPTER,
        "Half of it is missing",
        "Your sampler found only the left of two far modes. A kernel Stein test compares its 300 samples with the "
        "exact score of both modes. Does it notice?",
        Choices(("Yes: half of the density is missing.", "No: it cannot tell.")),
        _lost,
        Dial("half the distance of the modes", 0.4, 3.5, 3.0, 0.1),
        "The test asks whether samples follow the score where they are, and they do. Far modes are joined only by "
        "places without samples. A test against samples of both modes sees it at once. Choose tests that can fail "
        "for the fault you fear.",
        "KSD² = E k_s(x, x′),   k_s built from s alone: blind to w_1, w_2 as s is",
        BLIND.at("section 3"),
        "import torch\n"
        "from scorefield.exact import Mixture\n"
        "from scorefield.metrics import ksd_test\n"
        "from scorefield.tensors import Streams\n\n"
        "p = Mixture(torch.ones(2), torch.tensor([[-3.0, 0.0], [3.0, 0.0]]).double(), 0.25 * torch.eye(2).double())\n"
        "x = p.sample(1200, Streams(0, range(1200)))\n"
        "left = x[x[:, 0] < 0][:300]\n"
        "print(ksd_test(p, left, generator=torch.Generator().manual_seed(0)).p_value)",
    ),
)
