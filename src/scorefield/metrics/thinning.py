"""Stein thinning: the m states of a chain that together are nearest to a score, by the kernel Stein discrepancy.

    π_j = argmin_i  ½ h(x_i, x_i) + Σ_{l<j} h(x_{π_l}, x_i)

Bad starts are left out and biases corrected, with no warm-up to choose. Riabiz, Chen, Cockayne, Swietach, Niederer, Mackey and Oates
(2022), arXiv:2005.03952.
"""

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from ..closed.kernels import IMQ, Kernel, median_width
from ..errors import RangeError
from ..models import Score
from .ksd import scored, stein_kernel


def thin(score: Score, x: Shaped[Tensor, "n *event"], m: int, *, kernel: Kernel | None = None) -> Int[Tensor, "m"]:
    """Indices of m rows whose KSD is greedily least, in the order of choice; a row may come again. Time n m d, memory n.

    The kernel is `IMQ` at the median distance unless given. ``x[thin(score, x, m)]`` is the sample. Raises: RangeError for m < 1;
    ShapeError, DataError as `ksd`.

    >>> thin(lambda x: -x, torch.tensor([[9.0], [0.0], [8.0], [0.5]]), 1, kernel=IMQ(1.0)).tolist()
    [1]
    """
    if m < 1:
        raise RangeError(f"thin(m={m}): m must be at least 1.")
    x, s = scored(score, x)
    kernel = kernel if kernel is not None else IMQ(median_width(x))
    k1 = float(kernel.derivatives(x.new_zeros(1, 1), 1)[1])
    k0 = float(kernel.derivatives(x.new_zeros(1, 1), 0)[0])
    goal = 0.5 * (k0 * s.square().sum(1) - 2 * k1 * x.shape[1])  # ½ h(x_i, x_i)
    chosen = torch.empty(m, dtype=torch.int64, device=x.device)
    for j in range(m):
        i = int(goal.argmin())
        chosen[j] = i
        goal = goal + stein_kernel(kernel, x, s, x[i : i + 1], s[i : i + 1])[:, 0]
    return chosen
