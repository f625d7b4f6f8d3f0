"""What a divergence is: (f, x, generator) -> (f(x), div f(x)) for a field f whose rows are independent.

The law: unbiased for tr(P Df P), P the projection onto the tangent spaces of ``space``; see `scorefield.laws.divergence`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from ..spaces import Space
from ..tensors import Draws

Field = Callable[[Float[Tensor, "batch *event"]], Float[Tensor, "batch *event"]]
Values = Float[Tensor, "batch *event"]
Numbers = Float[Tensor, "batch"]
Probes = Float[Tensor, "probes batch *event"]
Forms = Float[Tensor, "probes batch"]


class Divergence(ABC):
    """(f, x, generator) -> (f(x), div f(x)): the dial that exact, Hutchinson and finite-difference score matching share."""

    space: Space

    @abstractmethod
    def __call__(self, f: Field, x: Values, generator: Draws | None = None) -> tuple[Values, Numbers]:
        """f(x) and an unbiased (or O(h²)) estimate of tr(P Df P), one number per row."""
