"""What pairwise models need of their data: one quadratic block a variable. With v = xᵃ and the score of variable j

    s_j = −x_j^{a−1} Σ_i K_ji v_i + η_j x_j^{b−1},

generalised score matching with weights h_j is a quadratic in row j of (K, η),

    ℓ = Σ_j ½ θ_jᵀ Γ_j θ_j − g_jᵀ θ_j,   θ_j = (K_j1 … K_jd, η_j),   Γ_j = mean h_j u_j u_jᵀ,   u_j = (−x_j^{a−1} v, x_j^{b−1}),
    g_j = −mean [h_j′ u_j + h_j ∂_j u_j].

η enters no penalty and is profiled out: Γ_KK − Γ_Kη Γ_ηη⁻¹ Γ_ηK. For a Gaussian (a = b = h = 1) all Γ_j are one, the covariance.
Lin, Drton & Shojaie (2016), section 3, arXiv:1507.00433; Yu, Drton & Shojaie (2019), section 4, arXiv:1812.10551.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .checks import Points
from .normal import Normal
from .pairwise import Pairwise

Matrix = Float[Tensor, "d d"]
Model = Normal | Pairwise


@dataclass(frozen=True, eq=False)
class Blocks:
    """Γ, one for all rows (1, d+1, d+1) or one each (d, d+1, d+1), and g (d, d+1): averages over some rows.

    The loss leaves out what is constant in K and η. With one block a variable memory is O(d³): a gigabyte at d = 500.
    """

    quadratic: Float[Tensor, "k q q"]
    linear: Float[Tensor, "d q"]

    def loss(self, interactions: Matrix, own: Float[Tensor, "d"]) -> float:
        """ℓ at K and η, up to a constant of the data."""
        theta = torch.cat([interactions, own[:, None]], 1)
        pulled = (self.quadratic @ theta[..., None])[..., 0]
        return float((0.5 * pulled * theta - self.linear * theta).sum())

    def profiled(self, multiplier: float = 1.0) -> tuple[Float[Tensor, "k d d"], Matrix]:
        """(Γ, g) of K alone, η at its best. The diagonal of Γ is multiplied, so that it is not singular where n ≤ d."""
        cross, corner = self.quadratic[:, :-1, -1], self.quadratic[:, -1, -1]
        gamma = self.quadratic[:, :-1, :-1] - cross[:, :, None] * cross[:, None, :] / corner[:, None, None]
        gamma = gamma + (multiplier - 1) * torch.diag_embed(gamma.diagonal(dim1=1, dim2=2))
        return gamma, self.linear[:, :-1] - cross * (self.linear[:, -1] / corner)[:, None]

    def own(self, interactions: Matrix) -> Float[Tensor, "d"]:
        """The best η for this K."""
        pulled = (interactions * self.quadratic[:, :-1, -1]).sum(1)
        return (self.linear[:, -1] - pulled) / self.quadratic[:, -1, -1]


def powers(model: Model) -> tuple[float, float]:
    """(a, b) of the model: 1 and 1 for a Gaussian.

    >>> powers(Normal(3)), powers(Pairwise(3, 0.5, 0.0))
    ((1.0, 1.0), (0.5, 0.0))
    """
    return (model.power, model.linear) if isinstance(model, Pairwise) else (1.0, 1.0)


def blocks(model: Model, x: Points, mass: Float[Tensor, "batch"]) -> Blocks:
    """Γ and g of the rows of x with observation weights.

    >>> x = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]).double()
    >>> found = blocks(Normal(2), x, torch.ones(3).double())
    >>> torch.allclose(found.profiled()[0][0], torch.cov(x.T, correction=0))
    True
    """
    n, d = x.shape
    share = (mass / n)[:, None]
    if isinstance(model, Normal):
        rows = torch.cat([-x, torch.ones_like(x[:, :1])], 1)
        return Blocks((rows.T @ (rows * share))[None], torch.eye(d, d + 1).to(x))
    a, b = powers(model)
    h, rise = _weights(model, x)
    v, outer, inner = x**a, -(x ** (a - 1)), x ** (b - 1)
    h, rise = h * share, rise * share
    gamma = x.new_empty(d, d + 1, d + 1)
    for j in range(d):
        rows = torch.cat([outer[:, j, None] * v, inner[:, j, None]], 1)
        gamma[j] = rows.T @ (rows * h[:, j, None])
    linear = -(rise * outer - (a - 1) * h * x ** (a - 2)).T @ v
    linear = linear + torch.diag((a * h * x ** (2 * a - 2)).sum(0))
    own = -(rise * inner + (b - 1) * h * x ** (b - 2)).sum(0)
    return Blocks(gamma, torch.cat([linear, own[:, None]], 1))


def inflation(
    model: Model, x: Points, mass: Float[Tensor, "batch"], found: Blocks, interactions: Matrix, own: Float[Tensor, "d"]
) -> Matrix:
    """w_ij = J_ij/H_ij, by which an edge that is not there gains: 2nℓ falls by w χ²₁, where −2 log-likelihood falls by χ²₁.

    J is the mean square of ∂ℓ/∂K_ij at K and η, H the second derivative.

    >>> x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> one = torch.ones(4000).double()
    >>> w = inflation(Normal(2), x, one, blocks(Normal(2), x, one), torch.eye(2).double(), torch.zeros(2).double())
    >>> bool((w - 2).abs()[0, 1] < 0.2)
    True
    """
    a, b = powers(model)
    v = x if a == 1 else x**a
    if isinstance(model, Normal):
        pull = x @ interactions - own
    else:
        h, rise = _weights(model, x)
        outer = x ** (a - 1)
        score = own * x ** (b - 1) - outer * (v @ interactions)
        pull = -(h * score + rise) * outer - (a - 1) * h * x ** (a - 2)
    share = (mass / len(x))[:, None]
    cross, both = (pull**2 * share).T @ v**2, pull * v
    noise = cross + cross.T + 2 * (both * share).T @ both
    curve = found.quadratic[:, :-1, :-1].diagonal(dim1=1, dim2=2).expand(len(noise), -1)
    return noise / (curve + curve.T)


def _weights(model: Pairwise, x: Points) -> tuple[Points, Points]:
    """h and h′: each weight depends on its own coordinate alone, so that one gradient of their sum is all of h′."""
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        h = model.weight(model.domain, y)
        (rise,) = torch.autograd.grad(h.sum(), y)
    return h.detach(), rise
