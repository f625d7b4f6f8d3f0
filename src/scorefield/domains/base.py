"""A domain is where data can be: an open set of ℝ^d, or a manifold in it, perhaps with a boundary.

Score matching needs three things of it (Yu, Drton & Shojaie 2022, arXiv:2009.11428; Mardia, Kent & Laha 2016, arXiv:1604.08470):

    directions   v_1 … v_d at x with Σ v_j v_jᵀ the projection on the tangent space: the axes, or P e_j
    bend         c″(0) of the geodesic c with c′(0) = v, so that Σ_j (f ∘ c_j)″ = Σ_j vⱼᵀ∇²f vⱼ + ∇f·c″_j is the Laplacian
    distance     to the boundary, and the gaps to it along each axis: what weights are made of, so that they vanish there
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import RangeError, ShapeError

Points = Float[Tensor, "batch d"]
Frames = Float[Tensor, "batch d d"]
Inside = Bool[Tensor, "batch"]
Distances = Float[Tensor, "batch"]


class Domain(ABC):
    """Where data can be: `contains`, the tangent `directions`, and how far the boundary is."""

    dimension: int | None = None

    @abstractmethod
    def contains(self, x: Points) -> Inside:
        """Whether each row lies in the domain, apart from its boundary."""

    def distance(self, x: Points) -> Distances:
        """How far each row is from the boundary; infinite where there is none. Raises: RangeError if nobody said how."""
        raise RangeError(
            f"{self}: no distance to the boundary is known; write `distance`, or match with Axes weights where `gaps` is known."
        )

    def gaps(self, x: Points) -> Points:
        """How far the boundary is along each axis; infinite where it is not met. Raises: RangeError if nobody said how."""
        raise RangeError(f"{self}: no distances along the axes are known; use the weight Distance().")

    def tangent(self, x: Points, v: Points) -> Points:
        """P_x v: v without what leaves the domain. v itself, unless the domain is of lower dimension."""
        return v

    def directions(self, x: Points) -> Frames:
        """v_j = P_x e_j at each row: (batch, j, d)."""
        n, d = x.shape
        axes = torch.eye(d, dtype=x.dtype, device=x.device).repeat(n, 1)
        return self.tangent(x.repeat_interleave(d, 0), axes).reshape(n, d, d)

    def bend(self, x: Points, v: Points) -> Points:
        """c″(0) of the geodesic that leaves x with velocity v: 0, unless the domain is curved."""
        return torch.zeros_like(v)

    def check(self, x: Points) -> None:
        """Raises: ShapeError for points of another dimension, RangeError that names the rows outside."""
        if self.dimension is not None and x.shape[1] != self.dimension:
            raise ShapeError(f"{self} of dimension {self.dimension} got x of shape {tuple(x.shape)}.")
        outside = (~self.contains(x)).nonzero().flatten().tolist()
        if outside:
            shown = ", ".join(map(str, outside[:8])) + (", …" if len(outside) > 8 else "")
            first = [round(float(value), 6) for value in x[outside[0]][:6]]
            raise RangeError(
                f"{self}: {len(outside)} of {len(x)} rows lie outside or on the boundary (rows {shown}; the first is {first}); "
                "drop them, or name the domain that they come from."
            )


class Real(Domain):
    """ℝ^d: no boundary, the axes as directions.

    >>> Real().distance(torch.zeros(1, 2))
    tensor([inf])
    """

    def __repr__(self) -> str:
        return "Real()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Real)

    def __hash__(self) -> int:
        return hash(Real)

    def contains(self, x: Points) -> Inside:
        return x.isfinite().all(1)

    def distance(self, x: Points) -> Distances:
        return x.new_full((len(x),), math.inf)

    def gaps(self, x: Points) -> Points:
        return torch.full_like(x, math.inf)


def length(v: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    """|v| along the last axis, with the derivative 0 at 0 in place of none."""
    squares = (v**2).sum(-1)
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)
