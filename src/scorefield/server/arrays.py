"""Arrays over HTTP: nested lists, NPY and PNG in; JSON, NPY, PNG and zipped PNGs out. No format that can hold code.

Pixels are bytes, 0 for −1 and 255 for 1 in the model's units, as `plots.mosaic` writes them.
"""

import base64
import binascii
import io
import json
import zipfile
from typing import Any

import numpy as np
import torch

from ..data import Scaling
from ..errors import DataError, ShapeError
from ..plots import mosaic

Shape = tuple[int, ...]


def array_of(given: Any, shape: Shape, scaling: Scaling, where: str, *, rows: bool = False) -> np.ndarray:
    """The float32 array of nested lists, or of {"npy": base64} or {"png": base64}; one event, or rows of them.

    Raises: ShapeError for another shape or pixel size, DataError for bytes of another format and for numbers that are not finite.

    >>> array_of([[1.0, 2.0]], (2,), Scaling.identity(), "x", rows=True)
    array([[1., 2.]], dtype=float32)
    """
    if isinstance(given, dict) and "png" in given:
        pixels = _pixels(given["png"], shape, where)
        found = scaling.to_data(torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1)[None])[0].numpy()
        found = found[None] if rows else found
    elif isinstance(given, dict):
        found = _npy(given["npy"], where)
    else:
        found = np.asarray(given, dtype=np.float32)
    inner = found.shape[1:] if rows and found.ndim else found.shape
    if tuple(inner) != shape or (rows and len(found) == 0):
        wanted = ("n", *shape) if rows else shape
        raise ShapeError(f"{where}: of shape {tuple(found.shape)}; wanted ({', '.join(map(str, wanted))}).")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise DataError(f"{where}: {int((~np.isfinite(found)).sum())} of {found.size} numbers are not finite.")
    return found


def mask_of(given: Any, shape: Shape, where: str) -> np.ndarray:
    """The boolean array of what is seen: nested lists of 0 and 1 or booleans, NPY, or a PNG whose light pixels are seen.

    Raises: ShapeError and DataError as `array_of`; DataError for other numbers, and for a mask that covers all or nothing.

    >>> mask_of([1, 0], (2,), "mask")
    array([ True, False])
    """
    if isinstance(given, dict) and "png" in given:
        found = (_pixels(given["png"], shape, where) > 127).astype(np.float32)
    else:
        found = array_of(given, shape, Scaling.identity(), where)
    if not np.isin(found, (0, 1)).all():
        raise DataError(
            f"{where}: entries from {found.min():g} to {found.max():g}; 1 for what is seen, 0 for the rest wanted."
        )
    if not found.any() or found.all():
        words = (
            "nothing is seen: ask for samples without completion"
            if not found.any()
            else "all is seen: nothing is left to complete"
        )
        raise DataError(f"{where}: {words}.")
    return found.astype(bool)


def json_of(body: dict[str, Any]) -> bytes:
    """The body as JSON; arrays as nested lists.

    >>> json_of({"x": np.ones((1, 2), dtype=np.float32)})
    b'{"x":[[1.0,1.0]]}'
    """
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in body.items()}
    return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()


def npy_of(array: np.ndarray) -> bytes:
    """The array as an NPY file.

    >>> np.load(io.BytesIO(npy_of(np.ones(2)))).sum()
    np.float64(2.0)
    """
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def png_of(x: np.ndarray, scaling: Scaling, *, columns: int | None = None) -> bytes:
    """Images in the data's units as one sheet, as square as can be.

    >>> png_of(np.zeros((1, 1, 4, 4), dtype=np.float32), Scaling.identity())[1:4]
    b'PNG'
    """
    from PIL import Image

    pixels = mosaic(scaling.to_model(torch.from_numpy(x)), columns=columns)
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if x.shape[1] == 1 else pixels)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def zip_of(x: np.ndarray, scaling: Scaling, first: int = 0) -> bytes:
    """A PNG for each image, named by its row, in one ZIP file.

    >>> archive = zipfile.ZipFile(io.BytesIO(zip_of(np.zeros((2, 1, 4, 4), dtype=np.float32), Scaling.identity())))
    >>> archive.namelist()
    ['0.png', '1.png']
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for k in range(len(x)):
            archive.writestr(zipfile.ZipInfo(f"{first + k}.png"), png_of(x[k : k + 1], scaling))
    return stream.getvalue()


def _bytes(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.rpartition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{where}: this is not base64.") from error


def _npy(text: str, where: str) -> np.ndarray:
    file = io.BytesIO(_bytes(text, where))
    try:
        found = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise DataError(f"{where}: these bytes are no NPY file of numbers.") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiub":
        raise DataError(f"{where}: an NPY file of floats, integers or booleans wanted.")
    return found


def _pixels(text: str, shape: Shape, where: str) -> np.ndarray:
    """The bytes of a PNG of the event's size, (channels, height, width)."""
    from PIL import Image

    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ShapeError(f"{where}: events of shape {shape} are no pictures; give lists or NPY.")
    file = io.BytesIO(_bytes(text, where))
    try:
        picture = Image.open(file, formats=["PNG"])
        size = picture.size
        pixels = np.asarray(picture.convert("L" if shape[0] == 1 else "RGB")) if size == (shape[2], shape[1]) else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: these bytes are no PNG picture.") from error
    if pixels is None:
        raise ShapeError(f"{where}: a picture of {size[0]} × {size[1]} pixels; {shape[2]} × {shape[1]} wanted.")
    return pixels[None] if shape[0] == 1 else pixels.transpose(2, 0, 1)
