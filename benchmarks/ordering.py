"""Curvatures of a log-density by products of matrices, beside the same formula over all pairs, and orders of known graphs.

    (∂²_jj log p) = −G² + (K + ηI)⁻¹ B:  n × n × d numbers where sums over pairs are written out, n² + nd where they are not

Both are float64 on one thread, in one run, and give the same numbers; the second size is timed in a process of its own, so that its
peak of memory is its own. Orders, and the graphs that are left after pruning, are of random additive models with sines for mechanisms
and two parents a variable; an arrow the wrong way counts once in the structural Hamming distance.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor

from scorefield.closed import causal_graph, causal_order, curvatures, median_width


def over_pairs(x: Tensor, width: float, ridge: float) -> Tensor:
    """The formula as it is written, with its tensor."""
    away = x[:, None] - x[None]
    kernel = (-(away.norm(dim=2) ** 2) / (2 * width**2)).exp()
    inverse = torch.inverse(kernel + ridge * torch.eye(len(x)).to(x))
    first = inverse @ torch.einsum("kij,ik->kj", away, kernel) / width**2
    second = inverse @ torch.einsum("kij,ik->kj", away**2 / width**4 - 1 / width**2, kernel)
    return second - first**2


def timed(call) -> tuple[float, float, Tensor]:
    start = time.process_time(), time.perf_counter()
    value = call()
    return time.process_time() - start[0], time.perf_counter() - start[1], value


def additive(d: int, n: int, seed: int) -> tuple[Tensor, list[tuple[int, int]]]:
    generator = torch.Generator().manual_seed(seed)
    x, edges = torch.zeros(n, d, dtype=torch.float64), []
    places = torch.randperm(d, generator=generator).tolist()
    for k, j in enumerate(places):
        x[:, j] = torch.randn(n, generator=generator) * (0.6 + 0.4 * torch.rand(1, generator=generator))
        for i in places[:k]:
            if float(torch.rand(1, generator=generator)) < 4 / (d - 1):
                x[:, j] += 1.5 * torch.sin(2 * x[:, i] + 3 * float(torch.rand(1, generator=generator)))
                edges.append((i, j))
    return x, edges


def large(n: int, d: int) -> None:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0)).double()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, clock, _ = timed(lambda: curvatures(x))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"n = {n}, d = {d}: processor {cpu:.2f} s, clock {clock:.2f} s; peak {peak / 2**20:.2f} GiB, ", end="")
    print(f"of which {before / 2**20:.2f} torch and the data", flush=True)


def main() -> None:
    """Times, the peak of memory, how many edges the orders violate, and what pruning keeps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--graphs", type=int, default=10)
    parser.add_argument("--large", action="store_true", help="only the second size, in this process")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.large:
        large(4000, 200)
        return
    subprocess.run(
        [sys.executable, __file__, "--large"], check=True
    )  # first: a process inherits the peak of its parent
    x = torch.randn(2000, 50, generator=torch.Generator().manual_seed(0)).double()
    width = median_width(x)
    mine, plain = [], []
    for _ in range(options.rounds):
        mine.append(timed(lambda: curvatures(x, width=width)))
        plain.append(timed(lambda: over_pairs(x, width, 1e-3)))
    gap = float((mine[0][2] - plain[0][2]).abs().max())
    for k, name in enumerate(("processor", "clock")):
        ours, theirs = (statistics.median(row[k] for row in rows) for rows in (mine, plain))
        print(f"n = 2000, d = 50, {name}: {ours:.3f} s; over pairs {theirs:.2f} s; {theirs / ours:.1f} times")
    print(f"  largest difference {gap:.1e}", flush=True)
    for d in (10, 20):
        violated = total = kept = right = apart = most = 0
        spent, pruning = [], []
        for seed in range(options.graphs):
            x, edges = additive(d, 1000, seed)
            cpu, _, order = timed(lambda x=x: causal_order(x))
            place = {j: k for k, j in enumerate(order)}
            violated, total = violated + sum(place[i] > place[j] for i, j in edges), total + len(edges)
            spent.append(cpu)
            cpu, _, graph = timed(lambda x=x, order=order: causal_graph(x, order=order))
            pruning.append(cpu)
            found = {tuple(edge) for edge in graph.adjacency.nonzero().tolist()}
            kept, right = kept + len(found), right + len(found & set(edges))
            apart += len({frozenset(edge) for edge in found ^ set(edges)})
            most += d * (d - 1) // 2 - sum(place[i] < place[j] for i, j in edges)
        print(
            f"orders, d = {d}, n = 1000: {violated} of {total} edges violated; {statistics.median(spent):.2f} s",
            flush=True,
        )
        print(
            f"  pruned: {kept} arrows, {right} of them right; structural Hamming distance {apart / options.graphs:.1f} a graph, "
            f"{most / options.graphs:.1f} before; {statistics.median(pruning):.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
