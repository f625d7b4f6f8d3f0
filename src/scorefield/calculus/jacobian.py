"""Jacobians of x as products that are multiplied out as late as possible; stored transposed, (batch or 1, d, width).

    Shared     S                  the same for every row: linear layers of x
    Scaled     diag(u) J          an elementwise function, u its slope at every row
    Mapped     W J                a linear layer
    Added      J + K              a residual
    Curved     ∇²E J              the gradient of an energy, of which only the trace ΔE is known

A trace is read from its left end: in tr(C diag(v) J), C (d, width) is what all layers after J come to. Then

    tr(C diag(v) W diag(u) S) = vᵀ (W ∘ (S C)ᵀ) u

so that two hidden layers cost one product of matrices for the whole batch, and no factor d; every further layer costs one
product of d columns a row. Griewank & Walther (2008), "Evaluating derivatives", chapter 3, doi:10.1137/1.9780898717761.
"""

from abc import ABC, abstractmethod
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

Columns = Float[Tensor, "_ d width"]
Ahead = Float[Tensor, "d width"]
Slopes = Float[Tensor, "_ width"]


class Unsupported(Exception):
    """An operation without a rule."""


class Jacobian(ABC):
    """∂h/∂x of every row, h of some width."""

    @abstractmethod
    def _columns(self) -> Columns: ...

    @abstractmethod
    def _trace(self, ahead: Ahead, slopes: Slopes | None) -> Float[Tensor, "*rows"]: ...

    @cached_property
    def columns(self) -> Columns:
        """The Jacobian multiplied out, transposed."""
        return self._columns()

    def trace(self, ahead: Ahead, slopes: Slopes | None = None) -> Float[Tensor, "*rows"]:
        """tr(C diag(v) J), C = ``ahead`` and v = ``slopes``; of shape () or (1,) where all rows agree."""
        if slopes is not None and "columns" in vars(self):
            return _contracted(ahead, slopes, self.columns)
        return self._trace(ahead, slopes)


class Shared(Jacobian):
    """S: one matrix for all rows, given transposed."""

    def __init__(self, matrix: Ahead):
        self.matrix = matrix

    def _columns(self) -> Columns:
        return self.matrix[None]

    def _trace(self, ahead: Ahead, slopes: Slopes | None) -> Float[Tensor, "*rows"]:
        both = (self.matrix * ahead).sum(0)
        return both.sum() if slopes is None else slopes @ both


class Scaled(Jacobian):
    """diag(u) J."""

    def __init__(self, slopes: Slopes, inner: Jacobian):
        self.slopes, self.inner = slopes, inner

    def _columns(self) -> Columns:
        return self.slopes[:, None] * self.inner.columns

    def _trace(self, ahead: Ahead, slopes: Slopes | None) -> Float[Tensor, "*rows"]:
        return self.inner.trace(ahead, self.slopes if slopes is None else slopes * self.slopes)


class Mapped(Jacobian):
    """W J."""

    def __init__(self, weight: Float[Tensor, "width inputs"], inner: Jacobian):
        self.weight, self.inner = weight, inner

    def _columns(self) -> Columns:
        return self.inner.columns @ self.weight.T

    def _trace(self, ahead: Ahead, slopes: Slopes | None) -> Float[Tensor, "*rows"]:
        if slopes is None:
            return self.inner.trace(ahead @ self.weight)
        inner = self.inner
        if isinstance(inner, Scaled) and isinstance(inner.inner, Shared):
            return ((slopes @ (self.weight * (ahead.T @ inner.inner.matrix))) * inner.slopes).sum(1)
        return _contracted(ahead, slopes, self.columns)


class Added(Jacobian):
    """J + K."""

    def __init__(self, left: Jacobian, right: Jacobian):
        self.left, self.right = left, right

    def _columns(self) -> Columns:
        return self.left.columns + self.right.columns

    def _trace(self, ahead: Ahead, slopes: Slopes | None) -> Float[Tensor, "*rows"]:
        # The branch through a layer first: it multiplies out what the other then finds ready.
        one, other = (self.left, self.right) if isinstance(self.left, Mapped) else (self.right, self.left)
        return one.trace(ahead, slopes) + other.trace(ahead, slopes)


class Curved(Jacobian):
    """∇²E J, E of Laplacian ΔE; its trace is known where all the rest is a number a row, which is where scores need it."""

    def __init__(self, laplacian: Float[Tensor, "_"], inner: Jacobian):
        self.laplacian, self.inner = laplacian, inner

    def _columns(self) -> Columns:
        raise Unsupported

    def _trace(self, ahead: Ahead, slopes: Slopes | None) -> Float[Tensor, "*rows"]:
        inner = self.inner.inner if isinstance(self.inner, Scaled) else self.inner
        if not isinstance(inner, Shared):
            raise Unsupported
        rows = self.laplacian * _multiple(ahead) * _multiple(inner.matrix)
        for each in (slopes, self.inner.slopes if isinstance(self.inner, Scaled) else None):
            if each is not None:
                if not bool((each == each[:, :1]).all()):
                    raise Unsupported
                rows = rows * each[:, 0]
        return rows


def _multiple(matrix: Ahead) -> Float[Tensor, ""]:
    """c of a matrix c·I."""
    if not bool((matrix == matrix[0, 0] * matrix.new_ones(len(matrix)).diag()).all()):
        raise Unsupported
    return matrix[0, 0]


def _contracted(ahead: Ahead, slopes: Slopes, columns: Columns) -> Float[Tensor, "_"]:
    return ((columns * ahead).sum(1) * slopes).sum(1)


def mapped(weight: Float[Tensor, "width inputs"], inner: Jacobian) -> Jacobian:
    """W J.

    >>> import torch
    >>> mapped(torch.ones(3, 2), Shared(torch.eye(2))).trace(torch.ones(2, 3))
    tensor(6.)
    """
    return Shared(inner.matrix @ weight.T) if isinstance(inner, Shared) else Mapped(weight, inner)


def scaled(slopes: Slopes, inner: Jacobian) -> Jacobian:
    """diag(u) J, u of one row if it is the same for all.

    >>> import torch
    >>> scaled(torch.full((1, 2), 2.0), Shared(torch.eye(2))).trace(torch.eye(2))
    tensor(4.)
    """
    if isinstance(inner, Shared) and len(slopes) == 1:
        return Shared(inner.matrix * slopes)
    return Scaled(slopes * inner.slopes, inner.inner) if isinstance(inner, Scaled) else Scaled(slopes, inner)


def added(left: Jacobian, right: Jacobian) -> Jacobian:
    """J + K.

    >>> import torch
    >>> added(Shared(torch.eye(2)), Shared(torch.eye(2))).trace(torch.eye(2))
    tensor(4.)
    """
    if isinstance(left, Shared) and isinstance(right, Shared):
        return Shared(left.matrix + right.matrix)
    return Added(left, right)
