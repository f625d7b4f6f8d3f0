"""Layers that compute in the precision of their input, whatever that of their weights.

    Conv          y = w ∗ x + b
    Linear        y = W x + b
    whole_norm    (h − mean h) / std h, over one example
    attend        softmax(q kᵀ/√d) v

Weights stay in float32 for the optimiser; a network that casts its input to bfloat16 once then computes in bfloat16
throughout. Casting a weight copies thousands of numbers, against millions of products: unlike autocast, which asks at
every operation, it costs nothing to speak of. In float64 the same layers are exact.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Conv(nn.Conv2d):
    """y = w ∗ x + b in the precision of x; the size of the image stays, or halves with stride 2.

    >>> import torch
    >>> Conv(1, 2)(torch.ones(1, 1, 5, 5).bfloat16()).dtype
    torch.bfloat16
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1):
        super().__init__(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
        self.inputs, self.outputs, self.kernel = inputs, outputs, kernel
        # As the images are laid out: a tenth less time for one of them.
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs h w"]:
        """An image of ``outputs`` channels."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return self._conv_forward(x, self.weight.to(x.dtype), bias)


class Linear(nn.Linear):
    """y = W x + b in the precision of x, over the last axis.

    >>> import torch
    >>> Linear(2, 3)(torch.ones(4, 2).bfloat16()).dtype
    torch.bfloat16
    """

    def forward(self, x: Float[Tensor, "*place inputs"]) -> Float[Tensor, "*place outputs"]:
        """``outputs`` numbers at every place."""
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


def whole_norm(h: Float[Tensor, "batch channels *place"]) -> Float[Tensor, "batch channels *place"]:
    """(h − mean) / std over channels and pixels of each example: rows stay independent.

    One group, and not several: on CPUs that is one fast pass, and the rest is learned by the layers around it.

    >>> import torch
    >>> whole_norm(torch.tensor([[[1.0], [3.0]]])).flatten().round()
    tensor([-1.,  1.])
    """
    return F.group_norm(h, 1)


def attend(
    q: Float[Tensor, "*rows tokens d"], k: Float[Tensor, "*rows tokens d"], v: Float[Tensor, "*rows tokens d"]
) -> Float[Tensor, "*rows tokens d"]:
    """softmax(q kᵀ/√d) v, in operations that can be differentiated any number of times.

    torch's fused attention has no second derivative on the CPU, and exact score matching takes one.

    >>> import torch
    >>> attend(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([[1.0], [3.0]])).flatten()
    tensor([2., 2.])
    """
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with all weights at zero: a network that ends in it starts as the zero function.

    >>> import torch
    >>> zeroed(nn.Linear(2, 2))(torch.ones(1, 2)).abs().sum().item()
    0.0
    """
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer
