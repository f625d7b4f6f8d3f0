"""A score as a field: its Jacobian J, by products with random directions.

    asymmetry    E|Jv − Jᵀv|² / (E|Jv|² + E|Jᵀv|²) = ‖J − Jᵀ‖²_F / 2‖J‖²_F     0 for a gradient, 2 for a pure rotation
    stability    x ← x + h s(x) + … stays bounded near a linear score iff h λ < 2 for every eigenvalue λ of −J

The score of data under noise σ has λ ≤ 1/σ² exactly, since E[X_0 | x_t] has the Jacobian of a covariance.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError, RowsError
from ..metrics.estimate import Estimate
from ..models import Denoiser, Score, require_independent_rows
from ..samplers import AnnealedLangevin, Langevin, PredictorCorrector, Sampler
from ..tensors import Draws, expand, normal, rademacher, sum_event
from .finding import Finding, Verdict, judged

Values = Float[Tensor, "batch *event"]
Product = Callable[[Values], Values]
Walk = AnnealedLangevin | PredictorCorrector | Langevin


def products(score: Score, x: Values) -> tuple[Product, Product]:
    """(v ↦ Jv, v ↦ Jᵀv) at every row of x, without forming J.

    >>> forward, backward = products(lambda x: x @ torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.zeros(1, 2))
    >>> v = torch.tensor([[1.0, 2.0]])
    >>> forward(v).tolist(), backward(v).tolist()
    ([[0.0, 1.0]], [[2.0, 0.0]])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = score(x)
        dual = torch.zeros_like(y, requires_grad=True)
        linear = _pull(y, x, dual, create=True)

    def forward(v: Values) -> Values:
        return _pull(linear, dual, v)

    def backward(v: Values) -> Values:
        return _pull(y, x, v)

    return forward, backward


def asymmetry(score: Score, x: Values, *, probes: int = 2, generator: Draws | None = None) -> Estimate:
    """‖J − Jᵀ‖²_F / 2‖J‖²_F over the rows of x, with its standard error: 0 for a gradient field, 2 for a rotation.

    Each row's two quadratic forms are averaged over ``probes`` random directions; the error is that of a ratio of means
    over rows. Raises: RangeError for probes < 1 or fewer than 2 rows.

    >>> asymmetry(lambda x: -x, torch.zeros(3, 2)).value
    0.0
    """
    if probes < 1 or len(x) < 2:
        raise RangeError(f"asymmetry(probes={probes}) of {len(x)} rows: at least 1 probe and 2 rows are needed.")
    forward, backward = products(score, x)
    apart, size = torch.zeros(len(x), dtype=torch.float64), torch.zeros(len(x), dtype=torch.float64)
    for _ in range(probes):
        v = rademacher(x, generator)
        pushed, pulled = forward(v).double(), backward(v).double()
        apart += sum_event((pushed - pulled) ** 2).cpu() / probes
        size += sum_event(pushed**2 + pulled**2).cpu() / probes
    scale = float(size.mean())
    if scale == 0:
        return Estimate(0.0, 0.0)
    ratio = float(apart.mean()) / scale
    return Estimate(ratio, float((apart - ratio * size).std()) / (scale * len(x) ** 0.5))


def steepness(
    score: Score, x: Values, *, iterations: int = 12, generator: Draws | None = None
) -> Float[Tensor, "batch"]:
    """The largest eigenvalue of −J at every row of x, in inverse squared units of x, by power iteration.

    A first round finds the eigenvalue of largest modulus; where the field expands fastest (it is negative), a second
    round on −J shifted by it finds the largest. Approaches from below.

    >>> round(float(steepness(lambda x: -3 * x, torch.zeros(1, 2))), 5)
    3.0
    """
    _, backward = products(score, x)
    shift = x.new_zeros(len(x))
    for _ in range(2):
        v = normal(x, generator)
        for _ in range(iterations):
            v = v / expand(sum_event(v**2).sqrt().clamp(min=1e-30), v)
            turned = expand(shift, v) * v - backward(v)
            value, v = sum_event(v * turned) - shift, turned
        if not bool((value < 0).any()):
            return value
        shift = (-value).clamp(min=0)
    return value


def gradient_field(
    fields: dict[str, tuple[Score, Values]], *, probes: int = 2, generator: Draws | None = None
) -> Finding:
    """How far the scores are from gradients: the worst `asymmetry` among named (score, points), with its error.

    Under 0.05 is good: nineteen twentieths of the Jacobian are that of a gradient. A learnt score is never exactly one
    unless it comes from an `Energy`. Raises: as `asymmetry`.

    >>> gradient_field({"rest": (lambda x: -x, torch.zeros(3, 2))}).verdict
    <Verdict.GOOD: 'good'>
    """
    found = {name: asymmetry(s, x, probes=probes, generator=generator) for name, (s, x) in fields.items()}
    name = max(found, key=lambda key: found[key].value)
    worst = found[name]
    verdict = judged(worst.value, 0.05, 0.5)
    numbers = {f"at {key}": value.value for key, value in found.items()} | {"standard error of the worst": worst.error}
    words = f"The score is close to a gradient field: asymmetry at most {worst}, at {name}."
    if verdict is not Verdict.GOOD:
        words = (
            f"The score is no gradient at {name} (asymmetry {worst} of at most 2), so it belongs to no density there: "
            "train longer, or use an Energy where densities matter."
        )
    return Finding("gradient field", verdict, numbers, words)


def row_dependence(model: Callable[..., Tensor], x: Values, *args: Tensor, **cond: Tensor) -> Finding:
    """Does row i of the answer depend on row i of x alone? `require_independent_rows` as a finding.

    >>> row_dependence(lambda x: x - x.mean(0), torch.tensor([[0.0], [1.0]])).verdict
    <Verdict.BAD: 'bad'>
    """
    try:
        require_independent_rows(model, x, *args, **cond)
    except RowsError as error:
        return Finding("rows", Verdict.BAD, {}, str(error))
    return Finding("rows", Verdict.GOOD, {}, "Row i of the answer depends on row i alone.")


def stability(
    sampler: Sampler, model: Score, points: dict[float, Values], *, iterations: int = 12, generator: Draws | None = None
) -> Finding:
    """h λ/2 < 1 for the sampler's Langevin steps h and the largest eigenvalue λ of −J at the given points.

    ``points`` maps a time to rows x_t at which the model's score is tried; a static score has the one time 0.
    Half of the limit or more asks for a look. Samplers without Langevin steps need no such check.

    >>> stability(Langevin(1.0), lambda x: -4 * x, {0.0: torch.zeros(1, 2)}).verdict
    <Verdict.BAD: 'bad'>
    """
    what = "step size"
    if not isinstance(sampler, Walk):
        return Finding(what, Verdict.GOOD, {}, f"Not needed: {type(sampler).__name__} takes no Langevin steps.")
    numbers, worst, place = {}, -1.0, ""
    for time, x in points.items():
        score, step, name = _at(sampler, model, time, x)
        largest = float(steepness(score, x, iterations=iterations, generator=generator).max())
        margin = 0.5 * step * largest
        numbers[f"at {name}"] = margin
        if margin > worst:
            worst, place = margin, name
    verdict = judged(worst, 0.5, 1.0)
    words = f"Langevin steps are at most {worst:.2f} of the largest stable one."
    if verdict is not Verdict.GOOD:
        change = "snr" if isinstance(sampler, PredictorCorrector) else "size"
        factor = worst**0.5 / 0.5**0.5 if change == "snr" else worst / 0.5
        words = f"Langevin steps are {worst:.2f} of the largest stable one at {place}: divide {change} by {factor:.2g}"
        words += ", or train longer where the score is too steep." if isinstance(model, Denoiser) else "."
    return Finding(what, verdict, numbers, words)


def _at(sampler: Walk, model: Any, time: float, x: Values) -> tuple[Score, float, str]:
    if isinstance(sampler, Langevin):
        return model, sampler.size, "the data"
    t = torch.tensor(time, dtype=torch.float64)
    sigma = float(model.noise.scales(t)[1])
    size = 2 * sampler.snr**2 if isinstance(sampler, PredictorCorrector) else sampler.size
    return lambda y: model.score(y, t), size * sigma**2, f"sigma/alpha {float(model.noise.ratio(t)):.3g}"


def _pull(y: Tensor, x: Tensor, v: Tensor, create: bool = False) -> Tensor:
    if not y.requires_grad:
        return torch.zeros_like(x)
    (answer,) = torch.autograd.grad(
        y, x, v, create_graph=create, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return answer
