"""How fast a run draws: whole walks, timed by backend, number of rows and number of steps.

    eager      PyTorch as it is                   compiled   the network through torch.compile
    onnx       the whole walk as one graph        int8       the same with the graph that ``export --to int8`` wrote

A call draws its normals, walks and scales, as ``sample`` does. All backends of a cell take turns (`timed`), each on ``threads``
processor cores.
"""

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..data import Scaling
from ..errors import RangeError, RunError, unknown
from ..models import Denoiser
from ..plots.style import PALETTE, dress, figure, legend
from ..recipes.drawing import Drawing
from .backend import session
from .graph import denoiser_graph, onnx, sampler_graph, told
from .program import draws, program
from .timing import Timing, timed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACKENDS = ("eager", "compiled", "onnx", "int8")
HEAD = f"{'rows':>6}{'steps':>7}{'calls':>7}{'backend':>10}{'p50 ms':>11}{'p99 ms':>11}{'± ms':>7}{'samples/s':>12}"
Draw = Callable[[], object]


@dataclass(frozen=True)
class Cell:
    """The time of drawing ``rows`` samples in ``steps`` steps, of ``evaluations`` of the network each."""

    backend: str
    rows: int
    steps: int
    evaluations: int
    timing: Timing

    @property
    def throughput(self) -> float:
        """Samples a second, at the median."""
        return self.timing.per_second(self.rows)


def bench(
    model: nn.Module,
    *,
    how: Drawing,
    shape: tuple[int, ...],
    scaling: Scaling | None = None,
    backends: Sequence[str] = ("eager", "onnx"),
    rows: Sequence[int] = (1, 8, 64),
    steps: Sequence[int] | None = None,
    int8: str | Path | None = None,
    seconds: float = 3.0,
    calls: int = 200,
    threads: int = 1,
) -> Iterator[Cell]:
    """The cells one after the other, each as soon as it is measured; ``steps`` are by default those of the drawing.

    ``int8`` is the file of a quantised denoiser. ``seconds`` and ``calls`` bound each cell, of at least five rounds.
    Raises: UnknownNameError for a backend; RangeError for numbers below one; RunError for int8 without its file, a model that is no
    denoiser, or a compiler that fails; as `export` for graphs.
    """
    for name in backends:
        if name not in BACKENDS:
            raise unknown("backend", name, BACKENDS)
    steps = tuple(steps or (how.steps,))
    if min(rows, default=0) < 1 or min(steps) < 1 or threads < 1 or not backends:
        raise RangeError(
            f"bench(rows={list(rows)}, steps={list(steps)}, threads={threads}): one backend at least, numbers from 1 on."
        )
    if not isinstance(model, Denoiser):
        raise RunError(f"bench of {type(model).__name__}: a denoiser wanted, which draws samples.")
    makers = {name: _maker(name, model, shape, scaling or Scaling.identity(), int8, threads) for name in backends}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for count in steps:
            plan = how if count == how.steps else replace(how, steps=count, times=None)
            evaluations = len(program(model, plan).times)
            made = {name: make(plan) for name, make in makers.items()}
            for n in rows:
                found = timed({name: draw(n) for name, draw in made.items()}, calls=calls, seconds=seconds)
                for name, timing in found.items():
                    yield Cell(name, n, count, evaluations, timing)
    finally:
        torch.set_num_threads(before)


def table(cells: Sequence[Cell]) -> str:
    """One line a cell: rows, steps, evaluations, backend, p50, p99 and spread in milliseconds, samples a second.

    >>> print(table([Cell("onnx", 64, 4, 4, Timing(20.0, 25.0, 1.0, 50))]))
      rows  steps  calls   backend     p50 ms     p99 ms   ± ms   samples/s
        64      4      4      onnx       20.0       25.0   1.00        3200
    """
    return "\n".join([HEAD, *map(line, cells)])


def line(cell: Cell) -> str:
    """One cell, in the columns of `HEAD`."""
    time = cell.timing
    return (
        f"{cell.rows:>6}{cell.steps:>7}{cell.evaluations:>7}{cell.backend:>10}{_short(time.p50):>11}{_short(time.p99):>11}"
        f"{_short(time.spread):>7}{cell.throughput:>12.0f}"
    )


def plain(cells: Sequence[Cell], threads: int = 1) -> bytes:
    """The cells as JSON, with the versions that they are of and the processor cores that each call could use."""
    from ..checkpoints import versions

    about = {"versions": versions(), "threads": threads}
    found = [asdict(each) | {"samples_per_second": each.throughput} for each in cells]
    return (json.dumps(about | {"cells": found}, indent=2) + "\n").encode()


def picture(cells: Sequence[Cell]) -> "Figure":
    """Time of one sample by steps, or by backend if the steps are all the same, and samples a second by rows; whiskers reach p99."""
    from matplotlib.ticker import LogLocator

    made = figure(9.6, 3.4)
    least = min(each.rows for each in cells)
    most = max({each.steps for each in cells}, key=lambda k: sum(each.steps == k for each in cells))
    names = list(dict.fromkeys(each.backend for each in cells))
    several = len({each.steps for each in cells}) > 1
    left = dress(
        made.add_subplot(1, 2, 1), title=f"{least} sample{'s' * (least > 1)} a call" + f", {most} steps" * (not several),
        xlabel="steps" if several else "", ylabel="ms, median and p99",
    )  # fmt: skip
    right = dress(made.add_subplot(1, 2, 2), title=f"{most} steps", xlabel="samples a call", ylabel="samples a second")
    for k, name in enumerate(names):
        style: dict[str, Any] = {"color": PALETTE[k], "marker": "o", "markersize": 4, "linewidth": 1.5, "label": name}
        one = [each for each in cells if each.backend == name and each.rows == least]
        above = [each.timing.p99 - each.timing.p50 for each in one]
        left.errorbar(
            [each.steps if several else k for each in one], [each.timing.p50 for each in one],
            yerr=[[0.0] * len(one), above], capsize=2, **style,
        )  # fmt: skip
        many = [each for each in cells if each.backend == name and each.steps == most]
        right.plot([each.rows for each in many], [each.throughput for each in many], **style)
    by_steps = [(left, {each.steps for each in cells})] if several else []
    for ax, places in (*by_steps, (right, {each.rows for each in cells})):
        ax.set_xscale("log", base=2)
        ax.set_xticks(sorted(places))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
    for ax in (left, right):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")
    if not several:
        left.set_xticks(range(len(names)), names)
        left.set_xlim(-0.5, len(names) - 0.5)
    legend(left if several else right)
    return made


def compiler() -> bool:
    """Whether there is a C++ compiler, which torch.compile needs on the CPU."""
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))


def _maker(
    name: str, model: Denoiser, shape: tuple[int, ...], scaling: Scaling, int8: str | Path | None, threads: int
) -> Callable[[Drawing], Callable[[int], Draw]]:
    if name in ("eager", "compiled"):
        chosen = (lambda plan: model) if name == "eager" else _compiled(model, shape)
        return lambda plan: _drawn(chosen(plan), plan, shape, scaling)
    if name == "int8":
        if int8 is None or not Path(int8).is_file():
            raise RunError(
                f"bench: no int8 graph{'' if int8 is None else f' at {int8}'}; write it with: export RUN --to int8."
            )
        graph = onnx().load(int8)
    else:
        graph = denoiser_graph(model, shape)

    def of(plan: Drawing) -> Callable[[int], Draw]:
        walk = program(model, plan)
        whole = sampler_graph(graph, walk, scaling)
        run = session(whole.SerializeToString(), threads)

        def drawing(n: int) -> Draw:
            labels = plan.labels(n).numpy()

            def draw() -> object:
                given = {"noise": draws(walk.draws, shape, 0, range(n)).numpy()}
                return run.run(None, given | ({"label": labels} if told(graph)["classes"] else {}))

            return draw

        return drawing

    return of


def _drawn(model: Denoiser, plan: Drawing, shape: tuple[int, ...], scaling: Scaling) -> Callable[[int], Draw]:
    return lambda n: lambda: scaling.to_data(plan.sample(model, n, shape=shape))


def _compiled(model: Denoiser, shape: tuple[int, ...]) -> Callable[[Drawing], Denoiser]:
    if not compiler():
        raise RunError("bench: torch.compile needs a C++ compiler, and there is none; leave out the backend compiled.")
    made = copy.deepcopy(model)

    def of(plan: Drawing) -> Denoiser:
        try:
            made.network = torch.compile(model.network)  # type: ignore[arg-type, assignment]
            plan.sample(made, 1, shape=shape)  # compiles at the first call
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RunError(f"bench: torch.compile fails: {reason[:200]}; leave out the backend compiled.") from error
        return made

    return of


def _short(ms: float) -> str:
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 1000 else f"{ms:.0f}"
