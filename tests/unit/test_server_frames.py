"""Messages between front and workers: what goes in comes out, and nothing in them is code."""

import asyncio
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorefield.errors import DataError
from scorefield.server import frames


@pytest.mark.parametrize("dtype", frames.DTYPES)
def test_a_message_comes_out_as_it_went_in(dtype):
    sent = {"x": np.arange(6).reshape(2, 3).astype(dtype), "none": np.zeros((0, 2), dtype=dtype)}
    header, arrays = frames.unpacked(*frames.split(frames.packed({"do": "add", "words": "σ"}, sent)))
    assert header == {"do": "add", "words": "σ"}
    for name, array in sent.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_objects_are_refused_on_both_sides():
    with pytest.raises(DataError, match="carries"):
        frames.packed({}, {"x": np.array([object()])})
    with pytest.raises(DataError, match="does not describe"):
        frames.unpacked(b'{"arrays":[["x","object",[1]]]}', b"12345678")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_other_bytes_are_an_error_of_ours(words, numbers):
    with pytest.raises(DataError):
        frames.unpacked(b"\x00" + words, numbers)


def test_numbers_that_are_too_few_are_an_error_of_ours():
    words, numbers = frames.split(frames.packed({}, {"x": np.ones(4)}))
    with pytest.raises(DataError):
        frames.unpacked(words, numbers[:-1])


def test_sockets_and_streams_carry_messages_in_order_and_end():
    ours, theirs = socket.socketpair()
    many = np.random.default_rng(0).normal(size=100_000)

    async def main() -> list[frames.Message]:
        # the socket's buffer is smaller than the messages: reading goes on while they are written
        reader, writer = await asyncio.open_connection(sock=ours)
        sending = asyncio.create_task(
            asyncio.to_thread(lambda: [frames.send(theirs, {"k": k}, {"x": many[: 50_000 * k]}) for k in range(3)])
        )
        found = [await frames.arriving(reader) for _ in range(3)]
        await sending
        writer.write(frames.packed({"do": "stop"}))
        header, _ = await asyncio.to_thread(frames.receive, theirs)
        assert header == {"do": "stop"}
        writer.close()
        with pytest.raises(EOFError):
            await asyncio.to_thread(frames.receive, theirs)
        return found

    found = asyncio.run(main())
    theirs.close()
    assert [header["k"] for header, _ in found] == [0, 1, 2]
    np.testing.assert_array_equal(found[2][1]["x"], many)
