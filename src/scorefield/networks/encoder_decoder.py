"""The convolutional encoder–decoder of the textbooks, told its noise level by FiLM.

    encode   three convolutions, the second and third of stride 2:  h_k = φ(FiLM(C_k h_{k−1}; t))
    decode   the same resolutions in reverse, each joined by addition with what the encoder saw there

The network of the recipe ``ncsn``, for the method of Song and Ermon (2019), "Generative modeling by estimating
gradients of the data distribution", arXiv:1907.05600. Three resolutions, no norms, few operations: to be read first.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .embeddings import Condition, FiLM, at_least_one, moment
from .layers import Conv, zeroed


class Stage(nn.Module):
    """φ(FiLM(C h; e)): a convolution that hears the noise level.

    >>> Stage(2, 4, 8)(torch.ones(3, 2, 5, 5), torch.ones(3, 8)).shape
    torch.Size([3, 4, 5, 5])
    """

    def __init__(self, inputs: int, outputs: int, features: int, stride: int = 1):
        super().__init__()
        self.inputs, self.outputs, self.features, self.stride = inputs, outputs, features, stride
        self.conv, self.film = Conv(inputs, outputs, stride=stride), FiLM(features, outputs)

    def forward(
        self, h: Float[Tensor, "batch inputs height width"], e: Float[Tensor, "rows features"]
    ) -> Float[Tensor, "batch outputs h w"]:
        """``e``: the condition, one row per example or one for all."""
        return F.silu(self.film(self.conv(h), e))


class EncoderDecoder(nn.Module):
    """f(x, t) on images (batch, channels, size, size): the plainest network that works, for the recipe ``ncsn``.

    ``width`` channels at full resolution, twice and four times that at half and a quarter; ``compute``: precision of
    the inside, None for that of the input.

    Raises: RangeError if a number is below 1.

    >>> net = EncoderDecoder(size=28, width=4)
    >>> net(torch.ones(2, 1, 28, 28), torch.tensor(0.5)).shape, net.shape
    (torch.Size([2, 1, 28, 28]), (1, 28, 28))
    """

    def __init__(self, channels: int = 1, size: int = 28, width: int = 32, compute: torch.dtype | None = None):
        super().__init__()
        at_least_one("EncoderDecoder", channels=channels, size=size, width=width)
        self.channels, self.size, self.width, self.compute = channels, size, width, compute
        self.shape = (channels, size, size)
        features = 4 * width
        self.condition = Condition(features)
        self.fine = Stage(channels, width, features)
        self.medium = Stage(width, 2 * width, features, stride=2)
        self.coarse = Stage(2 * width, 4 * width, features, stride=2)
        self.middle = Stage(4 * width, 4 * width, features)
        self.wider = Stage(4 * width, 2 * width, features)
        self.widest = Stage(2 * width, width, features)
        self.last = zeroed(Conv(width, channels))

    def forward(
        self, x: Float[Tensor, "batch channels size size"], t: Float[Tensor, "*batch_t"] | None = None
    ) -> Float[Tensor, "batch channels size size"]:
        """``t`` of shape (), one for all, or (batch,), one for each."""
        e = self.condition(moment(x, t))
        fine = self.fine(x.to(self.compute or x.dtype, memory_format=torch.channels_last), e)
        medium = self.medium(fine, e)
        coarse = self.coarse(medium, e)
        h = self.middle(coarse, e) + coarse
        h = F.interpolate(self.wider(h, e), medium.shape[2:]) + medium
        h = F.interpolate(self.widest(h, e), fine.shape[2:]) + fine
        return self.last(h).to(x.dtype, memory_format=torch.contiguous_format)
