"""Random directions v with E[v vᵀ] = I: (x, probes, generator) -> (probes, *x.shape)."""

import torch

from ..tensors import Draws, normal, rademacher
from .base import Probes, Values


def orthogonal(x: Values, probes: int, generator: Draws | None = None) -> Probes:
    """Orthogonal probes of length √d: as many as d make the trace exact, fewer have less variance than independent ones.

    Each row gets its own Haar-random frame, by the QR decomposition of Gaussian vectors; beyond d probes, a new frame begins.

    >>> v = orthogonal(torch.empty(1, 4), 2)
    >>> [round(abs(float(c)), 4) for c in (v[:, 0] @ v[:, 0].T).flatten()]
    [4.0, 0.0, 0.0, 4.0]
    """
    size = x[0].numel()
    frames = []
    for start in range(0, probes, size):
        wide = min(size, probes - start)
        draws = torch.stack([normal(x, generator).flatten(1) for _ in range(wide)], dim=-1)
        frames.append(torch.linalg.qr(draws.double()).Q.movedim(-1, 0) * size**0.5)
    return torch.cat(frames).reshape(probes, *x.shape).to(x)


def independent(x: Values, probes: int, generator: Draws | None = None) -> Probes:
    """Independent Rademacher probes: the least variance that independent entries allow.

    >>> independent(torch.empty(1, 4), 2).abs().sum()
    tensor(8.)
    """
    return torch.stack([rademacher(x, generator) for _ in range(probes)])


def gaussian(x: Values, probes: int, generator: Draws | None = None) -> Probes:
    """Independent standard normal probes: rotation-invariant, with the variance of the diagonal on top.

    >>> gaussian(torch.empty(1, 4), 2).shape
    torch.Size([2, 1, 4])
    """
    return torch.stack([normal(x, generator) for _ in range(probes)])


def basis(x: Values) -> Probes:
    """e_1, …, e_d for every row of x.

    >>> basis(torch.empty(1, 2)).tolist()
    [[[1.0, 0.0]], [[0.0, 1.0]]]
    """
    size = x[0].numel()
    return torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, 1, *x.shape[1:]).expand(size, *x.shape)
