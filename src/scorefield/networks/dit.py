"""A transformer on the patches of an image.

    tokens   z = W patches(x) + positions
    block    z ↦ z + g₁ attention(FiLM₁(norm z)),   z ↦ z + g₂ mlp(FiLM₂(norm z)),   with FiLM and gates g linear in e
    output   patches⁻¹(W_out FiLM(norm z))

Peebles and Xie (2023), "Scalable diffusion models with transformers", arXiv:2212.09748: adaLN-zero, every gate zero to
begin with. All a token knows of its place is its position, the sines and cosines of its two coordinates.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import RangeError
from .embeddings import Condition, at_least_one, moment
from .layers import Linear, attend, zeroed


class DiTBlock(nn.Module):
    """z + g₁ attention((1 + a₁) norm z + b₁), then z + g₂ mlp((1 + a₂) norm z + b₂): section 3.2, adaLN-zero.

    >>> z = torch.randn(2, 9, 8)
    >>> torch.equal(DiTBlock(8, 2)(z, torch.ones(2, 8)), z)
    True
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.width, self.heads = width, heads
        self.modulation = zeroed(nn.Linear(width, 6 * width))
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.wide, self.narrow = Linear(width, 4 * width), Linear(4 * width, width)

    def forward(
        self, z: Float[Tensor, "batch tokens width"], e: Float[Tensor, "rows width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """``e``: the condition, one row per example or one for all."""
        a1, b1, g1, a2, b2, g2 = self.modulation(e).to(z.dtype).unsqueeze(1).chunk(6, dim=2)
        z = torch.addcmul(z, g1, self._attend(torch.addcmul(b1, F.layer_norm(z, (self.width,)), 1 + a1)))
        inner = self.wide(torch.addcmul(b2, F.layer_norm(z, (self.width,)), 1 + a2))
        return torch.addcmul(z, g2, self.narrow(F.gelu(inner, approximate="tanh")))

    def _attend(self, z: Tensor) -> Tensor:
        q, k, v = self.qkv(z).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(attend(q, k, v).transpose(1, 2).flatten(2))


class DiT(nn.Module):
    """f(x, t, label) on images (batch, channels, size, size), by attention among patches.

    ``patch``: side of a patch in pixels; ``width``: numbers per token, a multiple of 4 and of ``heads``; ``depth``:
    blocks; ``classes``: number of labels, None for none; ``compute``: precision of the inside, None for the input's.

    Raises: RangeError if size is no multiple of patch, width none of 4 and of heads, or a number is below 1.

    >>> net = DiT(channels=1, size=28, width=16, depth=1, heads=2)
    >>> net(torch.ones(2, 1, 28, 28), torch.zeros(2)).shape, net.shape
    (torch.Size([2, 1, 28, 28]), (1, 28, 28))
    """

    positions: Tensor

    def __init__(
        self,
        channels: int = 1,
        size: int = 28,
        patch: int = 4,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        classes: int | None = None,
        compute: torch.dtype | None = None,
    ):
        super().__init__()
        at_least_one("DiT", channels=channels, size=size, patch=patch, width=width, depth=depth, heads=heads)
        at_least_one("DiT", classes=1 if classes is None else classes)
        if size % patch:
            raise RangeError(f"DiT(size={size}, patch={patch}): size must be a multiple of patch.")
        if width % 4 or width % heads:
            raise RangeError(f"DiT(width={width}, heads={heads}): width must be a multiple of 4 and of heads.")
        self.channels, self.size, self.patch, self.width = channels, size, patch, width
        self.depth, self.heads, self.classes, self.compute = depth, heads, classes, compute
        self.shape = (channels, size, size)
        self.condition = Condition(width, classes)
        self.first = Linear(channels * patch**2, width)
        self.register_buffer("positions", positions(size // patch, width), persistent=False)
        self.stack = nn.ModuleList(DiTBlock(width, heads) for _ in range(depth))
        self.modulation = zeroed(nn.Linear(width, 2 * width))
        self.last = zeroed(Linear(width, channels * patch**2))

    def forward(
        self,
        x: Float[Tensor, "batch channels size size"],
        t: Float[Tensor, "*batch_t"] | None = None,
        label: Int[Tensor, "*batch_label"] | None = None,
    ) -> Float[Tensor, "batch channels size size"]:
        """``t`` and ``label`` of shape (), one for all, or (batch,), one for each; None is t = 0 and the null class."""
        e = self.condition(moment(x, t), label)
        patches = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)
        z = self.first(patches.to(self.compute or x.dtype))
        z = z + self.positions.to(z.dtype)
        for block in self.stack:
            z = block(z, e)
        a, b = self.modulation(e).to(z.dtype).unsqueeze(1).chunk(2, dim=2)
        out = self.last(torch.addcmul(b, F.layer_norm(z, (self.width,)), 1 + a)).to(x.dtype)
        side = self.size // self.patch
        return F.pixel_shuffle(out.transpose(1, 2).unflatten(2, (side, side)), self.patch)


def positions(side: int, width: int) -> Float[Tensor, "tokens width"]:
    """(sin ωu, cos ωu, sin ωv, cos ωv) of the row u and the column v of each token, ω geometric from 1 to 1/10,000.

    >>> positions(2, 4)[3].round(decimals=2)
    tensor([0.8400, 0.5400, 0.8400, 0.5400])
    """
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side)).to(torch.float32)
    frequencies = 10_000 ** (-torch.arange(width // 4) / max(1, width // 4 - 1))
    angles = places[:, :, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)
