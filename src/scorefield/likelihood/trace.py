"""The trace of a Jacobian with its standard error, from quadratic forms ⟨v, Jv⟩.

    basis      tr J = Σ_k ⟨e_k, J e_k⟩, exact
    m probes   tr J ≈ q̄, the mean of q_i = ⟨v_i, J v_i⟩ with E[v vᵀ] = I;  var q̄ ≈ s²/m, s² the sample variance of the q_i

Orthogonal probes of length √d are a sample without replacement from a random frame whose d forms have the exact mean tr J,
so that var q̄ = (1 − m/d) s²/m without bias: the finite population correction. It is zero at m = d, and no multiple of the
identity in J adds to it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..calculus import Divergence, Exact, Hutchinson, orthogonal
from ..errors import RangeError
from ..tensors import Draws

Values = Float[Tensor, "batch *event"]
Numbers = Float[Tensor, "batch"]
Probes = Float[Tensor, "probes batch *event"]
Forms = Float[Tensor, "probes batch"]


@dataclass(frozen=True)
class Trace:
    """Which probes to draw, and what their forms say of the trace.

    ``shared`` is how many of them also follow the coarse path that tells the solver's error.
    Raises: RangeError for a divergence that has no standard error.

    >>> Trace.of(Exact(), size=3).estimate(torch.ones(3, 1))
    (tensor([3.], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """

    divergence: Exact | Hutchinson
    size: int

    @classmethod
    def of(cls, divergence: Divergence | None, size: int) -> "Trace":
        """The trace over ``size`` coordinates: exact up to 128 or as many as there are probes, else by 8 orthogonal probes."""
        divergence = divergence or (Exact() if size <= 128 else Hutchinson(8, orthogonal))
        if not isinstance(divergence, Exact | Hutchinson):
            raise RangeError(
                f"log_density(divergence={divergence}): its error cannot be told; pass Exact() or Hutchinson(probes)."
            )
        if isinstance(divergence, Hutchinson):
            if divergence.rank:
                raise RangeError(
                    f"log_density(divergence={divergence}): its error is told for rank=0 only; "
                    f"take Hutchinson({divergence.probes + 2 * divergence.rank}, orthogonal)."
                )
            if divergence.probes < 2:
                raise RangeError(
                    f"log_density(divergence={divergence}): one probe has no standard error; take at least 2."
                )
            if divergence.probes >= size:
                divergence = Exact()
        return cls(divergence, size)

    @property
    def exact(self) -> bool:
        """Whether the trace has no noise."""
        return isinstance(self.divergence, Exact)

    @property
    def shared(self) -> int:
        """All probes if they are exact, else 2: their difference between two paths has little noise."""
        return self.size if self.exact else 2

    def probes(self, x: Values, generator: Draws | None) -> Probes:
        """Fresh probes for every row of x."""
        if isinstance(self.divergence, Hutchinson):
            return self.divergence.draw(x, self.divergence.probes, generator)
        basis = torch.eye(self.size, dtype=x.dtype, device=x.device)
        return basis.reshape(self.size, 1, *x.shape[1:]).expand(self.size, *x.shape)

    def estimate(self, q: Forms) -> tuple[Numbers, Numbers]:
        """(the trace, the variance of that number), both in float64."""
        q = q.double()
        if isinstance(self.divergence, Exact):
            return q.sum(0), torch.zeros_like(q[0])
        drawn = len(q) / self.size if self.divergence.draw is orthogonal else 0.0
        return q.mean(0), q.var(0) / len(q) * (1 - drawn)
