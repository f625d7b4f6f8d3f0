"""Linear maps y = A x of one event each, with their transposes and what follows from their singular values.

    Matrix   any (m, d) matrix
    Linear   any function that is linear; its transpose by autograd, or your own
    A @ B    first B, then A

With A = U S Vᵀ the regularised inverse is Aᵀ(A Aᵀ + ρ I)⁻¹ = V S/(S² + ρ) Uᵀ, at ρ = 0 the pseudo-inverse A⁺. The singular
vectors of `Mask` and `Downsample` (see `pixels`) are known; others come from a dense decomposition while they are small.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, LawError, RangeError, ShapeError
from ..tensors import Streams, normal, sum_event

Events = Float[Tensor, "batch *event"]
Observations = Float[Tensor, "batch *observed"]
Coordinates = Float[Tensor, "batch d"]

DENSE = 2**23  # entries of a matrix that is still decomposed
CUT = 1e-6  # of the largest singular value: what is smaller counts as zero


class Operator(ABC):
    """x -> A x from events of ``shape`` to observations of shape ``observed``, row by row, with `transpose` and `solve`."""

    shape: tuple[int, ...]

    @property
    @abstractmethod
    def observed(self) -> tuple[int, ...]:
        """The shape of one observation."""

    @abstractmethod
    def __call__(self, x: Events) -> Observations:
        """A x."""

    @abstractmethod
    def transpose(self, y: Observations) -> Events:
        """Aᵀ y."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which the map is examined: float64, unless a function of one's own wants another."""
        return torch.float64

    def __matmul__(self, other: "Operator") -> "Composed":
        return Composed(self, other)

    @property
    def decomposable(self) -> bool:
        """Whether the singular values are at hand, or cheap enough to compute."""
        return math.prod(self.shape) * math.prod(self.observed) <= DENSE

    @property
    def values(self) -> Float[Tensor, "d"]:
        """The singular values, one for each coordinate of x, zero where A sees nothing."""
        return self._svd[1]

    def right(self, x: Events) -> Coordinates:
        """Vᵀ x: the coordinates of x along the right singular vectors."""
        return x.flatten(1) @ self._svd[2].to(x)

    def spread(self, coordinates: Coordinates) -> Events:
        """V c: the event with these coordinates."""
        return (coordinates @ self._svd[2].to(coordinates).T).reshape(-1, *self.shape)

    def left(self, y: Observations) -> Coordinates:
        """Uᵀ y: the coordinates of y along the left singular vectors, in the order of `values`."""
        return y.flatten(1) @ self._svd[0].to(y)

    def solve(self, y: Observations, ridge: Float[Tensor, "*batch"] | float = 0.0) -> Events:
        """Aᵀ (A Aᵀ + ridge I)⁻¹ y, ridge one number or one a row; the pseudo-inverse A⁺ y at ridge 0."""
        s = self.values.to(y)
        ridge = torch.as_tensor(ridge, dtype=y.dtype, device=y.device).reshape(-1, 1)
        gain = torch.where(s > CUT * s.max(), s / (s**2 + ridge).clamp(min=torch.finfo(y.dtype).tiny), 0.0)
        return self.spread(gain * self.left(y))

    @property
    def rank(self) -> int:
        """How many coordinates of x A sees."""
        return int((self.values > CUT * self.values.max()).sum())

    def project(self, y: Observations) -> Observations:
        """A A⁺ y: the part of y that some x explains."""
        return self(self.solve(y))

    @cached_property
    def _svd(self) -> tuple[Tensor, Tensor, Tensor]:
        if not self.decomposable:
            raise RangeError(
                f"{type(self).__name__} from {self.shape} to {self.observed}: too large for a singular value decomposition "
                f"({DENSE:,} entries at most); use MomentMatching, which needs A and its transpose only."
            )
        size = math.prod(self.shape)
        eye = torch.eye(size, dtype=self.dtype)
        matrix = self(eye.reshape(size, *self.shape)).flatten(1).T.double()
        u, s, vh = torch.linalg.svd(matrix, full_matrices=True)
        rank = len(s)
        left = torch.cat([u[:, :rank], u.new_zeros(len(u), size - rank)], 1)
        return left, torch.cat([s, s.new_zeros(size - rank)]), vh.T

    def _events(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.shape:
            raise ShapeError(f"{type(self).__name__} of events {self.shape} got x of shape {tuple(x.shape)}.")
        return x

    def _observations(self, y: Tensor) -> Tensor:
        if y.shape[1:] != self.observed:
            raise ShapeError(
                f"{type(self).__name__} observes {self.observed} an event; got y of shape {tuple(y.shape)}."
            )
        return y


@dataclass(frozen=True, eq=False)
class Matrix(Operator):
    """x -> M x for a matrix of shape (m, d), on events of one axis. Raises: DataError for a matrix that is not finite.

    >>> Matrix(torch.tensor([[1.0, 1.0]]))(torch.tensor([[2.0, 3.0]]))
    tensor([[5.]])
    """

    matrix: Float[Tensor, "m d"]

    def __post_init__(self):
        require_finite("Matrix", self.matrix)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The shape of an event."""
        return (self.matrix.shape[1],)

    @property
    def observed(self) -> tuple[int, ...]:
        return (self.matrix.shape[0],)

    def __call__(self, x: Events) -> Observations:
        return self._events(x) @ self.matrix.to(x).T

    def transpose(self, y: Observations) -> Events:
        return self._observations(y) @ self.matrix.to(y)


@dataclass(frozen=True, eq=False)
class Linear(Operator):
    """x -> function(x), any linear function of a batch that acts row by row; its transpose by autograd unless you give one.

    Checked at once by `require_transpose`, which also catches functions that are not linear. Raises: LawError.

    >>> A = Linear(lambda x: x.diff(dim=1), (3,))
    >>> A.transpose(torch.tensor([[1.0, 0.0]]))
    tensor([[-1.,  1.,  0.]])
    """

    function: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    adjoint: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        require_transpose(self)

    @cached_property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        return self._probe.dtype

    @cached_property
    def observed(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self._probe.shape[1:])

    @cached_property
    def _probe(self) -> Tensor:
        """A 0 in float64, or in the default precision if the function's own tensors want that."""
        try:
            return self.function(torch.zeros(1, *self.shape, dtype=torch.float64))
        except RuntimeError:
            return self.function(torch.zeros(1, *self.shape))

    def __call__(self, x: Events) -> Observations:
        return self.function(self._events(x))

    def transpose(self, y: Observations) -> Events:
        if self.adjoint is not None:
            return self.adjoint(self._observations(y))
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            x = y.new_zeros(len(y), *self.shape, requires_grad=True)
            (pulled,) = torch.autograd.grad(self.function(x), x, self._observations(y), create_graph=keep)
        return pulled


@dataclass(frozen=True, eq=False)
class Composed(Operator):
    """x -> outer(inner(x)), written ``outer @ inner``. Raises: ShapeError if they do not fit.

    >>> (Matrix(torch.ones(1, 2)) @ Matrix(2 * torch.eye(2)))(torch.tensor([[1.0, 2.0]]))
    tensor([[6.]])
    """

    outer: Operator
    inner: Operator

    def __post_init__(self):
        if self.outer.shape != self.inner.observed:
            raise ShapeError(
                f"{type(self.outer).__name__} @ {type(self.inner).__name__}: the first observes {self.inner.observed}, "
                f"the second wants {self.outer.shape}."
            )

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The shape of an event."""
        return self.inner.shape

    @property
    def observed(self) -> tuple[int, ...]:
        return self.outer.observed

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype if self.outer.dtype == torch.float64 else self.outer.dtype

    def __call__(self, x: Events) -> Observations:
        return self.outer(self.inner(x))

    def transpose(self, y: Observations) -> Events:
        return self.inner.transpose(self.outer.transpose(y))


def require_finite(who: str, values: Tensor) -> None:
    """Raises DataError unless every entry is a finite number.

    >>> require_finite("Mask", torch.ones(2))
    """
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise DataError(f"{who}: {bad} of {values.numel()} entries are not finite; wanted numbers only.")


def require_transpose(operator: Operator) -> None:
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for random x and y: refuses a transpose that is not the operator's, and maps that are not linear.

    `Linear` and `Measurement` call it. Raises: LawError with the two numbers.

    >>> require_transpose(Matrix(torch.ones(2, 3)))
    >>> require_transpose(Linear(lambda x: 2 * x, (3,), adjoint=lambda y: y))
    Traceback (most recent call last):
    ...
    scorefield.errors.LawError: Linear: <A x, y> = -4.9084 but <x, A'y> = -2.4542: the transpose is not that of the \
operator, or the operator is not linear; correct it, or leave it to autograd with Linear(function, shape).
    """
    x = normal(torch.empty(3, *operator.shape, dtype=torch.float64), Streams(0, range(3))).to(operator.dtype)
    y = normal(torch.empty(3, *operator.observed, dtype=torch.float64), Streams(1, range(3))).to(operator.dtype)
    with torch.no_grad():
        forth, back = operator(x), operator.transpose(y)
    one, two = sum_event(forth * y), sum_event(x * back)
    size = sum_event(forth**2).sqrt() * sum_event(y**2).sqrt() + sum_event(x**2).sqrt() * sum_event(back**2).sqrt()
    worst = int((one - two).abs().argmax())
    if not bool((one - two).abs()[worst] <= 100 * torch.finfo(operator.dtype).eps * size[worst]):
        raise LawError(
            f"{type(operator).__name__}: <A x, y> = {float(one[worst]):g} but <x, A'y> = {float(two[worst]):g}: the transpose "
            "is not that of the operator, or the operator is not linear; correct it, or leave it to autograd with "
            "Linear(function, shape)."
        )
