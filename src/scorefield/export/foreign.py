"""Denoisers that other libraries trained, under the laws of this one.

    steps k = 0 … N−1 of a table ᾱ_k     t = (k + 1)/N,  α² = ᾱ,  σ² = 1 − ᾱ, log ᾱ linear between the steps and 0 at t = 0
    EDM                                  σ = σ_max t, F told ¼ log σ                              Karras et al. 2022, arXiv:2206.00364
    flow matching                        x = (1 − s) x_0 + s ε, F = ε − x_0 told N s, at any α:  s = σ/(α + σ)

The table is Ho et al. (2020), arXiv:2006.11239, whose network is told k; what it predicts is `models.epsilon`, `velocity` or `clean`.
A denoiser knows σ/α and x_t/α only, so that a schedule of one library can be walked as one of another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import MissingPackageError, RangeError, RunError
from ..models import Coefficients, Denoiser, Times, Values, epsilon, log_level
from ..noises import Cosine, Gaussian
from ..tensors import expand

Scales = tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]


@dataclass(frozen=True)
class Tabulated(Gaussian):
    """α² = exp(−b(t)), σ² = 1 − α², b linear between b(0) = 0 and b(k/N) = ``table[k−1]``: a chain of N steps as a process.

    ``table`` holds −log ᾱ of the chain's steps. Between two steps β is constant, which is the process that the chain is a sample of.
    Raises: RangeError unless the table increases from above 0 and is finite.

    >>> alpha, sigma = Tabulated((0.5, 2.0)).scales(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    >>> (-2 * alpha.log()).abs().tolist(), bool((alpha**2 + sigma**2 - 1).abs().max() < 1e-12)
    ([0.0, 0.5, 2.0], True)
    """

    table: tuple[float, ...]

    def __post_init__(self):
        knots = torch.tensor((0.0, *self.table), dtype=torch.float64)
        if not self.table or not bool((knots.diff() > 0).all()) or not bool(knots.isfinite().all()):
            raise RangeError(f"Tabulated({len(self.table)} numbers): −log ᾱ must rise from above 0, and stay finite.")

    def scales(self, t: Float[Tensor, "*batch"]) -> Scales:
        knots = torch.tensor((0.0, *self.table), dtype=t.dtype, device=t.device)
        place = t * len(self.table)
        low = place.detach().floor().long().clamp(0, len(self.table) - 1)
        integral = knots[low] + (place - low) * (knots[low + 1] - knots[low])
        return (-0.5 * integral).exp(), (-torch.expm1(-integral)).sqrt()


class Stepped(Denoiser):
    """x̂ = c_skip x_t + c_out F(c_in x_t, k), k = N t − 1: a network that is told the number of the step it is at.

    ``predict`` is what it predicts, as in `Preconditioned`. Between two steps k is a fraction; below the first it is 0.
    """

    noise: Tabulated

    def __init__(
        self, network: Callable[..., Values], noise: Tabulated, predict: Callable[..., Coefficients] = epsilon
    ):
        super().__init__()
        self.network, self.noise, self.predict = network, noise, predict

    @property
    def shape(self) -> tuple[int, ...] | None:
        return getattr(self.network, "shape", None)

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        t = torch.as_tensor(t, device=xt.device).double()
        alpha, sigma = self.noise.scales(t)
        c_skip, c_out, c_in, _ = self.predict(alpha, sigma)
        step = (t * len(self.noise.table) - 1).clamp(min=0)
        answer = self.network(expand(c_in, xt).to(xt.dtype) * xt, step.to(xt.dtype).expand(xt.shape[0]), **cond)
        return expand(c_skip, xt).to(xt.dtype) * xt + expand(c_out, xt).to(xt.dtype) * answer


def flow(alpha: Times, sigma: Times, steps: int = 1000) -> Coefficients:
    """F = ε − x_0 on the line (1 − s) x_0 + s ε, told ``steps``·s: x̂ = x − s F there, carried to any α by s = σ/(α + σ).

    Lipman et al. (2023), arXiv:2210.02747; Liu et al. (2022), arXiv:2209.03003.

    >>> [float(c) for c in flow(torch.tensor(0.5), torch.tensor(0.5))]
    [1.0, -0.5, 1.0, 500.0]
    """
    total = alpha + sigma
    return 1 / total, -sigma / total, 1 / total, steps * sigma / total


def turned(alpha: Times, sigma: Times, data_std: float = 0.5) -> Coefficients:
    """`models.edm` with F of the other sign, as diffusers' EDM schedulers mean "v_prediction".

    >>> [round(float(c), 4) for c in turned(torch.tensor(1.0), torch.tensor(0.5))][:2]
    [0.5, -0.3536]
    """
    total = (alpha * data_std) ** 2 + sigma**2
    c_skip, c_out, c_in = alpha * data_std**2 / total, sigma * data_std * total.rsqrt(), total.rsqrt()
    return c_skip, -c_out, c_in, log_level(alpha, sigma)


class DiffusersUNet(nn.Module):
    """diffusers' UNet2DModel built from its ``config``, as f(x, t). Raises: MissingPackageError; RunError for other models.

    Unconditional, with as many channels out as in: a variance learned beside the mean has no place in a denoiser.
    """

    def __init__(self, config: dict[str, Any]):
        super().__init__()
        try:
            from diffusers import UNet2DModel
        except ImportError as error:
            raise MissingPackageError("this model is diffusers' own: pip install diffusers.") from error
        if config.get("_class_name", "UNet2DModel") != "UNet2DModel":
            raise RunError(
                f"import: {config['_class_name']} is no UNet2DModel; unconditional image models can be read."
            )
        if config.get("class_embed_type") or config.get("num_class_embeds"):
            raise RunError("import: the UNet2DModel is conditioned on classes; only unconditional ones can be read.")
        size, channels = config.get("sample_size"), config.get("in_channels", 3)
        if not isinstance(size, int) or config.get("out_channels", 3) != channels:
            raise RunError(
                f"import: UNet2DModel of sample_size {size}, {channels} channels in and {config.get('out_channels', 3)} out; "
                "one number for the size and as many channels out as in wanted."
            )
        self.config = dict(config)
        self.shape = (channels, size, size)
        self.unet: Any = UNet2DModel.from_config({k: v for k, v in config.items() if not k.startswith("_")})

    def forward(self, x: Float[Tensor, "batch channels size size"], t: Float[Tensor, "*batch"]) -> Values:
        """The network's own prediction."""
        return self.unet(x, t).sample


class Azula(Denoiser):
    """An azula denoiser under one of our noises: x̂ = E[X | α_a x_t/α] at azula's time of the same σ/α.

    ``denoiser`` is any `azula.denoise.Denoiser`, ``noise`` by default `Cosine` that ends where its schedule does. azula's schedules
    begin at a small noise; below it the denoiser is asked at their first level. Use it with every sampler, law and export here.
    """

    def __init__(self, denoiser: nn.Module, shape: tuple[int, ...] | None = None, noise: Gaussian | None = None):
        super().__init__()
        self.denoiser, self._shape = denoiser, shape
        self.schedule: Any = getattr(denoiser, "schedule")  # noqa: B009
        ends = [self.schedule(torch.tensor(t, dtype=torch.float64)) for t in (0.0, 1.0)]
        self.low, self.high = (float(sigma / alpha) for alpha, sigma in ends)
        self.noise = noise or Cosine(ratio_max=self.high)

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self._shape

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        t = torch.as_tensor(t, device=xt.device).double()
        theirs = self._time(self.noise.ratio(t).clamp(self.low, self.high))
        scale = self.schedule(theirs)[0] / self.noise.scales(t)[0]
        answer: Any = self.denoiser(expand(scale, xt).to(xt.dtype) * xt, theirs.to(xt.dtype), **cond)
        return answer.mean

    def _time(self, ratio: Tensor) -> Tensor:
        """azula's t of this σ/α, by bisection."""
        low, high = torch.zeros_like(ratio), torch.ones_like(ratio)
        for _ in range(60):
            middle = (low + high) / 2
            alpha, sigma = self.schedule(middle)
            below = sigma / alpha < ratio
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2
