"""The exact laws as the page takes them, to smooth them in the browser while a hand drags the noise: numbers, not formulas.

    cloud          Σ_k w_k N(m_k, s² I): curves by their Gauss–Legendre nodes, tables and draws by their rows, s = 0
    rings          the radii, s, and Gauss–Hermite nodes over the radius
    checkerboard   the lower edges of its strips, and their width

``lib/laws.js`` computes with them what `scorefield.plane` computes here; when the hand rests, the server's own field is shown.
"""

from functools import singledispatch
from typing import Any

import torch

from ..errors import RangeError
from ..exact import Density, Empirical
from ..plane import Checkerboard, Cloud, Rings, normal_nodes
from .wire import packed

RADIAL = 12
"""Nodes over the width of a ring, which under noise is at most its own."""


@singledispatch
def plain(density: Density) -> dict[str, Any]:
    """A law as plain data. Raises: RangeError for one that the page does not smooth by itself.

    >>> plain(Checkerboard())["kind"]
    'checkerboard'
    """
    raise RangeError(f"{type(density).__name__}: it has no nodes to hand over; ask for its field.")


@plain.register
def _(density: Cloud) -> dict[str, Any]:
    return {"kind": "cloud", "means": packed(density.means), "weights": packed(density.weights), "std": density.std}


@plain.register
def _(density: Empirical) -> dict[str, Any]:
    return {"kind": "cloud", "means": packed(density.data), "weights": None, "std": 0.0}


@plain.register
def _(density: Rings) -> dict[str, Any]:
    z, w = normal_nodes(RADIAL)
    return {
        "kind": "rings",
        "radii": packed(density.radii),
        "std": density.std,
        "nodes": packed(z),
        "weights": packed(w),
    }


@plain.register
def _(density: Checkerboard) -> dict[str, Any]:
    low = density.side * torch.arange(-2, 2, dtype=torch.float64)
    return {"kind": "checkerboard", "low": low.tolist(), "side": density.side}
