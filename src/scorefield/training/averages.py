"""The weight average: a_k = a_{k−1} + w_k (θ_k − a_{k−1}), a better model than the last weights at no cost.

`Power` weights step j of k like (j/k)^γ (Karras et al. 2024, section 3.1, arXiv:2312.02696): its width is a fixed
part of the training done so far, so it fits 300 steps as well as 300,000, has no start-up bias and nothing to tune.
`Exponential` is the usual one of fixed horizon 1/(1 − decay), warm-started: w_k = 1 − min(decay, k/(9 + k)).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import RangeError

Average = Callable[[int], float]


@dataclass(frozen=True)
class Power:
    """w_k = 1 − (1 − 1/k)^(γ+1): the average of θ_j with weights like (j/k)^γ.

    γ = 16 spans roughly the last 1/17 of training. Karras et al. (2024), section 3.1, arXiv:2312.02696.
    Raises: RangeError unless gamma ≥ 0; γ = 0 is the plain mean of all steps.

    >>> [round(Power(gamma=0.0)(k), 3) for k in (1, 2, 4)]
    [1.0, 0.5, 0.25]
    """

    gamma: float = 16.0

    def __post_init__(self):
        if not self.gamma >= 0:
            raise RangeError(f"Power(gamma={self.gamma:g}): gamma must be at least 0.")

    def __call__(self, step: int) -> float:
        return 1 - (1 - 1 / step) ** (self.gamma + 1)


@dataclass(frozen=True)
class Exponential:
    """w_k = 1 − min(decay, k/(9 + k)): the exponential moving average, warm-started. decay = 0 keeps the last weights.

    Raises: RangeError unless 0 ≤ decay < 1.

    >>> Exponential(decay=0.0)(5), round(Exponential(decay=0.999)(10**6), 6)
    (1.0, 0.001)
    """

    decay: float = 0.999

    def __post_init__(self):
        if not 0 <= self.decay < 1:
            raise RangeError(f"Exponential(decay={self.decay:g}): decay must lie in [0, 1).")

    def __call__(self, step: int) -> float:
        return 1 - min(self.decay, step / (9 + step))


def copied(model: nn.Module) -> nn.Module:
    """The copy of the model that holds the average: in eval mode and without gradients.

    >>> copied(nn.Linear(1, 1)).training
    False
    """
    return copy.deepcopy(model).requires_grad_(False).eval()


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, weight: float) -> None:
    """a ← a + weight (θ − a) for the parameters; buffers are copied.

    >>> model = nn.Linear(1, 1)
    >>> average = copied(model)
    >>> update(average, model, 0.5)
    >>> torch.equal(average.weight, model.weight)
    True
    """
    old, new = _tensors(average.parameters()), _tensors(model.parameters())
    if old:
        torch._foreach_lerp_(old, new, weight)
    for kept, buffer in zip(average.buffers(), model.buffers()):
        kept.copy_(buffer)


def _tensors(parameters) -> list[Tensor]:
    return [parameter.detach() for parameter in parameters]
