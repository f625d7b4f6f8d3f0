"""A classifier that knows the noise level: what classifier guidance asks.

    log p_t(c | x_t) = log softmax(f(c_in x_t, c_time))_c,        c_in = (α² s² + σ²)^{−1/2}

trained by E_t[−log p_t(c | α x_0 + σ z)], which is least at the true posterior at every level: its gradient is then the difference of
the conditional and the plain score (Dhariwal & Nichol 2021, section 4, arXiv:2105.05233). `Tilt(model, classifier)` guides by it.
A classifier of clean images does not do: its gradient at x_t is that of another function.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import RangeError
from ..models import Times, log_level
from ..networks.embeddings import Condition, at_least_one
from ..networks.layers import Conv, Linear, whole_norm, zeroed
from ..networks.unet import Block, Stack
from ..noises import Gaussian
from ..objectives import LogNormal
from ..objectives.times import Times as Levels
from ..tensors import Draws, expand, normal

Images = Float[Tensor, "batch channels height width"]
Labels = Int[Tensor, "batch"]


class Encoder(nn.Module):
    """f(x, t) on images (batch, channels, size, size): ``classes`` numbers each, zero to begin with. The U-Net's way down, alone.

    Arguments as `networks.UNet`. Raises: RangeError if a number is below 1.

    >>> Encoder(size=8, width=4, patch=1)(torch.ones(2, 1, 8, 8), torch.zeros(2)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 28,
        width: int = 24,
        multipliers: tuple[int, ...] = (1, 2, 4),
        blocks: int = 1,
        patch: int = 2,
        classes: int = 10,
        compute: torch.dtype | None = None,
    ):
        super().__init__()
        at_least_one("Encoder", channels=channels, size=size, width=width, blocks=blocks, patch=patch, classes=classes)
        at_least_one("Encoder", multipliers=min(multipliers, default=0))
        self.channels, self.size, self.width, self.multipliers = channels, size, width, tuple(multipliers)
        self.blocks, self.patch, self.classes, self.compute = blocks, patch, classes, compute
        self.shape = (channels, size, size)
        features, widths = 4 * width, [width * m for m in self.multipliers]
        self.condition = Condition(features)
        self.stem = Conv(channels * patch**2, width)
        self.levels = nn.ModuleList(Stack(Block(wide, wide, features) for _ in range(blocks)) for wide in widths)
        self.coarser = nn.ModuleList(Conv(a, b, stride=2) for a, b in zip([width, *widths], widths))
        side = -(-size // patch)
        for _ in widths:
            side = -(-side // 2)
        self.last = zeroed(Linear(widths[-1] * side**2, classes))

    def forward(self, x: Images, t: Float[Tensor, "*batch_t"]) -> Float[Tensor, "batch classes"]:
        """``t`` of shape (), one for all, or (batch,), one for each."""
        e, short = self.condition(t), -self.size % self.patch
        folded = F.pixel_unshuffle(F.pad(x, (0, short, 0, short)), self.patch)
        h = self.stem(folded.to(self.compute or x.dtype, memory_format=torch.channels_last))
        for coarser, level in zip(self.coarser, self.levels):
            h = level(coarser(h), e)
        return self.last(F.silu(whole_norm(h)).flatten(1).to(x.dtype))


class Classifier(nn.Module):
    """log p_t(label | x_t) in nats, of a network f(x, t) that gives a number for each class: made for `Tilt`.

    ``noise`` is that of the model to be guided, ``data_std`` the standard deviation of the data.
    Raises: RangeError for a label outside the classes, naming its row.

    >>> from scorefield.noises import EDM
    >>> even = Classifier(Encoder(size=8, width=4, patch=1), EDM(80.0))
    >>> even(torch.zeros(2, 1, 8, 8), torch.tensor(0.5), torch.tensor([3, 4])).exp().detach()
    tensor([0.1000, 0.1000])
    """

    def __init__(self, network: nn.Module, noise: Gaussian, data_std: float = 1.0):
        super().__init__()
        if not data_std > 0:
            raise RangeError(f"Classifier(data_std={data_std:g}): data_std must be positive.")
        self.network = network
        self.noise = noise
        self.data_std = data_std

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The event shape of one example, if the network tells."""
        return getattr(self.network, "shape", None)

    def all(self, xt: Float[Tensor, "batch *event"], t: Times) -> Float[Tensor, "batch classes"]:
        """log p_t(c | x_t) of every class c."""
        alpha, sigma = self.noise.scales(torch.as_tensor(t, device=xt.device).double())
        c_in = ((alpha * self.data_std) ** 2 + sigma**2).rsqrt()
        time = log_level(alpha, sigma).to(xt.dtype).expand(len(xt))
        return self.network(expand(c_in, xt).to(xt.dtype) * xt, time).log_softmax(1)

    def forward(self, xt: Float[Tensor, "batch *event"], t: Times, label: Labels) -> Float[Tensor, "batch"]:
        logs = self.all(xt, t)
        wrong = ((label < 0) | (label >= logs.shape[1])).nonzero().flatten()
        if len(wrong):
            raise RangeError(
                f"Classifier: label {int(label[wrong[0]])} in row {int(wrong[0])}; labels are 0 to {logs.shape[1] - 1}."
            )
        return logs.gather(1, label[:, None])[:, 0]


@dataclass(frozen=True)
class CrossEntropy:
    """E_t[−log p_t(label | α x_0 + σ z)] of each example, in nats: trains a `Classifier` at all noise levels at once.

    ``times`` says where to look. Least, in expectation, at the true posterior of the classes at every level.

    >>> from scorefield.noises import EDM
    >>> even = Classifier(Encoder(size=8, width=4, patch=1), EDM(80.0))
    >>> CrossEntropy()(even, torch.zeros(1, 1, 8, 8), label=torch.tensor([3])).detach()
    tensor([2.3026])
    """

    times: Levels = field(default_factory=lambda: LogNormal(0.0, 1.6))

    def __call__(
        self, model: Classifier, x: Float[Tensor, "batch *event"], generator: Draws | None = None, *, label: Labels
    ) -> Float[Tensor, "batch"]:
        t, correction = self.times(model.noise, x, generator)
        alpha, sigma = model.noise.at(t, x)
        return -model(alpha * x + sigma * normal(x, generator), t, label) * correction.to(x)
