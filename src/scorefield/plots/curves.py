"""Curves and bars: the training loss under an exponential average, m_k = β m_{k−1} + (1 − β) l_k over 1 − βᵏ, held-out
losses by noise level, and comparisons with error bars of one standard error.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError, ShapeError
from ..metrics.estimate import Estimate
from .style import BLUE, GREY, INK, PALETTE, RED, axes, dress, figure, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def losses(log: Iterable[Mapping[str, Any]], *, smooth: float = 0.95, title: str = "training") -> "Figure":
    """The training loss and its smooth course, the held-out loss, and the held-out loss by noise level, in nats.

    A record is {"step": k, "loss": l}, {"step": k, "held_out": {level: loss}} or both; ``held_out`` may also be one
    number. The axis is logarithmic unless a loss is not positive.

    Raises: DataError if no record has a loss.

    >>> len(losses([{"step": 1, "loss": 2.0, "held_out": {0.1: 1.0, 1.0: 2.0}}]).axes)
    2
    """
    records = list(log)
    seen = [(r["step"], float(r["loss"])) for r in records if r.get("loss") is not None]
    held = [(r["step"], r["held_out"]) for r in records if r.get("held_out") is not None]
    if not seen and not held:
        raise DataError(f"losses of {len(records)} records, none with 'loss' or 'held_out': nothing to draw.")
    by_level = [(step, value) for step, value in held if isinstance(value, Mapping) and value]
    panels = 2 if by_level else 1
    picture = figure(5.2 * panels, 3.6)
    ax = dress(picture.add_subplot(1, panels, 1), title=title, xlabel="step", ylabel="loss per example (nats)")
    if seen:
        steps, values = zip(*seen)
        ax.plot(steps, values, color=BLUE, alpha=0.25, linewidth=0.7)
        ax.plot(steps, smoothed(values, smooth), color=BLUE, linewidth=1.6, label="training, smoothed")
    if held:
        average = [sum(v.values()) / len(v) if isinstance(v, Mapping) else float(v) for _, v in held]
        mark = "o" if len(held) < 40 else ""
        ax.plot([s for s, _ in held], average, color=RED, linewidth=1.6, marker=mark, markersize=3, label="held out")
    _logarithmic(ax)
    legend(ax)
    if by_level:
        _levels_over_time(picture.add_subplot(1, 2, 2), by_level)
    return picture


def levels(
    level: Sequence[float],
    loss: Sequence[float],
    baseline: Sequence[float] | None = None,
    *,
    errors: Sequence[float] | None = None,
    xlabel: str = "noise level σ",
    title: str = "held-out loss by noise level",
) -> "Figure":
    """The held-out loss at each noise level in nats, beside that of a score which is zero everywhere.

    Where the two meet the model has learnt nothing at that level. ``errors`` are standard errors.

    Raises: ShapeError if the sequences differ in length.

    >>> levels([0.1, 1.0], [3.0, 1.0], [5.0, 5.0]).axes[0].get_xscale()
    'log'
    """
    _alike("levels", level, loss, baseline, errors)
    picture = figure(5.2, 3.6)
    ax = axes(picture, title=title, xlabel=xlabel, ylabel="loss per example (nats)")
    if baseline is not None:
        ax.plot(level, baseline, color=GREY, linestyle="--", linewidth=1.4, label="score = 0")
    ax.errorbar(level, loss, yerr=errors, color=BLUE, marker="o", markersize=4, linewidth=1.6, capsize=2, label="model")
    if min(level) > 0:
        ax.set_xscale("log")
    _logarithmic(ax)
    legend(ax)
    return picture


def compare(
    names: Sequence[str],
    means: Sequence[float],
    errors: Sequence[float] | None = None,
    *,
    xlabel: str = "",
    title: str = "",
    best: float | None = None,
) -> "Figure":
    """One bar a name from the top, with error bars of one standard error and the number written beside.

    ``best`` is a value worth a line of its own, such as the floor that two samples of real data reach.

    Raises: ShapeError if the sequences differ in length.

    >>> [float(b.get_width()) for b in compare(["a", "b"], [1.0, 2.0]).axes[0].patches]
    [1.0, 2.0]
    """
    _alike("compare", names, means, errors)
    picture = figure(5.6, 0.9 + 0.42 * len(names))
    ax = axes(picture, title=title, xlabel=xlabel)
    place = range(len(names))
    colours = [PALETTE[k % len(PALETTE)] for k in place]
    whiskers = {"ecolor": INK, "capsize": 3, "elinewidth": 1}
    ax.barh(place, means, color=colours, height=0.62, xerr=errors, error_kw=whiskers)
    reach = [m + (0.0 if errors is None else errors[k]) for k, m in enumerate(means)]
    for k, mean in enumerate(means):
        text = f"{mean:.3g}" if errors is None else str(Estimate(mean, errors[k]))
        end = (max(reach[k], 0.0), k)
        ax.annotate(text, end, (5, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
    if best is not None:
        ax.axvline(best, color=INK, linestyle=":", linewidth=1.2)
    low, high = min(0.0, *means), max(0.0, *reach)
    ax.set_xlim(1.05 * low, high + 0.22 * (high - low))
    ax.set_yticks(place, names)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    return picture


def smoothed(values: Sequence[float], beta: float) -> list[float]:
    """m_k / (1 − βᵏ) with m_k = β m_{k−1} + (1 − β) v_k: the mean of what came so far, weighted by βᵃᵍᵉ.

    Values that are not finite leave the mean as it is.

    >>> smoothed([1.0, 3.0], 0.5)
    [1.0, 2.3333333333333335]
    """
    result, total, weight = [], 0.0, 0.0
    for value in values:
        if math.isfinite(value):
            total, weight = beta * total + (1 - beta) * value, beta * weight + (1 - beta)
        result.append(total / weight if weight else math.nan)
    return result


def _levels_over_time(ax: "Axes", held: Sequence[tuple[int, Mapping[Any, float]]]) -> None:
    from matplotlib import colormaps

    dress(ax, title="held out, by noise level", xlabel="step", ylabel="loss per example (nats)")
    names = sorted({name for _, value in held for name in value}, key=float)
    for k, name in enumerate(names):
        curve = [(step, value[name]) for step, value in held if name in value]
        colour = colormaps["viridis"](0.9 * k / max(1, len(names) - 1))
        label = f"{float(name):.2g}" if len(names) <= 12 or k % (len(names) // 6) == 0 else None
        mark = "o" if len(curve) < 40 else ""
        ax.plot(*zip(*curve), color=colour, linewidth=1.4, marker=mark, markersize=2.5, label=label)
    _logarithmic(ax)
    ax.legend(frameon=False, fontsize=7, title="level", title_fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _logarithmic(ax: "Axes") -> None:
    drawn = [float(v) for line in ax.get_lines() for v in np.asarray(line.get_ydata())]
    finite = [v for v in drawn if math.isfinite(v)]
    if not finite or min(finite) <= 0:
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = math.log10(max(finite) / min(finite))
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _alike(what: str, *given: Sequence[Any] | None) -> None:
    sizes = [len(g) for g in given if g is not None]
    if len(set(sizes)) > 1 or sizes[0] == 0:
        raise ShapeError(f"{what} of sequences of {sizes} values: all must be of the same length, at least 1.")
