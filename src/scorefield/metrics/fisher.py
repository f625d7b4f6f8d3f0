"""The Fisher divergence, by which scores are compared: F(p‖q) = E_p ½‖∇log p(X) − ∇log q(X)‖².

It is the excess of the score-matching loss over its minimum, is zero only if the scores agree where p has mass, and
does not see the relative weights of modes that are far apart. Hyvärinen (2005), eq. 2.
"""

from collections.abc import Callable

import torch
from jaxtyping import Shaped
from torch import Tensor

from ..errors import DataError, ShapeError
from ..tensors import sum_event
from .estimate import Estimate, mean
from .pairs import continuous


def fisher_divergence(
    score: Callable[[Tensor], Tensor], truth: Callable[[Tensor], Tensor], x: Shaped[Tensor, "n *event"]
) -> Estimate:
    """E_p ½‖s(X) − s*(X)‖² in nats per squared length, with its standard error over the rows of x ~ p.

    Use it where the true score is known, such as toy data and closed forms; on x that the score was not fitted to.

    Raises: ShapeError if a score is not of the shape of x; DataError for fewer than two rows or values that are not finite.

    >>> x = torch.zeros(10, 2)
    >>> float(fisher_divergence(lambda x: -x, lambda x: 1 - x, x))
    1.0
    """
    continuous(x)
    differences = []
    for part in x.split(1024):
        ours, true = score(part).detach(), truth(part).detach()
        for s in (ours, true):
            if s.shape != part.shape:
                raise ShapeError(f"score of shape {tuple(s.shape)} at x of shape {tuple(part.shape)}: must be alike.")
            bad = (~s.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
            if bad:
                raise DataError(
                    f"score: not finite at {len(bad)} of {len(x)} rows of x, such as {part[bad[0]].flatten()[:6].tolist()}."
                )
        differences.append(0.5 * sum_event((ours.double() - true.double()).square()))
    return mean(torch.cat(differences))
