"""Messages between the front and its workers: a JSON header and the raw numbers of arrays. Nothing in them can be code.

4 bytes     length of the header, big-endian
8 bytes     length of the numbers, big-endian
header      JSON; "arrays" lists name, dtype and shape of each array, in order
numbers     the arrays one after the other, C order, little-endian
"""

import asyncio
import json
import math
import socket
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DataError

HEAD = struct.Struct("!IQ")
DTYPES = ("float32", "float64", "int64", "uint8", "bool")
LARGEST = 2**32

Arrays = Mapping[str, np.ndarray]
Message = tuple[dict[str, Any], dict[str, np.ndarray]]


def packed(header: Mapping[str, Any], arrays: Arrays | None = None) -> bytes:
    """One message as bytes. Raises: DataError for an array of another dtype than `DTYPES`.

    >>> unpacked(*split(packed({"do": "add"}, {"x": np.ones(2)})))
    ({'do': 'add'}, {'x': array([1., 1.])})
    """
    parts, listed = [], []
    for name, array in (arrays or {}).items():
        if array.dtype.name not in DTYPES:
            raise DataError(f"array {name!r} of {array.dtype}: a message carries {', '.join(DTYPES)}.")
        listed.append([name, array.dtype.name, list(array.shape)])
        parts.append(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    words = json.dumps({**header, "arrays": listed}, separators=(",", ":")).encode()
    return b"".join([HEAD.pack(len(words), sum(map(len, parts))), words, *parts])


def split(message: bytes) -> tuple[bytes, bytes]:
    """Header and numbers of a whole message.

    >>> split(packed({}))
    (b'{"arrays":[]}', b'')
    """
    length, _ = HEAD.unpack(message[: HEAD.size])
    return message[HEAD.size : HEAD.size + length], message[HEAD.size + length :]


def unpacked(words: bytes | bytearray, numbers: bytes | bytearray) -> Message:
    """The header and the arrays. Raises: DataError for what `packed` did not write.

    >>> unpacked(b'{"arrays":[["x","object",[1]]]}', b"")
    Traceback (most recent call last):
    ...
    scorefield.errors.DataError: message of 0 numbers: its header does not describe it.
    """
    try:
        header = json.loads(words)
        arrays, place = {}, 0
        for name, dtype, shape in header.pop("arrays"):
            if dtype not in DTYPES:
                raise ValueError(dtype)
            kind, count = np.dtype(dtype).newbyteorder("<"), math.prod(shape)
            arrays[name] = np.frombuffer(numbers, kind, count, place).reshape(shape)
            place += count * kind.itemsize
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"message of {len(numbers)} numbers: its header does not describe it.") from error
    return header, arrays


def send(to: socket.socket, header: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    """One message into a blocking socket."""
    to.sendall(packed(header, arrays))


def receive(source: socket.socket) -> Message:
    """The next message of a blocking socket. Raises: EOFError when the other side has gone."""
    words, numbers = HEAD.unpack(_exactly(source, HEAD.size))
    return unpacked(_exactly(source, words), _exactly(source, numbers))


async def arriving(reader: asyncio.StreamReader) -> Message:
    """The next message of a stream. Raises: asyncio.IncompleteReadError when the other side has gone."""
    words, numbers = HEAD.unpack(await reader.readexactly(HEAD.size))
    return unpacked(await reader.readexactly(words), await reader.readexactly(numbers))


def _exactly(source: socket.socket, count: int) -> bytearray:
    if count > LARGEST:
        raise DataError(f"message of {count} bytes: {LARGEST} at most.")
    buffer = bytearray(count)
    view, done = memoryview(buffer), 0
    while done < count:
        got = source.recv_into(view[done:])
        if got == 0:
            raise EOFError
        done += got
    return buffer
