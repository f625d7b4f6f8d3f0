"""Divergences as values: (f, x, generator) -> (f(x), div f(x)), on a space.

    Exact        Σ_k ⟨P e_k, Df P e_k⟩ = tr(P Df P)
    Hutchinson   mean over probes of ⟨P v, Df P v⟩, E[v vᵀ] = I          Hutchinson (1990), Commun. Stat. Simul. Comput. 19(2)
    Difference   mean over probes of ⟨P v, f(exp_x(hPv)) − f(exp_x(−hPv))⟩ / 2h, error O(h²)     Pang et al. 2020, arXiv:2007.03317

Row i of f(x) may depend on row i of x only: that is what makes one backward pass per direction enough for a whole batch.
Derivatives are kept (``create_graph``) exactly when gradients are on, so that each divergence is also a training loss.
"""

from .base import Divergence, Field
from .difference import Difference
from .exact import Exact
from .hutchinson import Hutchinson
from .probes import gaussian, independent, orthogonal
from .pulled import forms, pull

__all__ = [
    "Difference",
    "Divergence",
    "Exact",
    "Field",
    "Hutchinson",
    "forms",
    "gaussian",
    "independent",
    "orthogonal",
    "pull",
]
