"""The field of the page: s_σ on a lattice, log p_σ under it, ‖s‖, divergence, curl, and the error against the truth.

A run that is a static score is drawn at its own σ. Laws without a density there are shown at GROUND.

    div s = ∂₁s₁ + ∂₂s₂        curl s = ∂₁s₂ − ∂₂s₁, zero for every gradient

The Fisher divergence E ½‖s − s*‖² is a mean over draws of p_σ, the same draws for every method.
"""

from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from ..calculus import pull
from ..errors import RangeError
from ..exact import Density
from ..metrics import Estimate, fisher_divergence
from . import methods
from .densities import Chosen, Sigma, sharp
from .held import Held
from .methods import Method, Points, Score
from .wire import Wire, packed

HALF = 3.0
"""The page shows the square from −HALF to HALF."""
GROUND = 0.15
"""The noise under which rows are shown as a density where the arrows have none."""
TESTED = 1000
"""Draws of p_σ behind a Fisher divergence."""
Shown = Literal["density", "speed", "divergence", "curl", "error"]


class FieldRequest(Wire):
    """A field to draw: of which density, by which method, at which noise level, on an n × n lattice, with which map under it."""

    density: Chosen = Chosen()
    method: Method = "exact"
    sigma: Sigma = 0.3
    width: Annotated[float, Field(ge=0.1, le=10, description="of the kernel, in median distances")] = 1.0
    run: str = ""
    show: Shown = "density"
    n: Annotated[int, Field(ge=2, le=80)] = 40
    fine: Annotated[int, Field(ge=2, le=160)] = 80


def drawn(held: Held, wanted: FieldRequest) -> dict[str, Any]:
    """The field on a lattice, rows from the bottom up, with log p_σ and the map, each n × n, and the largest arrow."""
    sigma = methods.level(held, wanted.method, wanted.sigma, wanted.run)
    score = methods.score(held, wanted.density, wanted.method, sigma, width=wanted.width, run=wanted.run)
    truth = methods.truth(held, wanted.density, sigma, wanted.run)
    why = methods.unmeasured(held, wanted.density, wanted.method, sigma, wanted.run)
    if why and wanted.show == "error":
        raise RangeError(f"error of {wanted.method}: {why}.")
    x, fine = lattice(wanted.n), lattice(wanted.fine)
    with torch.no_grad():
        s = score(x)
    return {
        "half": HALF,
        "sigma": sigma,
        "score": packed(s),
        "largest": float(s.norm(dim=1).max()),
        "log_density": ground(held, wanted),
        "map": None if wanted.show == "density" else packed(_mapped(wanted.show, score, truth, fine)),
        "fisher": None if wanted.method == "exact" or why else _estimate(fisher(held, wanted)),
        "unmeasured": why,
    }


def ground(held: Held, wanted: FieldRequest) -> dict[str, Any]:
    """log p_σ on the fine lattice, packed."""
    density, sigma = (
        held.density(wanted.density, wanted.run),
        methods.level(held, wanted.method, wanted.sigma, wanted.run),
    )
    sigma = 0.0 if methods.itself(held, wanted.density, wanted.method, wanted.run) else sigma
    with torch.no_grad():
        return packed(density.log_density(lattice(wanted.fine), 1.0, shown_at(density, sigma)))


def shown_at(density: Density, sigma: float) -> float:
    """The noise at which a law is shown under arrows of σ: σ, but a law without a density there is shown at GROUND.

    >>> from scorefield import plane
    >>> shown_at(plane.Checkerboard(), 0.0), shown_at(plane.moons(), 0.0)
    (0.15, 0.0)
    """
    return GROUND if sigma == 0 and sharp(density) else sigma


def missing(held: Held, wanted: FieldRequest) -> str | None:
    """What this request needs and nobody has given yet: "table", "network", or None."""
    if wanted.density.name == "table" and wanted.density.table and wanted.density.table not in held.tables:
        return "table"
    if wanted.method in ("energy", "network") and not methods.trained(held, wanted.density, wanted.method, wanted.run):
        return "network"
    return None


def fisher(held: Held, wanted: FieldRequest) -> Estimate:
    """E ½‖s − s*‖² at σ over draws of p_σ that no method was fitted to."""
    sigma = methods.level(held, wanted.method, wanted.sigma, wanted.run)
    score = methods.score(held, wanted.density, wanted.method, sigma, width=wanted.width, run=wanted.run)
    truth = methods.truth(held, wanted.density, sigma, wanted.run)
    x = methods.noisy(held.density(wanted.density, wanted.run), sigma, TESTED, seed=1)
    with torch.no_grad():
        return fisher_divergence(score, truth, x)


def lattice(n: int) -> Points:
    """n × n points of the page's square, row by row from the bottom, in float64.

    >>> lattice(2).tolist()
    [[-3.0, -3.0], [3.0, -3.0], [-3.0, 3.0], [3.0, 3.0]]
    """
    along = torch.linspace(-HALF, HALF, n, dtype=torch.float64)
    return torch.stack(torch.meshgrid(along, along, indexing="xy"), -1).reshape(-1, 2)


def derivatives(score: Score, x: Points) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """(div s, curl s) at every point, by two backward passes.

    >>> div, curl = derivatives(lambda x: torch.stack([x[:, 0], 3 * x[:, 0]], 1), torch.ones(1, 2))
    >>> div.item(), curl.item()
    (1.0, 3.0)
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        s = score(x)
        probes = torch.eye(2).to(s)[:, None].expand(2, len(x), 2)
        with torch.no_grad():
            rows = pull(s, x, probes)
    return rows[0, :, 0] + rows[1, :, 1], rows[1, :, 0] - rows[0, :, 1]


def _mapped(show: Shown, score: Score, truth: Score, x: Points) -> Float[Tensor, "n"]:
    if show in ("divergence", "curl"):
        return derivatives(score, x)[0 if show == "divergence" else 1]
    with torch.no_grad():
        s = score(x)
        return (s - truth(x)).norm(dim=1) if show == "error" else s.norm(dim=1)


def _estimate(found: Estimate) -> dict[str, Any]:
    return {"value": found.value, "error": found.error, "text": str(found)}
