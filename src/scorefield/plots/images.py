"""Images in [−1, 1] as pixels: byte = round(127.5 (x + 1)), clipped to 0 … 255."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, MissingPackageError, ShapeError
from .fields import around
from .style import BLUE, INK, array, dress, figure, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mosaic(images: Float[Tensor, "n channels height width"], *, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """The images side by side as bytes, row by row, with a light gap between: (height, width, 3).

    Raises: ShapeError unless the images are (n, 1 or 3, height, width) with n at least 1.

    >>> mosaic(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1), columns=2, gap=1)[:, :, 0].tolist()
    [[0, 255, 255]]
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise ShapeError(
            f"images of shape {tuple(images.shape)}: must be (n, channels, height, width), 1 or 3 channels."
        )
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = -(-len(images) // columns)
    _, _, height, width = images.shape
    levels = (array(images).nan_to_num(-1) + 1).mul(127.5).round().clamp(0, 255).byte()
    pixels = levels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for k, image in enumerate(pixels):
        top, left = k // columns * (height + gap), k % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def grid(images: Float[Tensor, "n channels height width"], *, columns: int | None = None, title: str = "") -> "Figure":
    """A sheet of images from [−1, 1], as square as can be unless ``columns`` are given.

    >>> grid(torch.zeros(4, 1, 8, 8)).axes[0].images[0].get_array().shape
    (18, 18, 3)
    """
    pixels = mosaic(images, columns=columns)
    height, width = pixels.shape[:2]
    scale = 5.0 / max(height, width)
    picture = figure(width * scale + 0.1, height * scale + (0.35 if title else 0.1))
    ax = picture.add_subplot()
    ax.imshow(pixels, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(title, fontsize=10, color=INK)
    return picture


def sheet(
    images: Float[Tensor, "n channels height width"], path: str | Path, *, columns: int | None = None, zoom: int = 2
) -> Path:
    """Write many images to one PNG, every pixel of them ``zoom`` × ``zoom`` pixels: fast, lossless, no figure around.

    Raises: StorageError if it cannot be written; MissingPackageError without pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("sheet needs pillow: pip install 'scorefield[data]'.") from error
    pixels = mosaic(images, columns=columns).repeat(zoom, axis=0).repeat(zoom, axis=1)
    return write(Path(path), lambda file: Image.fromarray(pixels).save(file, format="PNG"))


def walk(
    states: Sequence[Tensor], *, times: Sequence[float] | None = None, rows: int = 8, columns: int = 10, title: str = ""
) -> "Figure":
    """States of a walk from noise (left) to data (right): images in ``rows`` lines, or points of the plane in panels.

    ``columns`` of the states are shown, evenly spaced, the first and the last among them. ``times`` are the t of the
    states, which head their columns. Images are scaled by max(1, max |x|) of each state, so that noise is visible.

    Raises: DataError without states; ShapeError unless they are images or points of the plane.

    >>> len(walk([torch.randn(5, 2) for _ in range(4)], columns=3).axes)
    3
    """
    if not states:
        raise DataError("walk of no states: give the tensors that a sampler walked through.")
    chosen = sorted({round(float(k)) for k in np.linspace(0, len(states) - 1, min(columns, len(states)))})
    heads = ["" if times is None else f"t = {float(times[k]):.2g}" for k in chosen]
    shown = [array(states[k]) for k in chosen]
    if shown[0].ndim == 4:
        return _images(shown, heads, rows, title)
    if shown[0].ndim == 2 and shown[0].shape[1] == 2:
        return _points(shown, heads, title)
    raise ShapeError(
        f"walk of states of shape {tuple(shown[0].shape)}: must be (n, channels, height, width) or (n, 2)."
    )


def _images(states: list[Tensor], heads: list[str], rows: int, title: str) -> "Figure":
    rows = min(rows, len(states[0]))
    scaled = [state[:rows] / state.abs().quantile(0.999).clamp(min=1) for state in (s.float() for s in states)]
    pixels = mosaic(torch.stack(scaled, dim=1).flatten(0, 1), columns=len(states))
    height, width = pixels.shape[:2]
    size = 0.75
    picture = figure(size * len(states) + 0.1, size * len(states) * height / width + (0.6 if title else 0.35))
    ax = picture.add_subplot()
    ax.imshow(pixels, interpolation="nearest")
    for side in ax.spines.values():
        side.set_visible(False)
    each = (width + 2) / len(states)
    ax.set_xticks([each * (k + 0.5) - 1 for k in range(len(states))], heads, fontsize=7, color=INK)
    ax.tick_params(bottom=False, top=False, labeltop=True, labelbottom=False, pad=1)
    ax.set_yticks([])
    if title:
        ax.set_title(title, fontsize=10, color=INK)
    return picture


def _points(states: list[Tensor], heads: list[str], title: str) -> "Figure":
    limits = around(torch.cat(states), 0.05)
    picture = figure(1.7 * len(states), 2.0 + (0.3 if title else 0))
    if title:
        picture.suptitle(title, fontsize=10, color=INK)
    for k, (state, head) in enumerate(zip(states, heads)):
        ax = dress(picture.add_subplot(1, len(states), k + 1), title=head)
        ax.scatter(state[:, 0], state[:, 1], s=3, color=BLUE, alpha=0.5, linewidths=0)
        ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
        if k:
            ax.tick_params(labelleft=False)
    return picture
