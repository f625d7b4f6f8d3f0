"""Pictures as tensors: (n, channels, height, width), and the scaling that takes their values onto −1..1.

Whole numbers mean 0..255 (or black and white, where none is above 1). Fractions mean 0..1, or −1..1 where some are
negative.
"""

from jaxtyping import Num, Shaped
from torch import Tensor

from ..errors import DataError
from .check import position
from .scaling import Scaling


def channels_first(x: Shaped[Tensor, "n *image"]) -> Shaped[Tensor, "n *channelled"]:
    """(n, h, w) and (n, h, w, c) as (n, c, h, w), for 1 or 3 channels.

    >>> import torch
    >>> channels_first(torch.zeros(5, 8, 9)).shape, channels_first(torch.zeros(5, 8, 9, 3)).shape
    (torch.Size([5, 1, 8, 9]), torch.Size([5, 3, 8, 9]))
    """
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        return x.permute(0, 3, 1, 2).contiguous()
    return x


def pixel_scaling(x: Num[Tensor, "n *image"], what: str) -> Scaling:
    """The scaling onto −1..1 that the values of these pictures mean.

    Raises: DataError naming the first value outside what pictures can hold.

    >>> import torch
    >>> pixel_scaling(torch.tensor([[0, 300]]), "sky")
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: sky: x[0, 1] is 300, integer images hold 0..255: rescale them, or pass scaling=.
    """
    low, high = x.min().item(), x.max().item()
    if not x.is_floating_point():
        if low < 0 or high > 255:
            index = ((x < 0) | (x > 255)).nonzero()[0].tolist()
            where, value = position(index)[0], x[tuple(index)].item()
            raise DataError(f"{what}: {where} is {value}, integer images hold 0..255: rescale them, or pass scaling=.")
        return Scaling.unit() if high <= 1 else Scaling.pixels()
    if high <= 1 and low >= -1:
        return Scaling.unit() if low >= 0 else Scaling.identity()
    if low >= 0 and high <= 255 and bool((x == x.round()).all()):
        return Scaling.pixels()
    raise DataError(
        f"{what}: values {low:g} to {high:g}, images of fractions hold 0..1 or −1..1: rescale them, or pass scaling=."
    )
