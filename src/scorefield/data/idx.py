"""IDX, the format of MNIST and its relatives: two zero bytes, a type, the number of axes, their lengths, the numbers.

Everything is big-endian. A folder holds ``train-images…``, ``train-labels…`` and mostly ``t10k-images…``,
``t10k-labels…``, plain or gzipped; the last two are the published test part, which becomes the held-out part.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from ..errors import DataError
from .check import check, to_tensor
from .dataset import Dataset, prepare
from .pixels import channels_first, pixel_scaling
from .split import unseen

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx(folder: str | Path, *, held_out: float = 0.1, seed: int = 0) -> Dataset:
    """The pictures of a folder in IDX format, such as Fashion-MNIST, in −1..1, with labels where there are some.

    A published test part becomes the held-out part, and training rows equal to one of its rows are left out; without
    one, the fraction ``held_out`` is. One file of pictures may be given instead of a folder.

    Raises: DataError for files that are missing, truncated, of another format, or of different numbers of rows.

    >>> idx("nowhere")
    Traceback (most recent call last):
        ...
    scorefield.errors.DataError: nowhere: no folder and no file of that name: give one in IDX format.
    """
    path = Path(folder).expanduser()
    if not path.exists():
        raise DataError(f"{path}: no folder and no file of that name: give one in IDX format.")
    if path.is_file():
        x = check(channels_first(read_idx(path)), path.name)
        return prepare(x, name=path.name, scaling=pixel_scaling(x, path.name), held_out=held_out, seed=seed)
    found, labels = _part(path, ("train",))
    if found is None:
        raise DataError(f"{path}: no file *train*images*idx* in it: give a folder in IDX format.")
    name = path.resolve().name
    x = check(found, name)
    scaling = pixel_scaling(x, name)
    test, test_labels = _part(path, ("t10k", "test"))
    if test is None:
        return prepare(x, name=name, scaling=scaling, labels=labels, held_out=held_out, seed=seed)
    pixel_scaling(check(test, f"{name}, test part"), f"{name}, test part")
    if test.shape[1:] != x.shape[1:]:
        raise DataError(
            f"{name}: training images of {tuple(x.shape[1:])}, test images of {tuple(test.shape[1:])}: one size wanted."
        )
    held_out_rows = scaling.to_model(test).float()
    if held_out_rows.abs().max() > 1:
        raise DataError(
            f"{name}: the test part has values outside those of the training part ({scaling}): scale both alike."
        )
    keep = unseen(x, test)
    if len(keep) == 0:
        raise DataError(f"{name}: every training row is also in the test part, so nothing is left to train on.")
    return Dataset(
        train=scaling.to_model(x[keep]).float(),
        held_out=held_out_rows,
        scaling=scaling,
        labels=None if labels is None else labels[keep],
        held_out_labels=test_labels,
        name=name,
    )


def read_idx(path: str | Path) -> Shaped[Tensor, "..."]:
    """The tensor an IDX file holds, gzipped or not.

    Raises: DataError with the bytes got and wanted where the file is none, is truncated or goes on too long.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "two-idx1-ubyte")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 6]))
    ...     read_idx(file)
    tensor([5, 6], dtype=torch.uint8)
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}): copy the file again.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or content[3] == 0:
        raise DataError(f"{path}: begins with bytes {content[:4].hex(' ')}, an IDX file with 00 00 (type) (axes).")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{path}: truncated: {len(content)} bytes, {start} wanted for the header alone.")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    dtype = np.dtype(_TYPES[content[2]])
    wanted = start + math.prod(shape) * dtype.itemsize
    if len(content) != wanted:
        state = "truncated" if len(content) < wanted else "too long"
        raise DataError(
            f"{path}: {state}: {len(content)} bytes got, {wanted} wanted for shape {shape}: copy the file again."
        )
    return to_tensor(np.frombuffer(content, dtype, offset=start).reshape(shape), str(path))


def _part(folder: Path, names: tuple[str, ...]) -> tuple[Tensor | None, Tensor | None]:
    images, labels = _find(folder, names, "images"), _find(folder, names, "labels")
    if images is None:
        return None, None
    x = read_idx(images)
    if labels is None:
        return channels_first(x), None
    y = read_idx(labels)
    if y.ndim != 1 or len(y) != len(x):
        raise DataError(
            f"{folder}: {len(x)} images in {images.name}, {len(y)} labels in {labels.name}: one per image wanted."
        )
    return channels_first(x), y.long()


def _find(folder: Path, names: tuple[str, ...], kind: str) -> Path | None:
    found = [p for p in sorted(folder.iterdir()) if is_idx(p) and kind in p.name and any(n in p.name for n in names)]
    distinct = {p.name.removesuffix(".gz"): p for p in reversed(found)}
    if len(distinct) > 1:
        raise DataError(f"{folder}: {' and '.join(sorted(distinct))} both fit: leave one set in the folder.")
    return next(iter(distinct.values()), None)


def is_idx(path: Path) -> bool:
    """Whether the file's name says IDX: ``…-idx3-ubyte``, ``….idx3-ubyte``, with or without ``.gz``.

    >>> is_idx(Path("train-images-idx3-ubyte.gz"))
    True
    """
    return any(mark in path.name for mark in ("-idx", ".idx"))
