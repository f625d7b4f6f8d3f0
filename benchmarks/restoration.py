"""Restoring the digits of a run by every method: does the posterior know how wrong it is? ``python benchmarks/restoration.py RUN``.

Held-out digits, of every class, with the lower half hidden, blurred, or seen as 7 × 7 means, noise 0.05; ``--draws`` draws each.

    misfit    root mean square of y − A x in a draw, in units of the noise, median and worst: 1 for a right posterior
    error     root mean square of truth − mean
    ratio     error over what the spread foretells, √(1 + 1/draws) sd: 1 for a right posterior, above it too sure
    outside   part of the undecided pixels (sd > 0.1) whose truth lies outside all draws: 2/(draws + 1) for a right posterior
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

import scorefield as sf
from scorefield.checkpoints import load
from scorefield.data import open_data
from scorefield.guidance import (
    DDRM,
    DPS,
    Isotropic,
    Krylov,
    Measurement,
    MomentMatching,
    Operator,
    Proximal,
    Reconstruction,
    Refresh,
    RowSums,
)
from scorefield.recipes.restore import MEASUREMENTS
from scorefield.samplers import Ancestral
from scorefield.tensors import Streams, normal

STD = 0.05


def methods(model: sf.Denoiser, seen: Measurement) -> dict:
    """(denoiser, sampler) by name; samplers that hold the measurement get it one digit at a time."""
    return {
        "MMPS(4), default sampler": (MomentMatching(model, seen), None),
        "MMPS(4), ancestral": (MomentMatching(model, seen), Ancestral()),
        "MMPS(1), ancestral": (MomentMatching(model, seen, Krylov(1)), Ancestral()),
        "TMPD, ancestral": (MomentMatching(model, seen, RowSums()), Ancestral()),
        "PGDM, ancestral": (MomentMatching(model, seen, Isotropic(0.6)), Ancestral()),
        "reconstruction, ancestral": (Reconstruction(model, seen, STD), Ancestral()),
        "DiffPIR": (Proximal(model, seen), Refresh()),
        "DDRM": (model, DDRM),
        "DPS(1)": (model, DPS),
    }


def drawn(guide, sampler, operator: Operator, ys: Tensor, draws: int, steps: int) -> Tensor:
    """(digits, draws, *event)."""
    how = {"steps": steps, "shape": operator.shape}
    if isinstance(sampler, type):
        each = [sampler(Measurement(operator, y, STD)) for y in ys]
        return torch.stack([sf.sample(guide, draws, sampler=one, seed=k, **how) for k, one in enumerate(each)])
    x = sf.sample(guide, len(ys) * draws, sampler=sampler, observation=ys.repeat_interleave(draws, 0), chunk=256, **how)
    return x.reshape(len(ys), draws, *operator.shape)


def main() -> None:
    """Print a table for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--digits", type=int, default=20)
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--measurements", nargs="*", default=list(MEASUREMENTS))
    options = parser.parse_args()
    model, held_out = load(options.run, trust=("scorefield",)), open_data(options.data).held_out
    truth = held_out[torch.linspace(0, len(held_out) - 1, options.digits + 2).long()[1:-1]]
    print(f"outside should be {2 / (options.draws + 1):.3f}")
    for name in options.measurements:
        operator = MEASUREMENTS[name](tuple(truth.shape[1:]))
        clean = operator(truth)
        ys = clean + STD * normal(clean, Streams(0, range(len(truth))))
        for method, (guide, sampler) in methods(model, Measurement(operator, ys[0], STD)).items():
            start = time.process_time()
            x = drawn(guide, sampler, operator, ys, options.draws, options.steps)
            misfit = ys.repeat_interleave(options.draws, 0) - operator(x.flatten(0, 1))
            misfit = misfit.flatten(1).square().mean(1).sqrt() / STD
            mean, spread = x.mean(1), x.std(1)
            error = (truth - mean).square().mean().sqrt()
            foretold = (spread.square().mean() * (1 + 1 / options.draws)).sqrt()
            below = (x < truth[:, None]).sum(1)[spread > 0.1]
            outside = ((below == 0) | (below == options.draws)).double().mean()
            print(
                f"{name:11s} {method:26s} misfit {float(misfit.median()):5.2f} {float(misfit.max()):5.2f}  error {float(error):.3f}  "
                f"ratio {float(error / foretold):.2f}  outside {float(outside):.3f}  {time.process_time() - start:6.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
