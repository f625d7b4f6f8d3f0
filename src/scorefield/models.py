"""Models: what a network means.

    Denoiser         x̂(x_t, t) = E[X_0 | X_t = x_t]; then by Tweedie's formula
        score        s = (α x̂ − x_t) / σ²  = ∇ log p_t(x_t)          Efron 2011, eq. 1.4, doi:10.1198/jasa.2011.tm11181
        epsilon      ε̂ = (x_t − α x̂) / σ  = −σ s
        velocity     dx_t/dt = α' x̂ + σ' ε̂, the probability flow
    Preconditioned   x̂ = c_skip x_t + c_out F(c_in x_t, c_time)       Karras et al. 2022, eq. 7, arXiv:2206.00364
    Energy           s = −∇E, a field that is a gradient by construction
    Tangent          s = P_x F(x), a field on a manifold

A parameterisation is a function (α, σ) -> (c_skip, c_out, c_in, c_time).
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .calculus.forward import Jet
from .calculus.laplacian import gradient
from .errors import RangeError, RowsError, ShapeError
from .noises import Gaussian
from .spaces import Space
from .tensors import Draws, expand, sum_event

Values = Float[Tensor, "batch *event"]
Times = Float[Tensor, "*batch"]
Coefficients = tuple[Times, Times, Times, Times]
Score = Callable[[Values], Values]


def log_level(alpha: Times, sigma: Times) -> Times:
    """c_time = ¼ log(σ/α): the noise level as networks see it, about −2 … 1 (Karras et al. 2022, table 1).

    >>> float(log_level(torch.tensor(1.0), torch.tensor(1.0)))
    0.0
    """
    return 0.25 * (sigma / alpha).clamp(min=1e-8).log()


def epsilon(alpha: Times, sigma: Times) -> Coefficients:
    """F = ε̂: x̂ = (x_t − σF)/α. The prediction of DDPM (Ho et al. 2020, eq. 12, arXiv:2006.11239).

    >>> [float(c) for c in epsilon(torch.tensor(0.5), torch.tensor(0.5))]
    [2.0, -1.0, 1.4142135381698608, 0.0]
    """
    return 1 / alpha, -sigma / alpha, (alpha**2 + sigma**2).rsqrt(), log_level(alpha, sigma)


def clean(alpha: Times, sigma: Times) -> Coefficients:
    """F = x̂: the network answers with the data.

    >>> [float(c) for c in clean(torch.tensor(0.5), torch.tensor(0.5))]
    [0.0, 1.0, 1.4142135381698608, 0.0]
    """
    return torch.zeros_like(alpha), torch.ones_like(alpha), (alpha**2 + sigma**2).rsqrt(), log_level(alpha, sigma)


def velocity(alpha: Times, sigma: Times) -> Coefficients:
    """F = v = (α ε − σ x_0)/√(α² + σ²): x̂ = (α x_t − σ √(α² + σ²) F)/(α² + σ²) (Salimans & Ho 2022, appendix D, arXiv:2202.00512).

    >>> [round(float(c), 4) for c in velocity(torch.tensor(0.6), torch.tensor(0.8))]
    [0.6, -0.8, 1.0, 0.0719]
    """
    total = alpha**2 + sigma**2
    return alpha / total, -sigma * total.rsqrt(), total.rsqrt(), log_level(alpha, sigma)


def score(alpha: Times, sigma: Times) -> Coefficients:
    """F = s: x̂ = (x_t + σ² F)/α. The network answers with the score itself (Song & Ermon 2019, arXiv:1907.05600).

    >>> [float(c) for c in score(torch.tensor(1.0), torch.tensor(2.0))][:3]
    [1.0, 4.0, 0.4472135901451111]
    """
    return 1 / alpha, sigma**2 / alpha, (alpha**2 + sigma**2).rsqrt(), log_level(alpha, sigma)


def edm(alpha: Times, sigma: Times, data_std: float = 1.0) -> Coefficients:
    """Unit-variance inputs and targets for data of standard deviation data_std (Karras et al. 2022, table 1, carried to any α).

    With data_std = 1 and α² + σ² = 1 it is velocity prediction. Set it by ``functools.partial(edm, data_std=...)``.

    >>> [round(float(c), 4) for c in edm(torch.tensor(1.0), torch.tensor(0.5), data_std=0.5)]
    [0.5, 0.3536, 1.4142, -0.1733]
    """
    total = (alpha * data_std) ** 2 + sigma**2
    return alpha * data_std**2 / total, sigma * data_std * total.rsqrt(), total.rsqrt(), log_level(alpha, sigma)


class Denoiser(nn.Module):
    """x̂(x_t, t) = E[X_0 | X_t = x_t]: write ``forward``; score, epsilon and velocity follow.

    A denoiser is what samplers consume, since it is well conditioned at both ends of time.
    """

    noise: Gaussian

    @abstractmethod
    def forward(self, xt: Values, t: Times, **cond) -> Values:
        """E[X_0 | X_t = xt], of the shape of xt."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The event shape of one example, if known."""
        return None

    @property
    def remedy(self) -> str:
        """What to try when a walk down this denoiser diverges."""
        return "Take more or smaller steps, or train where the field explodes."

    def prior(self, x: Values, generator: Draws | None = None) -> Values:
        """x_1, where walks start: drawn from the noise's prior, of the shape of x."""
        return self.noise.prior(x, generator)

    def score(self, xt: Values, t: Times, **cond) -> Values:
        """∇ log p_t(x_t) = (α x̂ − x_t) / σ²."""
        alpha, sigma = self.noise.at(t, xt)
        return (alpha * self(xt, t, **cond) - xt) / sigma**2

    def epsilon(self, xt: Values, t: Times, **cond) -> Values:
        """E[Z | X_t = x_t] = (x_t − α x̂) / σ."""
        alpha, sigma = self.noise.at(t, xt)
        return (xt - alpha * self(xt, t, **cond)) / sigma

    def velocity(self, xt: Values, t: Times, **cond) -> Values:
        """dx_t/dt = f x_t − ½ g² s, the probability-flow ODE (Song et al. 2021, eq. 13, arXiv:2011.13456)."""
        f, g2 = (
            expand(rate, xt).to(xt.dtype) for rate in self.noise.rates(torch.as_tensor(t, device=xt.device).double())
        )
        return f * xt - 0.5 * g2 * self.score(xt, t, **cond)


class Preconditioned(Denoiser):
    """x̂ = c_skip x_t + c_out F(c_in x_t, c_time): a network, a noise, and what the network predicts.

    ``network(x, t, **cond)`` gets x of unit scale and t of shape (batch,), and answers in the shape of x. ``predict`` is one of
    `epsilon`, `clean`, `velocity`, `score`, `edm`, or your own function (α, σ) -> (c_skip, c_out, c_in, c_time).
    Raises: ShapeError if the network's answer has another shape than x.

    >>> from scorefield.noises import VP
    >>> zero = Preconditioned(lambda x, t: torch.zeros_like(x), VP(), clean)
    >>> zero(torch.ones(2, 3), torch.tensor(0.5)).abs().sum()
    tensor(0.)
    """

    def __init__(
        self, network: Callable[..., Values], noise: Gaussian, predict: Callable[..., Coefficients] = velocity
    ):
        super().__init__()
        self.network = network
        self.noise = noise
        self.predict = predict

    @property
    def shape(self) -> tuple[int, ...] | None:
        return getattr(self.network, "shape", None)

    @property
    def energy(self) -> Callable[..., Float[Tensor, "batch"]] | None:
        """(xt, t) -> E, whose slope is −s at every noise level, where the network is an `Energy`; None else.

        (1 − α c_skip) |x_t|²/2σ² + α c_out/(c_in σ²) E(c_in x_t, c_time), in nats up to a constant of t.
        """
        return self._energy if hasattr(self.network, "energy") else None

    def _energy(self, xt: Values, t: Times, **cond) -> Float[Tensor, "batch"]:
        alpha, sigma = self.noise.scales(torch.as_tensor(t, device=xt.device).double())
        c_skip, c_out, c_in, time = self.predict(alpha, sigma)
        first, second = (
            ((1 - alpha * c_skip) / (2 * sigma**2)).to(xt.dtype),
            (alpha * c_out / (c_in * sigma**2)).to(xt.dtype),
        )
        network: Any = self.network
        inner = network.energy(expand(c_in, xt).to(xt.dtype) * xt, time.to(xt.dtype).expand(len(xt)), **cond)
        return first * sum_event(xt**2) + second * inner

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        alpha, sigma = self.noise.scales(torch.as_tensor(t, device=xt.device).double())
        *scales, time = self.predict(alpha, sigma)
        c_skip, c_out, c_in = (expand(c, xt).to(xt.dtype) for c in scales)
        answer = self.network(c_in * xt, time.to(xt.dtype).expand(xt.shape[0]), **cond)
        if answer.shape != xt.shape:
            raise ShapeError(
                f"Preconditioned({type(self.network).__name__}): the network answers {tuple(answer.shape)} to an input of "
                f"{tuple(xt.shape)}; it must keep the shape of x."
            )
        return (c_skip * xt).addcmul_(c_out, answer)


class Energy(nn.Module):
    """s(x) = −∇E(x), E(x) = Σ network(x): a score that is a gradient by construction, with log p(x) = −E(x) + constant.

    Use it alone with `Implicit` (no noise), or as the network of `Preconditioned` for a conservative denoiser.

    >>> energy = Energy(lambda x: 0.5 * x**2)
    >>> energy(torch.tensor([[3.0]])).item()
    -3.0
    """

    def __init__(self, network: Callable[..., Tensor]):
        super().__init__()
        self.network = network

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The event shape of one example, if the network tells."""
        return getattr(self.network, "shape", None)

    def energy(self, x: Values, *args, **cond) -> Float[Tensor, "batch"]:
        """E(x) in nats, one number per example, up to a constant."""
        return sum_event(self.network(x, *args, **cond))

    def forward(self, x: Values, *args, **cond) -> Values:
        if isinstance(x, Jet):
            return -gradient(lambda y: self.network(y, *args, **cond), x)
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(x, *args, **cond).sum(), x, create_graph=keep)
        return -slope


class Tangent(nn.Module):
    """s(x) = P_x F(x): a network's answer projected onto the tangent space, a score on a manifold.

    >>> from scorefield.spaces import Sphere
    >>> Tangent(lambda x: torch.ones_like(x), Sphere())(torch.tensor([[1.0, 0.0]]))
    tensor([[0., 1.]])
    """

    def __init__(self, network: Callable[..., Values], space: Space):
        super().__init__()
        self.network = network
        self.space = space

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The event shape of one example, if the network tells."""
        return getattr(self.network, "shape", None)

    def forward(self, x: Values, *args, **cond) -> Values:
        return self.space.tangent(x, self.network(x, *args, **cond))


def require_labels(model: Callable[..., Tensor], label: Tensor | int, first: int = 0) -> None:
    """Refuses labels that no part of the model was trained on: 0 to classes, the last of them for "none". `sample` calls it.

    Only where a network tells its number of ``classes``. Raises: RangeError naming the rows, counted from ``first``.

    >>> from scorefield.networks import UNet
    >>> require_labels(UNet(size=8, width=4, classes=10), torch.tensor([3, 11, 10]))
    Traceback (most recent call last):
    ...
    scorefield.errors.RangeError: UNet: label 11 in row 1: it was trained on labels 0 to 9; give one of them, or 10 for none.
    """
    modules = model.modules() if isinstance(model, nn.Module) else ()
    known = [count for count in (getattr(each, "classes", None) for each in modules) if isinstance(count, int)]
    label = torch.as_tensor(label)
    if not known or label.is_floating_point():
        return
    wrong = ((label < 0) | (label > min(known))).reshape(-1).nonzero().flatten()
    if len(wrong):
        rows = ", ".join(str(int(row) + first) for row in wrong[:8]) + (", …" if len(wrong) > 8 else "")
        raise RangeError(
            f"{type(model).__name__}: label {int(label.reshape(-1)[wrong[0]])} in row {rows}: it was trained on labels "
            f"0 to {min(known) - 1}; give one of them, or {min(known)} for none."
        )


def require_independent_rows(model: Callable[..., Tensor], x: Values, *args, **cond) -> None:
    """Refuses a model whose row i depends on the other rows: f(x)ᵢ must equal f(xᵢ).

    Checked by name (batch normalisation in training mode) and by number, on the rows given. `fit` and `sample` call it.

    Raises: RowsError naming the layer and the way out.

    >>> require_independent_rows(lambda x: x - x.mean(0), torch.tensor([[0.0], [1.0]]))
    Traceback (most recent call last):
    ...
    scorefield.errors.RowsError: function: row 0 changes by 0.5 when the other rows leave the batch: \
a layer mixes rows (a norm, a mean or an attention over the batch axis); make it act on each row alone.
    """
    kind = type(model).__name__
    for name, module in model.named_modules() if isinstance(model, nn.Module) else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise RowsError(
                f"{kind}: layer {name!r} is {type(module).__name__} in training mode, which mixes the rows of a batch; "
                "use GroupNorm or LayerNorm, or call model.eval() before sampling."
            )
    if len(x) < 2:
        return

    def first(value):
        return value[:1] if isinstance(value, Tensor) and value.ndim and len(value) == len(x) else value

    modules = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    for module in modules:
        module.training = False  # dropout would change row 0 by itself
    try:
        with torch.no_grad():
            together = model(x, *args, **cond)[:1]
            alone = model(x[:1], *map(first, args), **{key: first(value) for key, value in cond.items()})
    finally:
        for module in modules:
            module.training = True
    change, size = (together - alone).abs().amax().item(), max(1.0, together.abs().amax().item())
    if change > 0.02 * size:
        raise RowsError(
            f"{kind}: row 0 changes by {change:.3g} when the other rows leave the batch: "
            "a layer mixes rows (a norm, a mean or an attention over the batch axis); make it act on each row alone."
        )
