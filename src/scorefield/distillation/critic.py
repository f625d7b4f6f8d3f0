"""A critic for `TrajectoryDistillation`: it tells a teacher's images from a student's, and lends its features as a distance.

Three strided convolutions and a projection of the label: D(x, c) = (w + e_c)·h(x) (Miyato & Koyama 2018, section 3, arXiv:1802.05637).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import RangeError


class Critic(nn.Module):
    """(x, label) -> (logit, features): one logit per image, positive for the teacher's, and the features of each layer.

    For square images (channels, size, size); ``classes`` is the number of labels, None for none. Anything with the same answer can
    take its place for other data. Raises: RangeError for a number below 1.

    >>> logit, features = Critic(1, 28, width=8, classes=10)(torch.zeros(3, 1, 28, 28), torch.arange(3))
    >>> logit.shape, len(features)
    (torch.Size([3]), 4)
    """

    def __init__(self, channels: int, size: int, width: int = 32, classes: int | None = None):
        super().__init__()
        if min(channels, size, width, 1 if classes is None else classes) < 1:
            raise RangeError(
                f"Critic(channels={channels}, size={size}, width={width}, classes={classes}): all at least 1."
            )
        self.channels, self.size, self.width, self.classes = channels, size, width, classes
        wide = [channels, width, 2 * width, 4 * width]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(wide))
        side = -(-size // 8)
        self.hidden = nn.Linear(4 * width * side**2, 4 * width)
        self.last = nn.Linear(4 * width, 1)
        self.label = nn.Embedding((classes or 0) + 1, 4 * width)
        nn.init.normal_(self.label.weight, std=(4 * width) ** -0.5)

    def forward(
        self, x: Float[Tensor, "batch channels size size"], label: Int[Tensor, "batch"] | None = None
    ) -> tuple[Float[Tensor, "batch"], list[Tensor]]:
        features: list[Tensor] = []
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.2)
            features.append(x)
        h = F.leaky_relu(self.hidden(x.flatten(1)), 0.2)
        if label is None:
            label = torch.full((len(x),), self.classes or 0, device=x.device)
        return self.last(h)[:, 0] + (self.label(label) * h).sum(1), [*features, h]
