"""The kernel Stein tests: time, level and power.

python benchmarks/ksd.py            time of the test at n = 1,500, d = 5, 500 bootstraps; level over 1,000 null sets; power
"""

import argparse
import math
import time

import torch

from scorefield.exact import Gaussian
from scorefield.metrics import aggregated_test, ksd_test, places_test

DOUBLE = torch.float64


def seconds(call, repeats: int = 7) -> float:
    """The least of a few times, in seconds of the processor."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


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
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--d", type=int, default=5)
    options = parser.parse_args()
    model = Gaussian(torch.zeros(5), torch.eye(5))
    x = torch.randn(1500, 5, generator=torch.Generator().manual_seed(0))
    print(f"n = 1,500, d = 5, 500 bootstraps, {torch.get_num_threads()} thread(s)")
    for name, test in {"ksd_test": ksd_test, "aggregated_test": aggregated_test, "places_test": places_test}.items():
        took = seconds(lambda test=test: test(model, x, generator=torch.Generator().manual_seed(1)))
        print(f"  {name:<18}{took:8.3f} s", flush=True)
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
