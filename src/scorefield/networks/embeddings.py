"""How a network hears its time, and its class.

    features    γ(t) = (sin ω₁t, cos ω₁t, …, sin ω_k t, cos ω_k t),   ω geometric from 1/2 to 32
    FiLM        h ↦ (1 + a(e)) h + b(e),   a and b linear in the condition e, one number per channel

``t`` is a logarithm of the noise level, about −2 to 1, so these frequencies resolve a factor of 1.1 in σ and still vary
smoothly. They are fixed numbers, not draws: two networks of the same arguments are the same function of their weights.
Without ``t`` a network answers as at t = 0, and without labels as for the null class: one path, all weights in use.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import RangeError, ShapeError


class Fourier(nn.Module):
    """γ(t) = (sin ω_i t, cos ω_i t) with ω geometric between ``low`` and ``high``: smooth coordinates of a scalar.

    Vaswani et al. (2017), "Attention is all you need", arXiv:1706.03762, section 3.5; here for a log noise level.

    >>> Fourier(4)(torch.tensor(0.0))
    tensor([[0., 0., 1., 1.]])
    """

    frequencies: Tensor

    def __init__(self, features: int = 32, low: float = 0.5, high: float = 32.0):
        super().__init__()
        self.features, self.low, self.high = features, low, high
        self.register_buffer("frequencies", torch.logspace(math.log2(low), math.log2(high), features // 2, base=2.0))

    def forward(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "rows features"]:
        """One row for t of shape (), which then broadcasts against any batch; else one per example."""
        angles = t.reshape(-1, 1).to(self.frequencies) * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Condition(nn.Module):
    """e = SiLU(W γ(t) + c_label): everything a network is told besides x, as one vector per example.

    ``classes``: the number of labels; label ``classes`` is the null class, "any of them", and what None means.

    >>> Condition(8, classes=10)(torch.zeros(3), torch.tensor([0, 1, 10])).shape
    torch.Size([3, 8])
    """

    def __init__(self, features: int, classes: int | None = None):
        super().__init__()
        self.features, self.classes = features, classes
        self.time = Fourier()
        self.linear = nn.Linear(self.time.features, features)
        self.label = nn.Embedding(classes + 1, features) if classes else None

    def forward(
        self, t: Float[Tensor, "*batch"], label: Int[Tensor, "*batch_label"] | None = None
    ) -> Float[Tensor, "rows features"]:
        """Raises: ShapeError for labels given to a network that was built without classes."""
        e = self.linear(self.time(t))
        if self.label is not None:
            null = torch.full((1,), self.label.num_embeddings - 1, device=e.device)
            e = e + self.label(null if label is None else label.reshape(-1))
        elif label is not None:
            raise ShapeError(
                "label: this network was built with classes=None; build it with classes=<number of labels>."
            )
        return nn.functional.silu(e)


class FiLM(nn.Module):
    """h ↦ (1 + a(e)) h + b(e), a and b linear in e, one number per channel (axis 1 of h).

    Perez et al. (2018), "FiLM: visual reasoning with a general conditioning layer", arXiv:1709.07871, equation 2.

    >>> film = FiLM(8, 4)
    >>> film(torch.ones(3, 4, 5, 5), torch.ones(1, 8)).shape
    torch.Size([3, 4, 5, 5])
    """

    def __init__(self, features: int, channels: int):
        super().__init__()
        self.features, self.channels = features, channels
        self.linear = nn.Linear(features, 2 * channels)
        nn.init.zeros_(self.linear.bias)

    def forward(
        self, h: Float[Tensor, "batch channels *place"], e: Float[Tensor, "rows features"]
    ) -> Float[Tensor, "batch channels *place"]:
        """``e`` has one row per example, or a single row for all."""
        film = self.linear(e).to(h.dtype).reshape(-1, 2 * self.channels, *(1,) * (h.ndim - 2))
        scale, shift = film.chunk(2, dim=1)
        return torch.addcmul(shift, h, 1 + scale)


def moment(x: Float[Tensor, "batch *event"], t: Float[Tensor, "*batch_t"] | None) -> Float[Tensor, "*batch_t"]:
    """t itself, or t = 0 where none is given: a network without time answers as at t = 0.

    >>> moment(torch.ones(2, 3), None)
    tensor(0.)
    """
    return x.new_zeros(()) if t is None else t


def at_least_one(name: str, **numbers: int) -> None:
    """Every number is at least 1, or a RangeError that names the object and the argument.

    >>> at_least_one("MLP", width=0)
    Traceback (most recent call last):
    scorefield.errors.RangeError: MLP(width=0): width must be at least 1.
    """
    for argument, number in numbers.items():
        if number < 1:
            raise RangeError(f"{name}({argument}={number}): {argument} must be at least 1.")
