"""Closed forms: how often 95 % intervals cover, and how long an estimate with its standard errors takes.

    von Mises–Fisher     κ = 5 on S², n = 1,000: hybrid, and Riemannian
    truncated normal     N(0, 1) on (0, ∞), n = 1,000: the mean with σ² = 1 known, σ² with the mean known, weight min(log(1 + x), 2)
    Gaussian precision   d = 3, n = 1,000: K[1,2]
    polygon              N(0, I) within a pentagon, about 800 points, known by 96 points of its boundary: time only

Peers: scorematchingad 0.1.6 (vMF, 54–93 ms), genscore 1.0.2.2 (249 ms), truncsm 2022 (4.9 s), on other machines.

    OMP_NUM_THREADS=1 python benchmarks/closed.py [--replications 2000]
"""

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from scorefield.closed import Fitted, Normal, VonMisesFisher, fit, hybrid
from scorefield.domains import Box, Distance, Outline
from scorefield.tensors import Streams, normal, uniform

D = {"dtype": torch.float64}
PRECISION = torch.tensor([[2.0, 0.6, -0.4], [0.6, 1.5, 0.2], [-0.4, 0.2, 1.0]], **D)
FACTOR = torch.linalg.cholesky(torch.linalg.inv(PRECISION))
CORNERS = torch.tensor([[0.0, 0.5], [1.0, 1.0], [1.0, 2.0], [4.0, 1.0], [2.0, 0.0]], **D)


def gaussian(n: int, seed: int) -> Tensor:
    """n rows of N(0, K⁻¹)."""
    return normal(torch.empty(n, 3, **D), Streams(seed, range(n))) @ FACTOR.T + 0.3


def half(n: int, seed: int) -> Tensor:
    """|N(0, 1)|: N(0, 1) on the positive numbers."""
    return normal(torch.empty(n, 1, **D), Streams(seed, range(n))).abs()


def directions(n: int, seed: int, kappa: float = 5.0) -> Tensor:
    """von Mises–Fisher around the third axis, its height by inversion."""
    u = uniform(torch.empty(n, 2, **D), Streams(seed, range(n)))
    t = 1 + (u[:, 0] + (1 - u[:, 0]) * math.exp(-2 * kappa)).log() / kappa
    r, angle = (1 - t**2).sqrt(), 2 * math.pi * u[:, 1]
    return torch.stack([r * angle.cos(), r * angle.sin(), t], 1)


def outline() -> tuple[Outline, Tensor]:
    """The pentagon by points along its sides, and points within."""
    part = torch.linspace(0, 1, 20, **D)[:-1, None]
    sides = [a + part * (b - a) for a, b in zip(CORNERS, CORNERS.roll(-1, 0))]
    domain = Outline(torch.cat(sides)[:96])
    x = normal(torch.empty(9000, 2, **D), Streams(0, range(9000))) + torch.tensor([2.0, 1.0], **D)
    return domain, x[domain.contains(x)][:800]


def kappa_of(fitted: Fitted) -> tuple[float, float]:
    """κ̂ and its standard error, from θ̂."""
    return fitted.readable["kappa"], fitted.readable.error("kappa")


CASES: dict[str, tuple[Callable, Callable, Callable, float]] = {
    "von Mises–Fisher, hybrid κ": (directions, hybrid, lambda f: (f["kappa"], f.error("kappa")), 5.0),
    "von Mises–Fisher, Riemannian κ": (directions, lambda x: fit(VonMisesFisher(3), x), kappa_of, 5.0),
    "truncated normal, mean": (
        half,
        lambda x: fit(Normal(1), x, domain=Box(), fixed={"K[1,1]": 1.0}),
        lambda f: (f["eta[1]"], f.error("eta[1]")),
        0.0,
    ),
    "truncated normal, variance": (
        half,
        lambda x: fit(Normal(1), x, domain=Box(), fixed={"eta[1]": 0.0}),
        lambda f: (f.readable["cov[1,1]"], f.readable.error("cov[1,1]")),
        1.0,
    ),
    "Gaussian precision K[1,2]": (
        gaussian,
        lambda x: fit(Normal(3), x),
        lambda f: (f["K[1,2]"], f.error("K[1,2]")),
        0.6,
    ),
}


def milliseconds(run: Callable, x: Tensor, repeats: int = 50) -> tuple[float, float]:
    """Median and least time of an estimate with its covariance."""
    run(x)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(x)
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times)[repeats // 2], min(times)


def coverage(name: str, replications: int, n: int = 1000) -> tuple[float, float]:
    """The share of 95 % intervals that cover the truth, and the mean standard error over the spread of the estimates."""
    draw, run, told, truth = CASES[name]
    found = torch.tensor([told(run(draw(n, seed))) for seed in range(replications)], **D)
    inside = (found[:, 0] - truth).abs() <= 1.959963984540054 * found[:, 1]
    return float(inside.double().mean()), float(found[:, 1].mean() / found[:, 0].std())


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=2000)
    replications = parser.parse_args().replications
    print(f"{'':<34}{'median ms':>10}{'least ms':>10}{'coverage':>10}{'se/sd':>8}")
    domain, x = outline()
    median, least = milliseconds(lambda y: fit(Normal(2), y, domain=domain, weight=Distance()), x)
    print(f"{f'polygon, {len(x)} points':<34}{median:>10.2f}{least:>10.2f}")
    for name, (draw, run, _, _) in CASES.items():
        median, least = milliseconds(run, draw(1000, 0))
        covered, ratio = coverage(name, replications)
        print(f"{name:<34}{median:>10.2f}{least:>10.2f}{covered:>10.4f}{ratio:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
