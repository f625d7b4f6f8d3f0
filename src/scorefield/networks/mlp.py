"""A residual network on vectors.

    h₀ = W x,    h_{k+1} = h_k + W_k φ(FiLM_k(h_k; t)),    f(x, t) = W_out φ(h_depth)

With a smooth φ it has as many derivatives as one likes, which implicit score matching (one) and energies fitted by
it (two) need. f starts as the zero function.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from .embeddings import Condition, FiLM, at_least_one, moment
from .layers import zeroed


class MLP(nn.Module):
    """f(x, t): ℝ^dim → ℝ^out by ``depth`` residual layers, each modulated by t: the network for points and tables.

    ``out``: the number of outputs, ``dim`` by default; 1 makes an energy. ``activation``: smooth, elementwise.

    Raises: RangeError if dim, width, depth or out is below 1.

    >>> import torch
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
    ):
        super().__init__()
        at_least_one("MLP", dim=dim, width=width, depth=depth, out=dim if out is None else out)
        self.dim, self.width, self.depth, self.out, self.activation = dim, width, depth, out, activation
        self.shape = (dim,)
        self.condition = Condition(64)
        self.first = nn.Linear(dim, width)
        self.films = nn.ModuleList(FiLM(64, width) for _ in range(depth))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = zeroed(nn.Linear(width, dim if out is None else out))

    def forward(
        self, x: Float[Tensor, "batch dim"], t: Float[Tensor, "*batch_t"] | None = None
    ) -> Float[Tensor, "batch out"]:
        """``t`` of shape (), one for all, or (batch,), one for each."""
        e, h = self.condition(moment(x, t)), self.first(x)
        for film, layer in zip(self.films, self.layers):
            h = h + layer(self.activation(film(h, e)))
        return self.last(self.activation(h))
