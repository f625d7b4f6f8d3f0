"""Fits by Newton's method, with the errors of estimating equations.

    θ̂     argmin ℓ̄(θ),  ℓ̄ the mean over rows of any objective with two derivatives
    V     B⁻¹ M B⁻¹ / n,  B = ∇²ℓ̄,  M = the mean of ∇ℓ_i ∇ℓ_iᵀ             Godambe (1960); van der Vaart (1998), theorem 5.21

Objectives with noise see the same noise at every step (row i that of streams of the seed), so that ℓ̄ is one function of θ, and M
counts the noise's part of the variance.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.func import functional_call

from ..calculus import pull
from ..closed.inference import Estimates
from ..errors import DataError, DivergedError
from ..objectives import Objective
from ..tensors import Streams
from .models import Discrete, Numbers, States

Parameters = Float[Tensor, "p"]
AT_ONCE = 2**13
LONGEST = 2.0  # of a step, in any parameter: logistic losses are flat far from their minimum


def fit(
    model: Discrete, objective: Objective, x: Shaped[Tensor, "*shape"], *, seed: int = 0, steps: int = 100
) -> Estimates:
    """θ̂ with its sandwich covariance; the model takes the values. From where its parameters stand, by damped Newton steps.

    Convex objectives have one minimum; start others (`RatioMatching`) at the fit of one that is. Cost: p backward passes a step.

    Raises: ShapeError and DataError for x that the model cannot hold, DataError for parameters that x does not identify,
    naming them; DivergedError if no minimum is found within ``steps``, as where a pair of states never occurs.

    >>> from scorefield.discrete import Ising, PseudoLikelihood, draw
    >>> truth = Ising(2).set(torch.tensor([[0.0, 0.5], [0.5, 0.0]]), torch.tensor([0.2, 0.0]))
    >>> found = fit(Ising(2), PseudoLikelihood(), draw(truth, 2000, torch.Generator().manual_seed(0)))
    >>> abs(found["J[0,1]"] - 0.5) < 3 * found.error("J[0,1]")
    True
    """
    model.check(x)
    names, weights = zip(*model.named_parameters())

    def losses(theta: Parameters) -> Numbers:
        parts = [part.reshape(w.shape) for part, w in zip(theta.split([w.numel() for w in weights]), weights)]
        call = _Objective(model, objective)
        given = {f"model.{name}": part for name, part in zip(names, parts)}
        return functional_call(call, given, (x, Streams(seed, range(len(x)))))

    theta = torch.cat([w.detach().flatten() for w in weights]).double()
    value, slope, curve = _expanded(losses, theta)
    for _ in range(steps):
        move = _step(curve, slope)
        move = move * min(1.0, LONGEST / max(float(move.abs().max()), 1e-300))
        gain = float(move @ slope)
        if gain <= 1e-14 * max(1.0, abs(value)):
            break
        for halving in range(40):
            trial = theta - 0.5**halving * move
            with torch.no_grad():
                there = float(losses(trial).mean())
            if there <= value - 1e-4 * 0.5**halving * gain + 1e-15 * abs(value):
                break
        else:
            break  # no step gains anything that rounding leaves
        theta = trial
        value, slope, curve = _expanded(losses, theta)
        if float(theta.abs().max()) > 50:
            raise _escaped(model, theta)
    else:
        raise _escaped(model, theta)
    covariance = _sandwich(losses, theta, curve, model.names)
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(theta, list(weights))
    return Estimates(model.names, theta, covariance)


class _Objective(torch.nn.Module):
    """objective ∘ model, as one module."""

    def __init__(self, model: Discrete, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x: States, generator: Streams) -> Numbers:
        return self.objective(self.model, x, generator)


def _expanded(losses, theta: Parameters) -> tuple[float, Parameters, Float[Tensor, "p p"]]:
    """ℓ̄, its gradient and its Hessian."""
    with torch.enable_grad():
        here = theta.detach().requires_grad_()
        each = losses(here)
        value, rows = each.mean(), len(each)
        (slope,) = torch.autograd.grad(value, here, create_graph=True)
    with torch.no_grad():
        curve = _pulled(slope, here, rows)
    return float(value.detach()), slope.detach(), 0.5 * (curve + curve.T)


def _pulled(y: Parameters, x: Tensor, rows: int) -> Float[Tensor, "p inputs"]:
    """∂y/∂x, few parameters at once where there are many rows: what lies between has their number."""
    parts = torch.eye(len(y)).to(y).split(max(1, AT_ONCE // rows))
    return torch.cat([pull(y, x, part) for part in parts])


def _step(curve: Float[Tensor, "p p"], slope: Parameters) -> Parameters:
    """Newton's step, downhill also where the curvature is not positive."""
    values, vectors = torch.linalg.eigh(curve)
    return vectors @ ((vectors.T @ slope) / values.abs().clamp(min=1e-8 * float(values.abs().max()) + 1e-300))


def _sandwich(losses, theta: Parameters, curve: Float[Tensor, "p p"], names: tuple[str, ...]) -> Float[Tensor, "p p"]:
    scale = curve.diagonal().clamp(min=1e-300).rsqrt()
    flat = (curve.diagonal() < 1e-9).nonzero().flatten().tolist()
    if flat:
        shown = ", ".join(names[k] for k in flat[:4])
        raise DivergedError(
            f"fit: the objective is flat in {shown} where it stopped: a minimum at infinity. Some pair of states may never occur "
            "in x: more data, or fewer parameters."
        )
    values, vectors = torch.linalg.eigh(curve * scale * scale[:, None])
    if float(values[0]) < 1e-9:
        worst = [names[k] for k in vectors[:, 0].abs().argsort(descending=True)[:4].tolist()]
        raise DataError(f"fit: x does not identify {', '.join(worst)} apart; fix or drop some, or bring other data.")
    with torch.enable_grad():
        here = theta.detach().requires_grad_()
        each = losses(here)
        mass = torch.ones_like(each, requires_grad=True)
        (total,) = torch.autograd.grad(each, here, mass, create_graph=True)
    with torch.no_grad():
        slopes = _pulled(total, mass, len(each))  # ∂(Σ m_i ∇ℓ_i)/∂m_i, one row a parameter
        bread = torch.linalg.inv(curve)
    return bread @ (slopes @ slopes.T / len(each) ** 2) @ bread


def _escaped(model: Discrete, theta: Parameters) -> DivergedError:
    name = model.names[int(theta.abs().argmax())]
    return DivergedError(
        f"fit: no minimum found; {name} went to {float(theta.abs().max()):.3g}. Some pair of states may never occur in x: "
        "more data, or fewer parameters."
    )
