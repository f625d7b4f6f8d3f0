"""What a walk costs beyond its network: N evaluations by the sampler against N bare forwards of the digits network.

Both run in turn, round by round, at batch 64; the ratio is taken within rounds. ``--steps``, ``--rounds`` change the effort.
"""

import argparse
import statistics
import time

import torch

from scorefield.recipes import digits
from scorefield.samplers import Ancestral, Heun, Multistep
from scorefield.tensors import Streams


def main() -> None:
    """Print the ratio with its spread for each sampler."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    model = digits().model.eval()
    x = model.noise.prior(torch.empty(64, *model.shape), Streams(0, range(64)))
    unit, level = torch.randn(64, *model.shape), torch.full((64,), -0.3)

    def bare(evaluations: int) -> float:
        start = time.perf_counter()
        with torch.no_grad():
            for _ in range(evaluations):
                model.network(unit, level)
        return time.perf_counter() - start

    for sampler in (Multistep(), Ancestral(0.0), Ancestral(), Heun()):
        times = sampler.times(model, options.steps)
        evaluations = sampler.evaluations * (options.steps - 1) + 1

        def walk(sampler=sampler, times=times) -> float:
            start = time.perf_counter()
            for _ in sampler.walk(model, x, times, Streams(0, range(64))):
                pass
            return time.perf_counter() - start

        bare(2), walk()
        ratios = sorted(walk() / bare(evaluations) for _ in range(options.rounds))
        quarter = options.rounds // 4
        print(
            f"{sampler!s:32s} {evaluations} evaluations, walk / bare forwards: {statistics.median(ratios):.3f} "
            f"(middle half {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f})"
        )


if __name__ == "__main__":
    main()
