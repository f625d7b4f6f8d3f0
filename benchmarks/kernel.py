"""Kernel scores against the truth, against a Gaussian fit, and against the clock.

    python benchmarks/kernel.py errors         mean ‖ŝ − s‖² on 512 fresh points, nothing chosen with the truth, beside peers
                                               of which everything is, and a Gaussian fit, on the same seeds
    python benchmarks/kernel.py mixture        the mixture with n = 1,000 and 20,000
    python benchmarks/kernel.py ring           log-likelihood gap to the truth on a ring
    python benchmarks/kernel.py speed          the ν-method by matrix products and by tensors of n × n × d
    python benchmarks/kernel.py memory         n = 100,000, d = 32: time and peak memory
    python benchmarks/kernel.py weights        how far off the weight of one of two heaps is, as they are moved apart

"mixture" is d unit Gaussians at d random vertices of {0, 1}^d with equal weights.
"""

import argparse
import math
import resource
import statistics
import time

import torch
from torch import Tensor

from scorefield.closed import (
    IMQ,
    RBF,
    CurlFree,
    Kernel,
    KernelExponentialFamily,
    KernelScore,
    Matern,
    NuMethod,
    Nystrom,
    Shrunk,
    Tikhonov,
    median_width,
)
from scorefield.exact import Density, Gaussian, Mixture

DOUBLE = torch.float64


def mixture(d: int, generator: torch.Generator) -> Mixture:
    """d unit Gaussians at random vertices of the cube."""
    corners = torch.randint(0, 2, (d, d), generator=generator).double()
    return Mixture(torch.ones(d, dtype=DOUBLE), corners, torch.eye(d, dtype=DOUBLE))


def normal(d: int, generator: torch.Generator) -> Gaussian:
    """N(0, I)."""
    return Gaussian(torch.zeros(d, dtype=DOUBLE), torch.eye(d, dtype=DOUBLE))


def case(make, d: int, n: int, seed: int) -> tuple[Density, Tensor, Tensor]:
    """(truth, n rows to learn from, 512 fresh rows)."""
    generator = torch.Generator().manual_seed(seed)
    truth = make(d, generator)
    return truth, truth.sample(n, generator), truth.sample(512, generator)


def error(score, truth: Density, fresh: Tensor) -> float:
    """Mean ‖ŝ − s‖²."""
    return float(((score(fresh) - truth(fresh)) ** 2).sum(1).mean())


def oracles(truth: Density, x: Tensor, fresh: Tensor) -> dict[str, float]:
    """The least error of each peer over 4 widths × 5 regularisations, chosen with the truth: kscore's formulas by matrix products."""
    middle, found = median_width(x), {}
    for name, kernel, methods in (
        ("ν-method, IMQ", IMQ, [NuMethod(steps) for steps in (2, 5, 10, 20, 40)]),
        ("Tikhonov, RBF", RBF, [Tikhonov(ridge) for ridge in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)]),
    ):
        errors = [
            error(KernelScore(CurlFree(kernel(multiple * middle)), method, torch.zeros_like).fit(x), truth, fresh)
            for multiple in (0.5, 1.0, 2.0, 4.0)
            for method in methods
        ]
        found[name] = min(errors)
    return found


def told(values: list[float]) -> str:
    """Mean ± standard error over seeds."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.4f} ± {error:.4f}"


def compare(
    name: str, make, d: int, n: int, seeds: int, family: KernelExponentialFamily, *, peers: bool = False
) -> None:
    """The family, the isotropic fit and the peers on the same seeds, and the ratio to the least of the others."""
    rows: dict[str, list[float]] = {"family": [], "Gaussian fit": []}
    spent = 0.0
    for seed in range(seeds):
        truth, x, fresh = case(make, d, n, seed)
        start = time.process_time()
        rows["family"].append(error(family.fit(x), truth, fresh))
        spent += time.process_time() - start
        rows["Gaussian fit"].append(error(Shrunk(1.0).fit(x), truth, fresh))
        for peer, least in (oracles(truth, x, fresh) if peers else {}).items():
            rows.setdefault(peer, []).append(least)
    print(f"{name}, {seeds} seeds, {spent / seeds:.1f} s of the processor a fit")
    for which, values in rows.items():
        print(
            f"  {which:<16}{told(values)}"
            + (", chosen with the truth" if which not in ("family", "Gaussian fit") else "")
        )
    others = [statistics.mean(values) for which, values in rows.items() if which != "family"]
    print(f"  family / least of the others: {statistics.mean(rows['family']) / min(others):.3f}", flush=True)


def errors(seeds: int) -> None:
    """The three cases of the reference table."""
    for name, make, d, n in (("mixture", mixture, 32, 128), ("normal", normal, 8, 256), ("normal", normal, 2, 256)):
        compare(f"{name} d = {d}, n = {n}", make, d, n, seeds, KernelExponentialFamily(), peers=True)


def large(seeds: int) -> None:
    """The mixture with more rows."""
    compare("mixture d = 32, n = 1,000", mixture, 32, 1000, seeds, KernelExponentialFamily(basis=Nystrom(500)))
    most = KernelExponentialFamily(basis=Nystrom(1000), multiples=(0.5, 1.0), most=5000)
    compare("mixture d = 32, n = 20,000", mixture, 32, 20_000, max(3, seeds // 5), most)


def ring(seeds: int) -> None:
    """Radius 5, sd 0.2, n = 10,000: E[log p − log p̂] on 20,000 fresh rows."""
    gaps: dict[Kernel, list[float]] = {}
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        angle = 2 * math.pi * torch.rand(30_000, generator=generator, dtype=DOUBLE)
        radius = 5 + 0.2 * torch.randn(30_000, generator=generator, dtype=DOUBLE)
        x = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        fresh = x[10_000:]
        r = fresh.norm(dim=1)
        truth = -0.5 * ((r - 5) / 0.2) ** 2 - math.log(0.2 * math.sqrt(2 * math.pi)) - (2 * math.pi * r).log()
        for kernel in (RBF(), Matern()):
            start = time.perf_counter()
            family = KernelExponentialFamily(kernel, Nystrom(500), multiples=(0.1, 0.2, 0.4, 0.8), most=5000)
            fitted = family.fit(x[:10_000]).normalised(200_000, generator=generator)
            gap = truth - fitted.log_density(fresh)
            total = math.hypot(float(gap.std()) / len(gap) ** 0.5, fitted.log_normaliser_error)
            took = time.perf_counter() - start
            print(f"  seed {seed} {kernel!r:<22} gap {float(gap.mean()):.4f} ± {total:.4f}  {took:.1f} s", flush=True)
            gaps.setdefault(kernel, []).append(float(gap.mean()))
    for kernel, values in gaps.items():
        print(f"  {kernel!r}: {told(values)} over {seeds} seeds")


def tensors(x: Tensor, width: float, steps: int) -> Tensor:
    """The same ν-method with the curl-free IMQ, by the formulas as they are read: differences of n × n × d at every step."""
    n, d = x.shape
    u = x[:, None] - x[None]
    s = (u**2).sum(-1)
    k, k1, k2, k3 = IMQ(width).derivatives(s, 3)
    z = ((2 * ((2 * d + 4) * k2 + 4 * s * k3))[..., None] * u).mean(1)

    def operator(c: Tensor) -> Tensor:
        u = x[:, None] - x[None]
        s = (u**2).sum(-1)
        _, k1, k2 = IMQ(width).derivatives(s, 2)
        return (-2 * k1[..., None] * c[None] - 4 * k2[..., None] * (u * c[None]).sum(-1, keepdim=True) * u).mean(1)

    from scorefield.closed.spectral import norm

    top = norm(operator, z)
    method = NuMethod(steps)
    old, zero, past, w = 0.0, 0.0, torch.zeros_like(z), torch.zeros_like(z)
    for step in range(1, steps + 1):
        momentum, rate = method.weights(step)
        change = zero * z + operator(w)
        old, zero, past, w = (
            zero,
            zero + momentum * (zero - old) + rate / top,
            w,
            w + momentum * (w - past) - rate / top * change,
        )
    return -(zero * z + operator(w))


def speed(n: int, d: int, steps: int) -> None:
    """Both ways to the scores at the sample itself, in seconds of the processor; the first steps of each are not counted."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    width = math.sqrt(2 * d)
    KernelScore(CurlFree(IMQ(width)), NuMethod(1), lambda x: torch.zeros_like(x)).fit(x)
    start = time.process_time()
    ours = KernelScore(CurlFree(IMQ(width)), NuMethod(steps), lambda x: torch.zeros_like(x)).fit(x)(x)
    products = time.process_time() - start
    start = time.process_time()
    theirs = tensors(x, width, steps)
    took = time.process_time() - start
    apart = float((ours - theirs).abs().max())
    print(
        f"  n = {n:,}, d = {d}, {steps} steps: products {products:.2f} s, tensors {took:.2f} s: {took / products:.1f} times",
        end="",
    )
    print(f"; the scores differ by {apart:.1e}")


def memory() -> None:
    """n = 100,000, d = 32: fit and score, in one process."""
    generator = torch.Generator().manual_seed(0)
    truth = mixture(32, generator)
    x, fresh = truth.sample(100_000, generator), truth.sample(512, generator)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    fitted = KernelExponentialFamily(
        basis=Nystrom(1000), bases=(Shrunk(0.1),), multiples=(0.5,), most=4000, folds=3
    ).fit(x)
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"  n = 100,000, d = 32: {took:.0f} s, peak {peak:.2f} GiB ({before:.2f} before), error {error(fitted, truth, fresh):.3f}"
    )


def weights(n: int, seeds: int) -> None:
    """.3 N(−m, 1) + .7 N(m, 1): the mass that the fit has below zero, against the share of the rows that are there."""
    for m in (1.5, 2.0, 2.5, 3.0, 3.5, 4.0):
        off, told = [], 0
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(seed)
            x = torch.randn(n, 1, generator=generator, dtype=DOUBLE)
            x = x + torch.where(torch.rand(n, 1, generator=generator) < 0.3, -m, m)
            fitted = KernelExponentialFamily(basis=Nystrom(80)).fit(x)
            at = torch.linspace(-12, 12, 4001, dtype=DOUBLE)[:, None]
            mass = (-fitted.energy(at)).softmax(0)
            off.append(float(mass[at[:, 0] < 0].sum()) - float((x < 0).double().mean()))
            told += bool(fitted.notes)
        rms = math.sqrt(sum(miss**2 for miss in off) / seeds)
        binomial = math.sqrt(0.3 * 0.7 / n)
        print(
            f"  n = {n:,}, m = {m}: off by {rms:.3f}, binomial error {binomial:.3f}; told in {told} of {seeds}",
            flush=True,
        )


def main() -> None:
    """The part that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["errors", "mixture", "ring", "speed", "memory", "weights"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    parts = {
        "errors": lambda: errors(options.seeds),
        "mixture": lambda: large(options.seeds),
        "ring": lambda: ring(options.seeds),
        "speed": lambda: speed(options.n, options.d, options.steps),
        "memory": memory,
        "weights": lambda: weights(options.n, options.seeds),
    }
    parts[options.part]()


if __name__ == "__main__":
    main()
