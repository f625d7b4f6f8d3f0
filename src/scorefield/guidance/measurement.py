"""What was seen: y = A x + s z with z ~ N(0, I), and so log p(y | x) = −‖y − A x‖²/2s² − m log(s √2π).

One observation y is shared by all rows. Guides also take ``observation=``, one y a row, among the conditions of a call.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError, ShapeError
from ..tensors import sum_event
from .operators import Operator, require_finite, require_transpose

Events = Float[Tensor, "batch *event"]
Observations = Float[Tensor, "batch *observed"]
Numbers = Float[Tensor, "batch"]
Given = Float[Tensor, "rows *observed"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """x -> log p(y | x) in nats for y = A x + N(0, std² I): an operator, what it returned, and how precise it was.

    ``std`` is in units of y; 0 says that A x = y holds exactly, which `Proximal`, `Replacement` and `DDRM` can do.
    Raises: ShapeError for a y of another shape than the operator's, DataError for NaN in it, RangeError for a negative std and
    for a y that A cannot return (beyond 8 standard deviations of the noise), LawError for a transpose that is none.

    >>> import torch; from scorefield.guidance import Mask
    >>> seen = Measurement(Mask(torch.tensor([True, False])), torch.tensor([1.0]), std=1.0)
    >>> seen(torch.tensor([[1.0, 9.0]]))
    tensor([-0.9189])
    """

    operator: Operator
    y: Float[Tensor, "*observed"]
    std: float

    def __post_init__(self):
        if not 0 <= self.std < math.inf:
            raise RangeError(f"Measurement(std={self.std:g}): the noise must be finite and at least 0, in units of y.")
        require_transpose(self.operator)
        self._check(self.y[None])

    def __call__(self, x: Events, observation: Given | None = None) -> Numbers:
        if self.std == 0:
            raise RangeError("Measurement(std=0): log p(y | x) is no density without noise; give a std above 0.")
        size = math.prod(self.operator.observed)
        misfit = sum_event(self.residual(x, observation) ** 2)
        return -0.5 * misfit / self.std**2 - size * math.log(self.std * math.sqrt(2 * math.pi))

    def residual(self, x: Events, observation: Given | None = None) -> Observations:
        """y − A x, row by row."""
        return self.rows(x, observation) - self.operator(x)

    def rows(self, x: Events, observation: Given | None = None) -> Observations:
        """y for every row of x: the one there is, or those of a call, checked."""
        if observation is None:
            return self.y.to(x).expand(len(x), *self.y.shape)
        if len(observation) != len(x):
            raise ShapeError(f"observation of {len(observation)} rows for {len(x)} rows of x: one a row wanted.")
        self._check(observation)
        return observation.to(x)

    def _check(self, y: Tensor) -> None:
        kind = type(self.operator).__name__
        if tuple(y.shape[1:]) != self.operator.observed:
            raise ShapeError(
                f"Measurement by {kind}: y of shape {tuple(y.shape[1:])}; the operator returns {self.operator.observed} "
                f"for an event of {self.operator.shape}."
            )
        require_finite(f"Measurement by {kind}", y)
        if self.operator.decomposable:
            self._require_inside(y.double(), kind)

    def _require_inside(self, y: Tensor, kind: str) -> None:
        """The part of y that no x explains must be noise."""
        outside = math.prod(y.shape[1:]) - self.operator.rank
        if outside <= 0:
            return
        missed = sum_event((y - self.operator.project(y)) ** 2)
        noise = self.std**2 * (outside + 8 * math.sqrt(2 * outside) + 32)
        allowed = noise + 1e-8 * sum_event(y**2)
        if bool((missed > allowed).any()):
            row = int((missed - allowed).argmax())
            raise RangeError(
                f"Measurement by {kind}: y lies {math.sqrt(float(missed[row])):.3g} outside the operator's range, where noise "
                f"of std {self.std:g} reaches {math.sqrt(float(noise)):.3g}; raise std, or correct y."
            )
