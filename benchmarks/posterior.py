"""Posterior samples for y = A x + noise against azula's, on Gaussian data where the posterior is known, in one run.

d = 8, 4 observations, noise 0.1, 200 steps, 2,000 draws, exact denoisers on both sides. Wasserstein-2 distance between Gaussians
fitted to the draws and to an exact sample of the same size, mean over ``--repeats`` fresh exact samples and seeds; the floor is
what two exact samples get. "Calls" are evaluations of the denoiser and pull-backs through it, per draw. Then: twisted particles
as they grow, and the residual of one row of DPS as its batch grows. Needs ``pip install azula``.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import scorefield as sf
from scorefield.guidance import (
    DDRM,
    DPS,
    Dense,
    Isotropic,
    Krylov,
    Matrix,
    Measurement,
    MomentMatching,
    Proximal,
    Reconstruction,
    Refresh,
    RowSums,
    twisted,
)
from scorefield.metrics import gaussian_wasserstein2
from scorefield.samplers import Ancestral

SIZE, SEEN, STD, STEPS, DRAWS = 8, 4, 0.1, 200, 2000
ONLY = ""  # lines whose name holds this


class Counted(sf.Denoiser):
    """The exact denoiser, counting rows evaluated and rows pulled back."""

    def __init__(self, model: sf.Denoiser):
        super().__init__()
        self.model, self.noise, self.rows = model, model.noise, 0

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The event shape."""
        return self.model.shape

    def forward(self, xt, t, **cond):
        """E[X_0 | x_t], with a hook on its gradient."""
        return _counted(self, self.model(xt, t), len(xt))


def _counted(counter, y: Tensor, rows: int) -> Tensor:
    counter.rows += rows
    if y.requires_grad:

        def add(grad):
            counter.rows += rows

        y.register_hook(add)
    return y


def problem() -> tuple[sf.exact.Gaussian, Tensor, Tensor, sf.exact.Gaussian]:
    """(prior, A, y, posterior): standard deviations 0.1 to 2 along random axes, a random A."""
    g = torch.Generator().manual_seed(1)
    frame = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=g)).Q
    covariance = (frame * torch.logspace(-1.0, 0.3, SIZE) ** 2) @ frame.T
    prior = sf.exact.Gaussian(torch.linspace(-1, 1, SIZE), 0.5 * (covariance + covariance.T))
    matrix = torch.randn(SEEN, SIZE, generator=g) / math.sqrt(SIZE)
    y = (prior.sample(1, g) @ matrix.T)[0] + STD * torch.randn(SEEN, generator=g)
    gain = (
        prior.covariance @ matrix.T @ torch.linalg.inv(matrix @ prior.covariance @ matrix.T + STD**2 * torch.eye(SEEN))
    )
    left = prior.covariance - gain @ matrix @ prior.covariance
    return prior, matrix, y, sf.exact.Gaussian(prior.mean + gain @ (y - matrix @ prior.mean), 0.5 * (left + left.T))


def distance(x: Tensor, y: Tensor) -> float:
    """W2 between the Gaussians fitted to two samples."""
    return gaussian_wasserstein2(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())


def line(name: str, draw: Callable[[int], Tensor], exact: list[Tensor], counter) -> None:
    """Draw once for every exact sample, and print mean distance, its standard error, calls and seconds per draw."""
    if ONLY not in name:
        return
    counter.rows, start, found = 0, time.perf_counter(), []
    for seed, other in enumerate(exact):
        try:
            found.append(distance(draw(seed), other))
        except sf.errors.DivergedError:
            found.append(math.nan)
    seconds = (time.perf_counter() - start) / len(exact)
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    calls = counter.rows / len(exact) / DRAWS
    print(f"{name:46s} {statistics.fmean(found):8.3f} ± {error:.3f} {calls:9.0f} calls {seconds:7.1f} s", flush=True)


def ours(prior, matrix, y, exact) -> None:
    """Every method of scorefield."""
    model = Counted(prior.denoiser(sf.VP()))
    seen = Measurement(Matrix(matrix), y, STD)

    def guided(guide, sampler=None, steps=STEPS):
        return lambda seed: sf.sample(guide, DRAWS, steps=steps, seed=seed, sampler=sampler)

    for steps in (10, 20, 40, STEPS):
        line(f"MMPS(4), {steps} steps", guided(MomentMatching(model, seen, Krylov(4)), steps=steps), exact, model)
    line("MMPS(4), ancestral", guided(MomentMatching(model, seen, Krylov(4)), Ancestral()), exact, model)
    line("MMPS(1)", guided(MomentMatching(model, seen, Krylov(1))), exact, model)
    line("MMPS(1), ancestral", guided(MomentMatching(model, seen, Krylov(1)), Ancestral()), exact, model)
    line("TMPD, ancestral", guided(MomentMatching(model, seen, RowSums()), Ancestral()), exact, model)
    line("PGDM, ancestral", guided(MomentMatching(model, seen, Isotropic()), Ancestral()), exact, model)
    line("reconstruction, scale 0.1, ancestral", guided(Reconstruction(model, seen, STD), Ancestral()), exact, model)
    line("DiffPIR", guided(Proximal(model, seen, 10.0), Refresh()), exact, model)
    line("DDRM", guided(model, DDRM(seen)), exact, model)
    for zeta in (1.0, 0.1):
        line(f"DPS({zeta:g})", guided(model, DPS(seen, zeta)), exact, model)
    for name, guide in {
        "PGDM": MomentMatching(model, seen, Isotropic()),
        "MMPS": MomentMatching(model, seen, Dense()),
        "reconstruction": Reconstruction(model, seen, STD),
    }.items():
        for particles in (100, 1000, 10000):

            def draw(seed, guide=guide, particles=particles):
                result = twisted(guide, particles=particles, steps=STEPS, seed=seed)
                return result.draw(DRAWS, torch.Generator().manual_seed(seed))[0]

            line(f"twisted {name}, {particles} particles", draw, exact, model)


def theirs(prior, matrix, y, exact) -> None:
    """azula's guides with its own samplers, at its defaults."""
    from azula import guidance
    from azula.denoise import Denoiser, DiracPosterior
    from azula.linalg.covariance import IsotropicCovariance
    from azula.noise import VPSchedule
    from azula.sample import DDIMSampler, DDPMSampler, zABSampler

    class Exact(Denoiser):
        """The same exact denoiser in azula's words."""

        def __init__(self):
            super().__init__()
            self.schedule, self.rows = VPSchedule(), 0

        def forward(self, xt, t, **cond):
            alpha, sigma = self.schedule(t)
            return DiracPosterior(_counted(self, prior.denoise(xt, alpha, sigma), len(xt)))

    model = Exact()
    inverse = torch.linalg.pinv(matrix)

    def seen(x):
        return x @ matrix.T

    def run(sampler):
        def draw(seed):
            torch.manual_seed(seed)
            return sampler(sampler.init((DRAWS, SIZE)).double())

        return draw

    settings = {"steps": STEPS, "silent": True}
    noise = IsotropicCovariance(torch.tensor(STD**2))
    four = guidance.MMPSDenoiser(model, y, seen, noise, iterations=4)
    one = guidance.MMPSDenoiser(model, y, seen, noise)
    for kind in (DDPMSampler, DDIMSampler, zABSampler):
        line(f"azula MMPS(4), {kind.__name__}", run(kind(four, **settings)), exact, model)
    for name, sampler in {
        "MMPS(1)": DDPMSampler(one, **settings),
        "TMPD": DDPMSampler(guidance.TMPDenoiser(model, y, seen, STD**2), **settings),
        "PGDM": guidance.PGDMSampler(model, y, seen, lambda v: v @ inverse.T, **settings),
        "DiffPIR": DDPMSampler(guidance.DiffPIRDenoiser(model, y, seen, STD**2), **settings),
        "DPS": guidance.DPSSampler(model, y, seen, **settings),
    }.items():
        line(f"azula {name}", run(sampler), exact, model)

    def twist(x, ratio):
        spread = (STD**2 + ratio**2 / (1 + ratio**2)) ** 0.5
        return torch.distributions.Normal(seen(x), spread).log_prob(y)

    line("azula TDS, 2000 particles", run(guidance.TDSSampler(model, twist, **settings)), exact, model)


def batches(prior, matrix, y) -> None:
    """‖y − A x‖/√m of DPS, the same for every batch or not."""
    from azula import guidance
    from azula.denoise import Denoiser, DiracPosterior
    from azula.noise import VPSchedule

    class Exact(Denoiser):
        def __init__(self):
            super().__init__()
            self.schedule = VPSchedule()

        def forward(self, xt, t, **cond):
            alpha, sigma = self.schedule(t)
            return DiracPosterior(prior.denoise(xt, alpha, sigma))

    def residual(x):
        return float(((y - x @ matrix.T) ** 2).mean(1).sqrt().mean())

    model, seen = prior.denoiser(sf.VP()), Measurement(Matrix(matrix), y, STD)
    first = sf.sample(model, 1, steps=STEPS, sampler=DPS(seen))
    print("\nDPS, residual per observation and change of row 0 with the batch")
    for size in (1, 7, 100, 1000):
        x = sf.sample(model, size, steps=STEPS, sampler=DPS(seen))
        torch.manual_seed(0)
        sampler = guidance.DPSSampler(Exact(), y, lambda v: v @ matrix.T, steps=STEPS, silent=True)
        other = torch.cat([sampler(sampler.init((size, SIZE)).double()) for _ in range(max(1, 200 // size))])
        change = float((x[0] - first[0]).abs().max())
        print(
            f"batch {size:5d}   scorefield {residual(x):.3f} (row 0 changes by {change:.0e})   azula {residual(other):.3f}"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="lines whose name holds this")
    options = parser.parse_args()
    globals()["ONLY"] = options.only
    torch.set_default_dtype(torch.float64)
    prior, matrix, y, posterior = problem()
    exact = [posterior.sample(DRAWS, torch.Generator().manual_seed(100 + k)) for k in range(options.repeats)]
    again = [posterior.sample(DRAWS, torch.Generator().manual_seed(900 + k)) for k in range(options.repeats)]
    none = Counted(prior.denoiser(sf.VP()))
    line("floor: two exact samples", lambda seed: again[seed], exact, none)
    line("prior", lambda seed: prior.sample(DRAWS, torch.Generator().manual_seed(seed)), exact, none)
    ours(prior, matrix, y, exact)
    theirs(prior, matrix, y, exact)
    if not ONLY:
        batches(prior, matrix, y)


if __name__ == "__main__":
    main()
