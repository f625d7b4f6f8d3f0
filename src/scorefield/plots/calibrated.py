"""A calibration report in three panels: ranks, the empirical distribution of ranks less the diagonal, and coverage.

The grey regions hold what a right sampler shows 95 times in 100: each bin of the histogram and each level of the coverage
by itself, the whole of every curve in the middle (Säilynoja, Bürkner and Vehtari 2022, arXiv:2103.10522).
"""

from typing import TYPE_CHECKING

import torch

from ..metrics.calibration import Calibration
from ..metrics.uniformity import band, shares
from .style import GREY, INK, PALETTE, dress, figure, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 7


def calibrated(report: Calibration, *, bins: int = 20, title: str = "") -> "Figure":
    """Ranks, their distribution less the diagonal, and coverage of intervals, of the least uniform quantities of a report.

    Too wide a sampler makes a hill in the first panel, a curve that first falls and then rises in the second, and one above
    the diagonal in the third; too narrow a one the opposite. The seven quantities of least p-value are drawn.

    >>> from scorefield.data import GaussianLinear
    >>> from scorefield.metrics import calibration
    >>> task = GaussianLinear(dim=1)
    >>> len(calibrated(calibration(task.posterior, task.pairs, cases=50)).axes)
    3
    """
    shown = sorted(sorted(range(len(report.names)), key=lambda k: report.p_values[k])[:MOST])
    cases = len(report.u)
    picture = figure(11.5, 3.6)
    ranks, curve, cover = (picture.add_subplot(1, 3, k) for k in (1, 2, 3))
    dress(ranks, title=title or f"p = {report.p_value:.2g}", xlabel="rank of the truth", ylabel="cases in a bin")
    spread = 1.96 * (cases / bins * (1 - 1 / bins)) ** 0.5
    ranks.axhspan(max(0, cases / bins - spread), cases / bins + spread, color=GREY, alpha=0.25, linewidth=0)
    z, low, high = band(cases)
    dress(curve, title="distribution of ranks", xlabel="z", ylabel="F(z) − z")
    curve.fill_between(z, low - z, high - z, color=GREY, alpha=0.25, linewidth=0)
    levels = torch.linspace(0.02, 0.98, 49).double()
    error = 1.96 * (levels * (1 - levels) / cases).sqrt()
    dress(cover, title="coverage", xlabel="level of the interval", ylabel="cases with the truth inside")
    cover.fill_between(levels, levels - error, levels + error, color=GREY, alpha=0.25, linewidth=0)
    cover.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    covered = [report.coverage(float(level)) for level in levels]
    heights = shares(report.u)
    for k, index in enumerate(shown):
        name, colour = report.names[index], PALETTE[k]
        counts = torch.histc(report.u[:, index].double(), bins, 0, 1)
        ranks.stairs(counts, torch.linspace(0, 1, bins + 1), color=colour, linewidth=1.4)
        curve.plot(z, heights[:, index] - z, color=colour, linewidth=1.4)
        cover.plot(levels, [float(each[name]) for each in covered], color=colour, linewidth=1.4, label=name)
    legend(cover)
    return picture
