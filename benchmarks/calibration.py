"""Are our conditional samplers samplers of the posterior? The calibration report, on cases where it is known.

    y = A x + N(0, s² I):   x a Gaussian, and x a mixture of four; the denoiser of x is exact, so that all error is the method's

Each method is asked by simulation-based calibration (p-value of the worst quantity; below 0.01 it is no posterior sampler),
by the coverage of its central 90 % intervals and of its balls, and by the Wasserstein distance to exact draws at one y.
``--cases``, ``--draws`` and ``--steps`` change the effort.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor

import scorefield as sf
from scorefield.guidance import DPS, Dense, Matrix, Measurement, MomentMatching, RowSums, twisted
from scorefield.metrics import calibration

A, NOISE = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]]), 0.3
ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.3, 0.2, 0.5]])
MEANS = torch.tensor([[2.0, 0.0, 0.0], [-2.0, 0.0, 1.0], [0.0, 2.0, 2.0], [0.0, -2.0, -1.0]])
PRIORS = {
    "Gaussian": sf.exact.Gaussian(torch.zeros(3), ROOT @ ROOT.T),
    "mixture": sf.exact.Mixture(torch.tensor([1.0, 2.0, 3.0, 4.0]), MEANS, 0.15 * ROOT @ ROOT.T),
}


def methods(prior, steps: int) -> dict:
    """(y, n, generator) -> draws, by name."""
    model = prior.denoiser(sf.VP())

    def seen(y: Tensor) -> Measurement:
        return Measurement(Matrix(A), y, NOISE)

    def walked(guide, sampler=None):
        return lambda y, n, g: sf.sample(
            guide(y), n, steps=steps, sampler=sampler and sampler(y), seed=g.initial_seed()
        )

    def particles(y: Tensor, n: int, g: torch.Generator) -> Tensor:
        guide = MomentMatching(model, seen(y), Dense())
        return twisted(guide, particles=4 * n, steps=steps, seed=g.initial_seed()).draw(n, g)[0]

    return {
        "exact": lambda y, n, g: prior.given(A, y, NOISE).sample(n, g),
        "moment matching": walked(lambda y: MomentMatching(model, seen(y))),
        "row sums (TMPD)": walked(lambda y: MomentMatching(model, seen(y), RowSums())),
        "DPS": walked(lambda y: model, lambda y: DPS(seen(y))),
        "twisted particles": particles,
        "the prior": lambda y, n, g: prior.sample(n, g),
    }


def main() -> None:
    """A table for each prior."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    for title, prior in PRIORS.items():

        def simulate(n: int, generator: torch.Generator, prior=prior) -> tuple[Tensor, Tensor]:
            x = prior.sample(n, generator)
            return x, x @ A.T + NOISE * torch.randn(n, 2, generator=generator)

        y = simulate(1, torch.Generator().manual_seed(7))[1][0]
        print(f"\n{title}, {options.cases} cases of {options.draws} draws, {options.steps} steps; y = {y.tolist()}")
        print(f"{'':18s} {'p':>7s} {'cover 90%':>10s} {'balls 90%':>10s} {'W2':>17s} {'floor':>17s} {'seconds':>8s}")
        for name, sampler in methods(prior, options.steps).items():
            start = time.process_time()
            known = {"y": (y, prior.given(A, y, NOISE).sample)}
            report = calibration(sampler, simulate, cases=options.cases, draws=options.draws, known=known)
            *cover, ball = report.coverage(0.9).values()
            share, (found, floor) = statistics.mean(map(float, cover)), report.known["y"]
            row = f"{name:18s} {report.p_value:7.2g} {share:10.2f} {float(ball):10.2f} {found!s:>17s} {floor!s:>17s}"
            print(f"{row} {time.process_time() - start:8.1f}", flush=True)


if __name__ == "__main__":
    main()
