"""Images between the page and the models: grey levels as bytes, a drawing as text in a link, and which part of it is known.

A drawing is base64url of four bits a pixel, row by row, the high half of a byte first: 28 × 28 pixels are 523 letters.
"""

import base64
import binascii
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from ..errors import DataError, RangeError, ShapeError
from ..noises import Gaussian

Images = Float[Tensor, "n channels height width"]
Image = Float[Tensor, "channels height width"]
Region = Literal["top", "bottom", "left", "right", "ink"]


def bytes_of(x: Images) -> dict[str, Any]:
    """Images in −1 … 1 as base64 of one byte a pixel, clipped, with their shape.

    >>> bytes_of(torch.tensor([[[[-1.0, 1.0]]]]))
    {'shape': [1, 1, 1, 2], 'uint8': 'AP8='}
    """
    grey = ((x.detach().cpu().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return {"shape": list(x.shape), "uint8": base64.b64encode(grey.numpy().tobytes()).decode()}


def noisy_bytes(x: Images, noise: Gaussian, t: Float[Tensor, ""]) -> dict[str, Any]:
    """Noisy images as bytes, divided by √(α² + σ²), so that they are seen at every noise level."""
    alpha, sigma = noise.scales(t)
    return bytes_of(x / float((alpha**2 + sigma**2).sqrt()))


def read(drawing: str, shape: tuple[int, ...]) -> Image:
    """A drawing as an image in −1 … 1.

    Raises: ShapeError for another number of pixels, or a shape with colours; DataError for what is no base64url.

    >>> read("8A", (1, 1, 2))
    tensor([[[ 1., -1.]]])
    """
    if len(shape) != 3 or shape[0] != 1:
        raise ShapeError(
            f"drawing for images of shape {shape}: only grey images, of shape (1, height, width), are drawn."
        )
    wanted = -(-shape[1] * shape[2] // 2)
    try:
        found = base64.b64decode(drawing + "=" * (-len(drawing) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"drawing of {len(drawing)} letters: this is no base64url ({error}).") from error
    if len(found) != wanted:
        raise ShapeError(f"drawing of {len(found)} bytes: {shape[1]} × {shape[2]} pixels of four bits are {wanted}.")
    pairs = torch.frombuffer(bytearray(found), dtype=torch.uint8)
    levels = torch.stack([pairs >> 4, pairs & 15], 1).flatten()[: shape[1] * shape[2]]
    return (levels.float() / 7.5 - 1).reshape(shape)


def written(image: Image) -> str:
    """The drawing that `read` reads, of an image in −1 … 1.

    >>> written(torch.tensor([[[1.0, -1.0]]]))
    '8A'
    """
    levels = ((image + 1) * 7.5).round().clamp(0, 15).to(torch.uint8).flatten()
    levels = functional.pad(levels, (0, len(levels) % 2))
    pairs = (levels[::2] << 4) | levels[1::2]
    return base64.urlsafe_b64encode(pairs.numpy().tobytes()).decode().rstrip("=")


def known(image: Image, region: Region, share: float) -> Bool[Tensor, "channels height width"]:
    """What of the image is taken as seen: a side of it, of this share of the rows or columns; or the ink and the pixels about it.

    Raises: RangeError where this is nothing or everything; DataError for the ink of an empty drawing.

    >>> known(torch.zeros(1, 4, 4), "top", 0.5)[0, :, 0].tolist()
    [True, True, False, False]
    """
    _, height, width = image.shape
    if region == "ink":
        inked = (image > -0.75).any(0, keepdim=True).float()
        if not bool(inked.any()):
            raise DataError("drawing: it is empty; draw something, or let a side of the image be known instead.")
        seen = functional.max_pool2d(inked[None], 3, stride=1, padding=1)[0] > 0
    else:
        size = height if region in ("top", "bottom") else width
        place = torch.arange(size) if region in ("top", "left") else torch.arange(size).flip(0)
        line = place < round(share * size)
        seen = (
            line[:, None].expand(height, width)
            if size == height and region in ("top", "bottom")
            else line.expand(height, width)
        )
        seen = seen[None]
    if bool(seen.all()) or not bool(seen.any()):
        raise RangeError(f"known part {region} of {share:g}: it must leave something to complete, and something known.")
    return seen.expand(image.shape)
