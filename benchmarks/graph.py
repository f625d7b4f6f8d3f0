"""Graphs from data: the path of penalised score matching beside that of the graphical lasso, on the same data.

    area = under the ROC of the edges along the path, joined to (0, 0) and (1, 1);  p = 50, n = 200, 100 penalties to λ_1/100

    python benchmarks/graph.py              Gaussian data
    python benchmarks/graph.py --positive   positive data, n = 400 and 1,000: Gaussians truncated to the orthant, and the exponential
                                            square-root model, by 200 sweeps of Gibbs; each path with the right model, with the
                                            Gaussian one and by the graphical lasso

The graph is random with 2.5 edges a variable; K has entries ±U(0.3, 0.8) on its edges and its least eigenvalue is 0.1, or it is
diagonally dominant. Time is that of the processor on one thread, and of the clock, which other work on the machine lengthens.
``--sets`` and ``--peer-sets`` change the effort: scikit-learn's graphical lasso takes by far the most of it,
and of positive data the draws.
"""

import argparse
import math
import statistics
import time
import warnings

import torch
from torch import Tensor

from scorefield.closed import Pairwise, graph_path
from scorefield.closed.path import default_multiplier


def precision(d: int, generator: torch.Generator, *, dominant: bool) -> Tensor:
    """A sparse K, well conditioned."""
    there = (torch.rand(d, d, generator=generator) < 2.5 / (d - 1)).triu(1)
    size = 0.3 + 0.5 * torch.rand(d, d, generator=generator).double()
    sign = torch.where(torch.rand(d, d, generator=generator) < 0.5, -1.0, 1.0)
    k = there * size * sign
    k = k + k.T
    if dominant:
        return k + torch.diag(k.abs().sum(1) + 0.1)
    return k + (0.1 - float(torch.linalg.eigvalsh(k)[0])) * torch.eye(d)


def area(path: Tensor, truth: Tensor) -> float:
    """Under the curve of true against false edges."""
    row, column = torch.triu_indices(*truth.shape, 1)
    edge, found = truth[row, column] != 0, path[:, row, column] != 0
    hits, alarms = found[:, edge].double().mean(1), found[:, ~edge].double().mean(1)
    place = (alarms + 1e-9 * hits).argsort()
    ends = torch.tensor([0.0]).double(), torch.tensor([1.0]).double()
    return float(
        torch.trapezoid(torch.cat([ends[0], hits[place], ends[1]]), torch.cat([ends[0], alarms[place], ends[1]]))
    )


def lasso(x: Tensor, steps: int) -> Tensor:
    """The path of the graphical lasso, on correlations."""
    from sklearn.covariance import graphical_lasso

    correlation = torch.corrcoef(x.T)
    top = float((correlation - torch.eye(len(correlation))).abs().max())
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for penalty in top * torch.logspace(0, -2, steps, dtype=torch.float64):
            found.append(torch.from_numpy(graphical_lasso(correlation.numpy(), float(penalty), max_iter=100)[1]))
    return torch.stack(found)


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}  (least {min(values):.4f}, {len(values)} sets)"


def truncated(k: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """exp(−½ xᵀKx) on the orthant, each coordinate in turn by inversion."""
    x = torch.rand(n, len(k), generator=generator).double()
    for _ in range(200):
        for j in range(len(k)):
            spread = 1 / float(k[j, j]) ** 0.5
            mean = x[:, j] - x @ k[j] / k[j, j]
            low = torch.special.ndtr(mean / spread)  # the mass above zero
            u = 1 - torch.rand(n, generator=generator).double()
            x[:, j] = (mean - spread * torch.special.ndtri(u * low)).clamp(min=1e-9)
    return x


def square_root(k: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """exp(−√xᵀK√x + 2·1ᵀ√x): y = √x has the conditional y exp(−K_jj (y − m)²), whose distribution function is inverted.

    By Newton's method from the mode: it rises to a root on the right, where the function is concave, and falls to one on the left.
    """
    y = torch.rand(n, len(k), generator=generator).double()
    for _ in range(200):
        for j in range(len(k)):
            own = float(k[j, j])
            mean = y[:, j] + (1 - y @ k[j]) / own
            root, high = own**0.5, mean.clamp(min=0) + 8 / own**0.5
            factor = mean * (math.sqrt(math.pi) / (2 * root))
            start = (-own * mean**2).exp() / (2 * own) + factor * torch.special.erf(root * mean)
            end = (-own * (high - mean) ** 2).exp() / (2 * own) - factor * torch.special.erf(root * (high - mean))
            goal = torch.rand(n, generator=generator).double() * (start - end) - start
            z = (mean + (mean**2 + 2 / own).sqrt()) / 2
            for _ in range(12):
                bell = (-own * (z - mean) ** 2).exp()
                value = factor * torch.special.erf(root * (z - mean)) - bell / (2 * own)
                z = (z - (value - goal) / (z * bell)).clamp(1e-5 * torch.ones_like(high), high)
            y[:, j] = z
    return y**2


def positive(sets: int, steps: int) -> None:
    """Three paths on the same positive data: the right model, the Gaussian one, and the graphical lasso."""
    d = 50
    for name, draw, model in (
        ("Gaussian on the orthant", truncated, Pairwise(d, 1.0, 1.0)),
        ("exponential square-root", square_root, Pairwise(d, 0.5, 0.5)),
    ):
        for n in (400, 1000):
            found: dict[str, list[float]] = {
                "right model": [],
                "with δ": [],
                "Gaussian": [],
                "graphical lasso": [],
            }
            for seed in range(sets):
                generator = torch.Generator().manual_seed(seed)
                truth = precision(d, generator, dominant=False)
                x = draw(truth, n, generator)
                found["right model"].append(area(graph_path(x, model).scaled, truth))
                delta = default_multiplier(n, d)
                found["with δ"].append(area(graph_path(x, model, multiplier=delta).scaled, truth))
                found["Gaussian"].append(area(graph_path(x).scaled, truth))
                found["graphical lasso"].append(area(lasso(x, steps), truth))
            print(f"{name}, n = {n}, δ = {delta:.3f}", flush=True)
            peer = found["graphical lasso"]
            for which, values in found.items():
                gains = [mine - other for mine, other in zip(values, peer)]
                error = statistics.stdev(gains) / sets**0.5 if sets > 1 else math.nan
                ahead = (
                    ""
                    if values is peer
                    else f"  − lasso {statistics.mean(gains):+.4f} ± {error:.4f} (its standard error)"
                )
                print(f"  {which:<16} area {spread(values)}{ahead}", flush=True)


def main() -> None:
    """Areas, times and what the criterion selects."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--peer-sets", type=int, default=5)
    parser.add_argument("--peer-steps", type=int, default=100)
    parser.add_argument("--positive", action="store_true", help="models for positive data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.positive:
        positive(options.sets, options.peer_steps)
        return
    d, n = 50, 200
    for dominant in (False, True):
        print("K diagonally dominant" if dominant else "K with least eigenvalue 0.1", flush=True)
        areas, cpu, clock, right, selected, edges, pairs = [], [], [], [], [], [], []
        for seed in range(options.sets):
            generator = torch.Generator().manual_seed(seed)
            truth = precision(d, generator, dominant=dominant)
            root = torch.linalg.cholesky(torch.linalg.inv(truth))
            x = torch.randn(n, d, generator=generator).double() @ root.T
            start = time.process_time(), time.perf_counter()
            path = graph_path(x)
            cpu.append(time.process_time() - start[0])
            clock.append(time.perf_counter() - start[1])
            areas.append(area(path.scaled, truth))
            chosen = path.select()
            selected.append(chosen.size)
            right.append(int((chosen.adjacency & (truth != 0)).sum()) // 2)
            edges.append(int((truth != 0).sum() - d) // 2)
            if seed < options.peer_sets:
                before = time.process_time()
                peer = area(lasso(x, options.peer_steps), truth)
                pairs.append((areas[-1], peer, time.process_time() - before))
        print(f"  score matching  area {spread(areas)}", flush=True)
        print(f"    processor {statistics.median(cpu):.3f} s a path, clock {statistics.median(clock):.3f} s (medians)")
        found = f"{sum(selected) / options.sets:.1f} edges, {sum(right) / options.sets:.1f} of them right"
        print(f"    eBIC selects {found}, of {sum(edges) / options.sets:.1f}")
        if pairs:
            mine, peer, seconds = (list(column) for column in zip(*pairs))
            print(f"  the same sets:  score matching {spread(mine)}")
            print(
                f"  graphical lasso area {spread(peer)}, {options.peer_steps} penalties in {statistics.median(seconds):.1f} s"
            )


if __name__ == "__main__":
    main()
