"""An objective is (model, x, generator=None, **cond) -> one loss per example, in nats, summed over the event, with the ½.

Its law: in expectation it is stationary at the true score along the score itself, L(c s*) least at c = 1, and rises from
there as its divergence, half the weighted mean square of the difference. It draws only from its generator.
"""

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..tensors import Draws


class Objective(ABC):
    """(model, x, generator) -> (batch,): annotate ``model`` as `Score` (a field of x) or `Denoiser` (a field of x_t and t)."""

    @abstractmethod
    def __call__(
        self, model: Any, x: Float[Tensor, "batch *event"], generator: Draws | None = None, **cond
    ) -> Float[Tensor, "batch"]:
        """The loss of each example, in nats."""
