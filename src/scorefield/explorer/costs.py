"""What a training step costs, counted and not timed: the arithmetic of its matrix products, over that of one forward pass."""

import copy
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..tensors import Streams


def evaluations(objective: Callable[..., Tensor], model: nn.Module, x: Float[Tensor, "n 2"]) -> float:
    """The arithmetic of a training step, forward and back, over that of one forward pass: counted, not timed.

    >>> from scorefield import MLP, Denoising, Sliced
    >>> x = torch.zeros(16, 2)
    >>> evaluations(Denoising(), MLP(2, 64), x) < evaluations(Sliced(), MLP(2, 64), x)
    True
    """
    model = copy.deepcopy(model)
    with Arithmetic() as once, torch.no_grad():
        model(x)
    with Arithmetic() as whole:
        objective(model, x, Streams(0, range(len(x)))).sum().backward()
    return whole.total / once.total


class Arithmetic(TorchDispatchMode):
    """Counts the multiplications and additions of matrix products while it is entered: ``total``.

    >>> with Arithmetic() as counted:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> counted.total
    48
    """

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        self.total += formula(*args, **kwargs, out_val=out) if formula else 0
        return out
