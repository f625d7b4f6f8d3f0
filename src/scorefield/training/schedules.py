"""Learning rates: rate(k) = base · warm-up(k) · decay(u), u ∈ [0, 1] the part of the remaining steps that is done.

A decay is any function of u: `constant` 1, `linear` 1 − u, `cosine` ½(1 + cos πu). Warm-up rises in equal steps to 1.
"""

import math
from collections.abc import Callable

Decay = Callable[[float], float]


def constant(u: float) -> float:
    """1: no decay; the weight average then does all the smoothing.

    >>> constant(0.7)
    1.0
    """
    return 1.0


def linear(u: float) -> float:
    """1 − u.

    >>> linear(0.25)
    0.75
    """
    return 1.0 - u


def cosine(u: float) -> float:
    """½(1 + cos πu). Loshchilov & Hutter (2017), eq. 5, arXiv:1608.03983, without restarts.

    >>> cosine(0.5)
    0.5
    """
    return 0.5 * (1 + math.cos(math.pi * u))


def factor(step: int, steps: int, warmup: int, decay: Decay) -> float:
    """What the base rate is multiplied by in step number ``step`` of ``steps``, counted from 0.

    >>> [factor(step, 6, 2, linear) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup:
        return (step + 1) / warmup
    return decay((step - warmup) / max(1, steps - warmup))
