"""Unnormalised densities on {0 … q − 1}^d.

    Discrete    log φ(x), and the ratios r_ik(x) = log φ(x with x_i = k) − log φ(x)
    Ising       log φ = Σ_{i<j} J_ij s_i s_j + Σ_i h_i s_i,   s = 2x − 1 = ±1
    Potts       log φ = Σ_{i<j} J_ij(x_i, x_j) + Σ_i h_i(x_i),   zero where a state is 0

State 0 is the reference of Potts, so that every parameter is identified; with q = 2 both are the same family.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import DataError, RangeError, ShapeError

States = Int[Tensor, "batch d"]
Numbers = Float[Tensor, "batch"]
Ratios = Float[Tensor, "batch d states"]


class Discrete(nn.Module, ABC):
    """log φ(x) on {0 … states − 1}^dim: write ``log_density``; ratios follow, slowly unless you write them too."""

    dim: int
    states: int

    @abstractmethod
    def log_density(self, x: States) -> Numbers:
        """log φ(x) in nats, up to a constant."""

    def ratios(self, x: States) -> Ratios:
        """log φ(x with x_i = k) − log φ(x), for every site i and state k: zero where k = x_i."""
        n, d = x.shape
        near = x[:, None, None].expand(n, d, self.states, d).clone()
        sites, kinds = torch.arange(d, device=x.device), torch.arange(self.states, device=x.device)
        near[:, sites, :, sites] = kinds
        return self.log_density(near.reshape(-1, d)).reshape(n, d, self.states) - self.log_density(x)[:, None, None]

    def ratios_at(self, x: States, site: int) -> Float[Tensor, "batch states"]:
        """`ratios` of one site."""
        return self.ratios(x)[:, site]

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every parameter, in the order of ``parameters()``."""
        return tuple(f"{name}[{k}]" for name, weight in self.named_parameters() for k in range(weight.numel()))

    def check(self, x: Tensor) -> None:
        """Raises: ShapeError for another shape or a dtype that is no integer, DataError for states out of range, naming the rows."""
        kind = type(self).__name__
        if x.ndim != 2 or x.shape[1] != self.dim or x.is_floating_point() or x.is_complex():
            raise ShapeError(
                f"{kind}(dim={self.dim}): x is {tuple(x.shape)} of {x.dtype}; wanted (batch, {self.dim}) of integers."
            )
        if len(x) == 0:
            raise DataError(f"{kind}: x has no rows.")
        wrong = ((x < 0) | (x >= self.states)).any(1).nonzero().flatten().tolist()
        if wrong:
            rows = ", ".join(map(str, wrong[:8])) + (", …" if len(wrong) > 8 else "")
            raise DataError(f"{kind}: rows {rows} have states outside 0 … {self.states - 1}; spins ±1 are (s + 1)/2.")


def _dimension(name: str, dim: int, states: int = 2) -> None:
    if dim < 1:
        raise RangeError(f"{name}(dim={dim}): dim must be at least 1.")
    if states < 2:
        raise RangeError(f"{name}(states={states}): states must be at least 2.")


class Ising(Discrete):
    """log φ(x) = Σ_{i<j} J_ij s_i s_j + Σ_i h_i s_i, s = 2x − 1: pairs of binary variables. Boltzmann machine without hidden units.

    ``couplings`` holds J_ij for i < j, row by row; ``fields`` holds h. In float64, all zero to begin with: every state alike.
    Raises: RangeError for dim < 1.

    >>> model = Ising(2).set(torch.tensor([[0.0, 0.5], [0.5, 0.0]]), torch.tensor([1.0, 0.0]))
    >>> model.log_density(torch.tensor([[1, 1], [0, 1]])).tolist()
    [1.5, -1.5]
    """

    states = 2

    def __init__(self, dim: int):
        super().__init__()
        _dimension("Ising", dim)
        self.dim = dim
        self.couplings = nn.Parameter(torch.zeros(dim * (dim - 1) // 2, dtype=torch.float64))
        self.fields = nn.Parameter(torch.zeros(dim, dtype=torch.float64))

    def set(self, couplings: Float[Tensor, "d d"], fields: Float[Tensor, "d"]) -> "Ising":
        """Takes J from the upper triangle of a matrix, and h. Raises: ShapeError."""
        if couplings.shape != (self.dim, self.dim) or fields.shape != (self.dim,):
            raise ShapeError(f"Ising(dim={self.dim}).set: got {tuple(couplings.shape)}, {tuple(fields.shape)}.")
        with torch.no_grad():
            i, j = self.pairs
            self.couplings.copy_(couplings[i, j])
            self.fields.copy_(fields)
        return self

    @property
    def pairs(self) -> Int[Tensor, "2 pairs"]:
        """(i, j) of every coupling."""
        return torch.triu_indices(self.dim, self.dim, 1, device=self.fields.device)

    @property
    def matrix(self) -> Float[Tensor, "d d"]:
        """J, symmetric, zero on its diagonal."""
        i, j = self.pairs
        upper = torch.zeros_like(self.fields).repeat(self.dim, 1).index_put((i, j), self.couplings)
        return upper + upper.T

    @property
    def names(self) -> tuple[str, ...]:
        """J[i,j] and h[i]."""
        return tuple(f"J[{i},{j}]" for i, j in self.pairs.T.tolist()) + tuple(f"h[{i}]" for i in range(self.dim))

    def log_density(self, x: States) -> Numbers:
        s = 2 * x.to(self.fields) - 1
        return ((s @ self.matrix) * s).sum(1) / 2 + s @ self.fields

    def ratios(self, x: States) -> Ratios:
        s = 2 * x.to(self.fields) - 1
        pull = s @ self.matrix + self.fields
        return torch.stack([-(s + 1) * pull, (1 - s) * pull], 2)

    def ratios_at(self, x: States, site: int) -> Float[Tensor, "batch states"]:
        s = 2 * x.to(self.fields) - 1
        pull = s @ self.matrix[:, site] + self.fields[site]
        return torch.stack([-(s[:, site] + 1) * pull, (1 - s[:, site]) * pull], 1)


class Potts(Discrete):
    """log φ(x) = Σ_{i<j} J_ij(x_i, x_j) + Σ_i h_i(x_i): pairs of variables of q states, free but for the reference state 0.

    ``couplings`` is (pairs, q − 1, q − 1), ``fields`` (dim, q − 1), for states 1 … q − 1. Raises: RangeError for dim < 1, states < 2.

    >>> Potts(3, 4).ratios(torch.tensor([[0, 1, 3]])).shape
    torch.Size([1, 3, 4])
    """

    def __init__(self, dim: int, states: int):
        super().__init__()
        _dimension("Potts", dim, states)
        self.dim, self.states = dim, states
        q = states - 1
        self.couplings = nn.Parameter(torch.zeros(dim * (dim - 1) // 2, q, q, dtype=torch.float64))
        self.fields = nn.Parameter(torch.zeros(dim, q, dtype=torch.float64))

    @property
    def pairs(self) -> Int[Tensor, "2 pairs"]:
        """(i, j) of every coupling."""
        return torch.triu_indices(self.dim, self.dim, 1, device=self.fields.device)

    @property
    def table(self) -> Float[Tensor, "d states d states"]:
        """J_ij(a, b) = J_ji(b, a), zero for i = j and where a or b is 0."""
        i, j = self.pairs
        full = nn.functional.pad(self.couplings, (1, 0, 1, 0))
        empty = torch.zeros_like(full[:1, :1, :1]).expand(self.dim, self.dim, self.states, self.states)
        upper = empty.index_put((i, j), full)
        return (upper + upper.permute(1, 0, 3, 2)).permute(0, 2, 1, 3)

    @property
    def names(self) -> tuple[str, ...]:
        """``J[i,j](a,b)`` and ``h[i](a)``."""
        kinds = range(1, self.states)
        pairs = (f"J[{i},{j}]({a},{b})" for i, j in self.pairs.T.tolist() for a in kinds for b in kinds)
        return (*pairs, *(f"h[{i}]({a})" for i in range(self.dim) for a in kinds))

    def _at_each(self, x: States) -> Ratios:
        """h_i(k) + Σ_j J_ij(k, x_j)."""
        one = nn.functional.one_hot(x.long(), self.states).to(self.fields).flatten(1)
        size = self.dim * self.states
        pull = (one @ self.table.reshape(size, size)).reshape(len(x), self.dim, self.states)
        return pull + nn.functional.pad(self.fields, (1, 0))

    def log_density(self, x: States) -> Numbers:
        own = self._at_each(x).gather(2, x.long()[..., None])[..., 0]
        alone = nn.functional.pad(self.fields, (1, 0)).expand(len(x), -1, -1).gather(2, x.long()[..., None])[..., 0]
        return (own + alone).sum(1) / 2

    def ratios(self, x: States) -> Ratios:
        pull = self._at_each(x)
        return pull - pull.gather(2, x.long()[..., None])
