"""The exact trace of a Jacobian, with its backward pass: this library beside torch.func.jacrev, in one run.

    L = mean tr J,   ∂L/∂weights,   network d → 128 → 128 → d

Milliseconds, the best of ``--rounds``, batch 256, float32. "forward" is what `Exact` takes here, "batched" what it takes for networks
whose layers it cannot follow, "one by one" its last resort. Gradients are compared: the last column is the largest difference from
jacrev's, relative to the largest gradient. Run with ``python benchmarks/divergence.py``; ``--batch``, ``--threads``.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scorefield.calculus import Exact, pulled
from scorefield.models import Energy
from scorefield.networks import MLP


def jacrev(net: nn.Module, x: Tensor) -> Tensor:
    """tr J of every row by torch.func."""
    return torch.func.vmap(torch.func.jacrev(lambda each: net(each[None])[0]))(x).diagonal(dim1=1, dim2=2).sum(1)


def one_by_one(net: nn.Module, x: Tensor) -> Tensor:
    """d backward passes, one after the other."""
    together, pulled.TOGETHER = pulled.TOGETHER, 1
    try:
        return Exact()._pulled(net, x)[1]
    finally:
        pulled.TOGETHER = together


WAYS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "jacrev": jacrev,
    "forward": lambda net, x: Exact()(net, x)[1],
    "batched": lambda net, x: Exact()._pulled(net, x)[1],
    "one by one": one_by_one,
}


def step(way: Callable[[nn.Module, Tensor], Tensor], net: nn.Module, x: Tensor) -> list[Tensor]:
    """The trace and its gradient by every weight."""
    return list(
        torch.autograd.grad(way(net, x).mean(), list(net.parameters()), materialize_grads=True, allow_unused=True)
    )


def main() -> None:
    """Prints one line a network and dimension."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    print(f"batch {asked.batch}, {asked.threads} threads, torch {torch.__version__}")
    print(f"{'network':12} {'d':>4} " + " ".join(f"{name:>11}" for name in WAYS) + f" {'ratio':>7} {'difference':>11}")
    for kind in ("tanh", "silu", "residual", "energy"):
        for d in (10, 50, 100):
            activation = nn.Tanh if kind == "tanh" else nn.SiLU
            layers = (nn.Linear(d, 128), activation(), nn.Linear(128, 128), activation(), nn.Linear(128, d))
            net = MLP(d, 128, 2) if kind == "residual" else nn.Sequential(*layers)
            if kind == "residual":
                nn.init.normal_(net.last.weight, std=0.1)
            if kind == "energy":
                net = Energy(nn.Sequential(*layers[:-1], nn.Linear(128, 1)))
            x = torch.randn(asked.batch, d)
            times = {name: float("inf") for name in WAYS}
            for _ in range(asked.rounds):
                for name, way in WAYS.items():
                    started = time.perf_counter()
                    step(way, net, x)
                    times[name] = min(times[name], time.perf_counter() - started)
            truth, ours = step(jacrev, net, x), step(WAYS["forward"], net, x)
            gap = max(float((a - b).abs().max()) for a, b in zip(truth, ours))
            gap /= max(float(a.abs().max()) for a in truth)
            row = " ".join(f"{1e3 * seconds:11.2f}" for seconds in times.values())
            print(f"{kind:12} {d:4} {row} {times['jacrev'] / times['forward']:7.1f} {gap:11.1e}", flush=True)


if __name__ == "__main__":
    main()
