"""Two moons: our amortised posterior against sbi's, on the same simulations and observations, in one run.

    C2ST = held-out accuracy of a random forest between 1,000 draws of the posterior and 1,000 exact ones; ½ at best

The task is T.8 of Lueckmann et al. (2021), arXiv:2101.04653. For every seed one set of simulations trains each method once, and
the same 3 observations are asked of each. Seconds are those of the wall and of the processor (the wall lies if others use the
machine), on one thread. Peers: sbi's NPSE (score-based, as ours) and NPE (a flow) as its documentation uses them, and NPSE with
ten times its patience. ``pip install sbi`` first; ``--seeds``, ``--simulations`` and ``--methods`` change the effort.
"""

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable

import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from scorefield.data import TwoMoons
from scorefield.metrics import two_sample
from scorefield.posterior import Posterior

Draw = Callable[[Tensor, int], Tensor]
DRAWS = 1000


def ours(theta: Tensor, x: Tensor, seed: int) -> Draw:
    """scorefield, every number at its default."""
    posterior = Posterior(2, 2, low=-1.0, high=1.0).fit(theta, x, seed=seed)
    return lambda y, n: posterior.sample(n, y, seed=seed)


def peer(name: str, **settings: int) -> Callable[[Tensor, Tensor, int], Draw]:
    """sbi's class of that name, every number at its default but those given to its ``train``."""

    def learn(theta: Tensor, x: Tensor, seed: int) -> Draw:
        import sbi.inference
        from sbi.utils import BoxUniform

        torch.manual_seed(seed)
        inference = getattr(sbi.inference, name)(
            prior=BoxUniform(-torch.ones(2), torch.ones(2)), show_progress_bars=False
        )
        inference.append_simulations(theta, x).train(**settings)
        posterior = inference.build_posterior()
        return lambda y, n: posterior.sample((n,), x=y, show_progress_bars=False)

    return learn


METHODS = {
    "scorefield": ours,
    "sbi NPSE": peer("NPSE"),
    "sbi NPSE, patient": peer("NPSE", stop_after_epochs=200),
    "sbi NPE": peer("NPE"),
}


def c2st(x: Tensor, y: Tensor) -> float:
    """Five folds, 100 trees."""
    return two_sample(x, y, classifier=RandomForestClassifier(100, random_state=0)).accuracy


def main() -> None:
    """A line a seed and method as it comes, then means, spreads over seeds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--observations", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    task, found = TwoMoons(), {name: [] for name in (*options.methods, "floor")}
    for seed in options.seeds:
        theta, x = task.pairs(options.simulations, torch.Generator().manual_seed(1000 + seed))
        _, seen = task.pairs(options.observations, torch.Generator().manual_seed(2000 + seed))
        exact = [
            [task.posterior(y, DRAWS, torch.Generator().manual_seed(10 * k + j)) for k, y in enumerate(seen)]
            for j in (0, 1)
        ]
        floor = [c2st(a, b) for a, b in zip(*exact)]
        found["floor"].append((statistics.mean(floor), 0.0, 0.0, 0.0))
        print(f"seed {seed}  {'floor':17s} {floor}", flush=True)
        for name in options.methods:
            wall, cpu = time.perf_counter(), time.process_time()
            # sbi prints, and writes logs into the folder it is called in.
            with (
                contextlib.redirect_stdout(io.StringIO()),
                tempfile.TemporaryDirectory() as place,
                contextlib.chdir(place),
            ):
                draw = METHODS[name](theta, x, seed)
            wall, cpu, start = time.perf_counter() - wall, time.process_time() - cpu, time.process_time()
            drawn = [draw(y, DRAWS) for y in seen]
            drawing = time.process_time() - start
            scores = [c2st(z, truth) for z, truth in zip(drawn, exact[0])]
            found[name].append((statistics.mean(scores), wall, cpu, drawing))
            each = " ".join(f"{score:.3f}" for score in scores)
            print(
                f"seed {seed}  {name:17s} {each}  {wall:.0f} s, {cpu:.0f} s of processor, {drawing:.1f} s drawing",
                flush=True,
            )
    print(f"\n{'mean over seeds':17s} {'C2ST':>7s} {'± seeds':>8s} {'wall s':>8s} {'cpu s':>8s} {'drawing s':>10s}")
    for name, rows in found.items():
        accuracy, wall, cpu, drawing = (statistics.mean(column) for column in zip(*rows))
        spread = statistics.stdev(row[0] for row in rows) if len(rows) > 1 else float("nan")
        print(f"{name:17s} {accuracy:7.3f} {spread:8.3f} {wall:8.0f} {cpu:8.0f} {drawing:10.1f}")
    mine = [statistics.mean(column) for column in zip(*found["scorefield"])] if "scorefield" in found else None
    for name in options.methods:
        if mine and name != "scorefield":
            theirs = [statistics.mean(column) for column in zip(*found[name])]
            excess = (theirs[0] - 0.5) / (mine[0] - 0.5)
            print(
                f"{name}: {excess:.1f} times our C2ST above ½, {theirs[2] / mine[2]:.1f} times our processor time to train"
            )


if __name__ == "__main__":
    main()
