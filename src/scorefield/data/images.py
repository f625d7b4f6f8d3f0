"""A folder of pictures: every file of a picture's suffix below it, in the order of their paths.

They become (n, 1, h, w) where every picture is grey, else (n, 3, h, w), in −1..1. Where all of them lie in
subfolders, and there are at least two of these, the subfolders are the classes.
"""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ..errors import DataError
from .check import require
from .dataset import Dataset, prepare
from .scaling import Scaling

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff")


def images(folder: str | Path, *, held_out: float = 0.1, seed: int = 0) -> Dataset:
    """The pictures below a folder in −1..1, subfolders as classes.

    Raises: DataError naming the file that cannot be read, has other bits than 8 or see-through pixels, or the two
    files of different sizes.

    >>> images("nowhere")
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: nowhere: no folder of that name: give one with pictures in it.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no folder of that name: give one with pictures in it.")
    paths = [p for p in sorted(root.rglob("*")) if p.suffix.lower() in SUFFIXES and _visible(p.relative_to(root))]
    if not paths:
        raise DataError(f"{root}: no pictures in it: files ending in {', '.join(SUFFIXES)} wanted.")
    x = stack((str(path), decode(path, str(path))) for path in paths)
    parts = [path.relative_to(root).parts for path in paths]
    classes = sorted({part[0] for part in parts})
    labels = None
    if all(len(part) > 1 for part in parts) and len(classes) > 1:
        labels = torch.tensor([classes.index(part[0]) for part in parts])
    return prepare(
        x,
        name=root.resolve().name,
        scaling=Scaling.pixels(),
        labels=labels,
        held_out=held_out,
        seed=seed,
        classes=() if labels is None else classes,
    )


def decode(source: Path | bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """One picture as red, green and blue bytes, turned upright as its camera noted.

    Raises: DataError, by name, for a picture that cannot be read, is of more than 8 bits, or has see-through pixels.

    >>> decode(b"not a picture", "note.png")
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: note.png: cannot be read as a picture: replace or remove the file.
    """
    image = require("PIL.Image", "reading pictures")
    upright = require("PIL.ImageOps", "reading pictures").exif_transpose
    try:
        with image.open(BytesIO(source) if isinstance(source, bytes) else source) as opened:
            picture = upright(opened)
            mode = picture.mode
            if mode.startswith(("I", "F")):
                raise DataError(
                    f"{name}: a picture of mode {mode}, 8 bits a channel wanted: convert it to PNG of 8 bits."
                )
            clear = {"A", "a"} & set(picture.getbands()) or "transparency" in picture.info
            if clear and picture.convert("RGBA").getchannel("A").getextrema()[0] < 255:
                raise DataError(
                    f"{name}: see-through pixels, opaque ones wanted: put the picture on a background first."
                )
            return np.array(picture.convert("RGB"))
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, image.DecompressionBombError) as error:
        raise DataError(f"{name}: cannot be read as a picture: replace or remove the file.") from error


def stack(pictures: Iterable[tuple[str, UInt8[np.ndarray, "h w 3"]]]) -> UInt8[Tensor, "n c h w"]:
    """Named pictures as one tensor, of one channel where all of them are grey.

    Raises: DataError naming two of different sizes.

    >>> stack([("a", np.zeros((2, 3, 3), dtype=np.uint8))]).shape
    torch.Size([1, 1, 2, 3])
    """
    first, grey = "", True
    arrays: list[np.ndarray] = []
    for name, array in pictures:
        if arrays and array.shape != arrays[0].shape:
            (h0, w0), (h1, w1) = arrays[0].shape[:2], array.shape[:2]
            raise DataError(f"{name} is {w1} × {h1} pixels, {first} is {w0} × {h0}: resize or crop all to one size.")
        first = first or name
        grey = grey and bool((array == array[..., :1]).all())
        arrays.append(array)
    x = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    return (x[:, :1] if grey else x).contiguous()


def _visible(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)
