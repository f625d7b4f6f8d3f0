"""The kernel Stein tests: time, level and power.

python benchmarks/ksd.py            times at n = 1,500, d = 5, 500 bootstraps, beside a peer; level over 1,000 null sets; power
python benchmarks/ksd.py --sets 0   the times only

The peer is the kernel Stein test in the manner of kgof, written from memory in NumPy because no index offers the package: kernel
derivatives a coordinate at a time, each an n × n matrix from the distances on, and one bootstrap after another. Both run in float64
on the same rows, in turns, and must return the same statistic.
"""

import argparse
import math
import statistics
import time

import numpy as np
import torch

from scorefield.closed import IMQ, median_width
from scorefield.exact import Gaussian
from scorefield.metrics import aggregated_test, ksd_test, places_test

DOUBLE = torch.float64


def seconds(call) -> tuple[float, object]:
    """Seconds of the processor, and what was returned."""
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


class CoordinateKernel:
    """The inverse multiquadric (1 + |x − y|²/s²)^{−½} with the four derivatives that a Stein kernel is made of."""

    def __init__(self, width: float):
        self.scale = width**2

    def _base(self, x: np.ndarray) -> np.ndarray:
        squares = (x**2).sum(1)
        return 1 + (squares[:, None] - 2 * x @ x.T + squares[None]) / self.scale

    def values(self, x: np.ndarray) -> np.ndarray:
        """k(x_i, x_j)."""
        return self._base(x) ** -0.5

    def first(self, x: np.ndarray, k: int) -> np.ndarray:
        """∂k/∂x_k, as a matrix of all pairs."""
        return -(x[:, [k]] - x[:, [k]].T) / self.scale * self._base(x) ** -1.5

    def mixed(self, x: np.ndarray) -> np.ndarray:
        """Σ_k ∂²k/∂x_k∂y_k."""
        total, base = np.zeros((len(x), len(x))), self._base(x)
        for k in range(x.shape[1]):
            away = (x[:, [k]] - x[:, [k]].T) ** 2
            total += base**-1.5 / self.scale - 3 * away / self.scale**2 * base**-2.5
        return total


def peer(score: np.ndarray, x: np.ndarray, width: float, bootstraps: int, seed: int) -> tuple[float, float]:
    """(n·KSD² without pairs of a row with itself, p-value): coordinates and bootstraps in loops."""
    kernel, n = CoordinateKernel(width), len(x)
    h = kernel.values(x) * (score @ score.T) + kernel.mixed(x)
    for k in range(x.shape[1]):
        h += kernel.first(x, k) * score[:, k] + kernel.first(x, k).T * score[:, [k]]  # ∂k/∂y is the transpose of ∂k/∂x
    value, rng, above = h.sum() / n, np.random.default_rng(seed), 0
    for _ in range(bootstraps):
        signs = rng.integers(0, 2, n) * 2.0 - 1
        above += signs @ (h @ (signs / n)) >= value
    return float(value - np.trace(h) / n), above / bootstraps


def times(rounds: int) -> None:
    """The tests and the peer in turns; a ratio for each round."""
    model = Gaussian(torch.zeros(5, dtype=DOUBLE), torch.eye(5, dtype=DOUBLE))
    x = torch.randn(1500, 5, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    width = median_width(x)
    names = {"ksd_test": ksd_test, "aggregated_test": aggregated_test, "places_test": places_test}
    took = {name: [] for name in (*names, "peer")}
    for k in range(rounds + 1):
        for name, test in names.items():
            settings = {"kernel": IMQ(width)} if test is ksd_test else {}
            span, found = seconds(lambda: test(model, x, generator=torch.Generator().manual_seed(1), **settings))  # noqa: B023
            took[name].append(span)
            if test is ksd_test:
                ours = found.statistic
        span, (theirs, _) = seconds(lambda: peer(model(x).numpy(), x.numpy(), width, 500, 1))
        took["peer"].append(span)
        if k == 0:
            assert math.isclose(ours, theirs, rel_tol=1e-6), (ours, theirs)
            took = {name: [] for name in took}  # the first round warms up
    print(
        f"n = 1,500, d = 5, 500 bootstraps, {torch.get_num_threads()} thread(s), seconds of the processor, {rounds} rounds"
    )
    for name, spans in took.items():
        print(f"  {name:<18}{statistics.median(spans):8.3f} s  ({min(spans):.3f} to {max(spans):.3f})", flush=True)
    ratios = [a / b for a, b in zip(took["peer"], took["ksd_test"])]
    print(
        f"  peer / ksd_test   {statistics.median(ratios):8.1f}    ({min(ratios):.1f} to {max(ratios):.1f}); the same statistic"
    )


def rejected(test, sets: int, n: int, d: int, *, shift: float = 0.0, scale: float = 1.0) -> float:
    """The share of sets, drawn from N(shift, scale²) in every coordinate, in which N(0, I) is rejected at 5 %."""
    model = Gaussian(torch.zeros(d, dtype=DOUBLE), torch.eye(d, dtype=DOUBLE))
    count = 0
    for seed in range(sets):
        generator = torch.Generator().manual_seed(seed)
        x = shift + scale * torch.randn(n, d, generator=generator, dtype=DOUBLE)
        count += test(model, x, generator).rejected
    return count / sets


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--d", type=int, default=5)
    options = parser.parse_args()
    times(options.rounds)
    if not options.sets:
        return
    tests = {
        "ksd_test": lambda s, x, g: ksd_test(s, x, generator=g),
        "aggregated_test": lambda s, x, g: aggregated_test(s, x, generator=g),
        "places_test": lambda s, x, g: places_test(s, x, count=3, steps=30, draws=1000, generator=g),
    }
    error = math.sqrt(0.05 * 0.95 / options.sets)
    print(
        f"\nrejected at 5 %, n = {options.n}, d = {options.d}; level over {options.sets} sets (± {error:.4f}), power over 200"
    )
    print(f"  {'':<18}{'level':>8}{'mean + .3':>11}{'sd × 1.3':>10}{'sd × 0.8':>10}")
    for name, test in tests.items():
        sets = options.sets if name != "places_test" else min(options.sets, 300)
        level = rejected(test, sets, options.n, options.d)
        power = [
            rejected(test, min(200, options.sets), options.n, options.d, **change)
            for change in ({"shift": 0.3}, {"scale": 1.3}, {"scale": 0.8})
        ]
        print(f"  {name:<18}{level:>8.3f}{power[0]:>11.2f}{power[1]:>10.2f}{power[2]:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
