"""Vector–Jacobian products, many at once.

    pull     (y, x, v) -> Jᵀv for every probe v, J = ∂y/∂x row by row
    forms    (f, x, v) -> f(x), ⟨v, J v⟩ for every probe v

A chunk of probes is one backward pass over a batch of them, where every layer of the network has a batching rule; else the
probes are pulled back one by one. Both give the same numbers.
"""

import torch
from torch import Tensor

from ..errors import ShapeError
from .base import Field, Forms, Probes, Values

TOGETHER = 2**18  # numbers that are pulled back in one go; more gains nothing on a CPU


def pull(y: Tensor, x: Tensor, probes: Tensor) -> Tensor:
    """(probes, *x.shape): the derivative of ⟨v, y⟩ by x for every v of ``probes`` (probes, *y.shape).

    Keeps the graph, so that it can be called again; its results have derivatives exactly when gradients are on.

    >>> x = torch.ones(2, requires_grad=True)
    >>> pull(x**2, x, torch.eye(2)).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    if not y.requires_grad:
        return x.new_zeros(len(probes), *x.shape)
    parts = probes.split(max(1, TOGETHER // max(1, y.numel())))
    return torch.cat([_pulled(y, x, part) for part in parts])


def _pulled(y: Tensor, x: Tensor, probes: Tensor) -> Tensor:
    again = {
        "create_graph": torch.is_grad_enabled(),
        "retain_graph": True,
        "allow_unused": True,
        "materialize_grads": True,
    }
    if len(probes) > 1:
        try:
            return torch.autograd.grad(y, x, probes, is_grads_batched=True, **again)[0]
        except RuntimeError:  # a layer without a batching rule
            pass
    return torch.stack([torch.autograd.grad(y, x, probe, **again)[0] for probe in probes])


def forms(f: Field, x: Values, probes: Probes) -> tuple[Values, Forms]:
    """(f(x), ⟨v, J v⟩ for every probe v and row), J the Jacobian of f at that row.

    Derivatives are kept exactly when gradients are on. Raises: ShapeError if f changes the shape of x.

    >>> with torch.no_grad():
    ...     forms(lambda x: 3 * x, torch.ones(1, 2), torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]]))[1].flatten()
    tensor([3., 6.])
    """
    keep = torch.is_grad_enabled()
    y, x = evaluated(f, x)
    q = (pull(y, x, probes) * probes).flatten(2).sum(2)
    return (y, q) if keep else (y.detach(), q)


def evaluated(f: Field, x: Values) -> tuple[Values, Values]:
    """(f(x), x) with gradients on, x itself if it already has them.

    >>> evaluated(lambda x: 2 * x, torch.ones(1, 1))[0].requires_grad
    True
    """
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        y = f(x)
    if y.shape != x.shape:
        raise ShapeError(
            f"divergence of {f}: it maps {tuple(x.shape)} to {tuple(y.shape)}; a field keeps the shape of x."
        )
    return y, x
