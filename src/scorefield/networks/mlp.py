"""A residual network on vectors.

    h₀ = W (x, y),    h_{k+1} = h_k + W_k φ(FiLM_k(h_k; t)),    f(x, t, y) = W_out φ(h_depth)

With a smooth φ it has as many derivatives as one likes, which implicit score matching (one) and energies fitted by
it (two) need. f starts as the zero function.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from ..errors import RangeError, ShapeError
from .embeddings import Condition, FiLM, at_least_one, moment
from .layers import zeroed


class MLP(nn.Module):
    """f(x, t): ℝ^dim → ℝ^out by ``depth`` residual layers, each modulated by t: the network for points and tables.

    ``out``: the number of outputs, ``dim`` by default; 1 makes an energy. ``activation``: smooth, elementwise.
    ``given``: the numbers y that it is told besides x, for conditional distributions of points.

    Raises: RangeError if dim, width, depth or out is below 1, or given below 0; ShapeError for y where there should be none,
    or none where there should be one.

    >>> MLP(2)(torch.ones(5, 2), torch.zeros(5)).shape, MLP(2, out=1)(torch.ones(5, 2)).shape
    (torch.Size([5, 2]), torch.Size([5, 1]))
    """

    def __init__(
        self,
        dim: int,
        width: int = 128,
        depth: int = 3,
        out: int | None = None,
        activation: Callable[[Tensor], Tensor] = silu,
        given: int = 0,
    ):
        super().__init__()
        at_least_one("MLP", dim=dim, width=width, depth=depth, out=dim if out is None else out)
        if given < 0:
            raise RangeError(f"MLP(given={given}): given must be at least 0.")
        self.dim, self.width, self.depth, self.out, self.activation = dim, width, depth, out, activation
        self.given = given
        self.shape = (dim,)
        self.condition = Condition(64)
        self.first = nn.Linear(dim + given, width)
        self.films = nn.ModuleList(FiLM(64, width) for _ in range(depth))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = zeroed(nn.Linear(width, dim if out is None else out))

    def forward(
        self,
        x: Float[Tensor, "batch dim"],
        t: Float[Tensor, "*batch_t"] | None = None,
        y: Float[Tensor, "batch given"] | None = None,
    ) -> Float[Tensor, "batch out"]:
        """``t`` of shape (), one for all, or (batch,), one for each; ``y`` if the network was built to be given some."""
        if (0 if y is None else y.shape[1]) != self.given:
            told = "no y" if y is None else f"y of shape {tuple(y.shape)}"
            raise ShapeError(f"MLP(given={self.given}) got {told}: wanted {self.given} numbers a row.")
        e, h = self.condition(moment(x, t)), self.first(x if y is None else torch.cat([x, y], 1))
        for film, layer in zip(self.films, self.layers):
            h = h + layer(self.activation(film(h, e)))
        return self.last(self.activation(h))
