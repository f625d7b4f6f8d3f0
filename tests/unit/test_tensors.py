"""Per-row randomness: against the cipher's published answers, and against the moments it promises."""

import math

import pytest
import torch

from scorefield.errors import ShapeError
from scorefield.tensors import Streams, expand, normal, philox, rademacher, sum_event, uniform

ANSWERS = [  # known answers of Philox4x32-10 in the Random123 distribution
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), ANSWERS)
def test_philox_gives_the_published_answers(counter, key, answer):
    words = philox([torch.tensor([c]) for c in counter], key)
    assert tuple(words.tolist()) == answer


@pytest.mark.parametrize("draw", [normal, uniform, rademacher])
def test_row_i_is_the_same_in_any_batch_order_and_chunk(draw):
    rows = torch.tensor([7, 3, 10**12, 0])
    generator = Streams(5, rows)
    whole = [draw(torch.empty(4, 3, 2), generator) for _ in range(3)]
    for k, row in enumerate(rows):
        alone = Streams(5, row[None])
        assert torch.equal(
            torch.cat([draw(torch.empty(1, 3, 2), alone) for _ in range(3)]), torch.stack([w[k] for w in whole])
        )


def test_rows_seeds_and_draws_all_differ():
    first = normal(torch.empty(2, 50), Streams(0, [0, 1]))
    second = normal(torch.empty(2, 50), Streams(1, [0, 1]))
    values = torch.cat([first, second]).flatten()
    assert len(values.unique()) == 200
    far = normal(torch.empty(2, 50), Streams(0, [0, 2**32]))
    assert not torch.equal(far[0], far[1])


def test_part_continues_at_the_same_draw():
    generator = Streams(0, range(4))
    normal(torch.empty(4, 2), generator)
    part = generator.part(1, 3)
    assert torch.equal(normal(torch.empty(4, 2), generator)[1:3], normal(torch.empty(2, 2), part))


@pytest.mark.parametrize(
    "generator", [Streams(0, range(1000)), torch.Generator().manual_seed(0)], ids=["streams", "torch"]
)
def test_moments(generator):
    n = 200_000
    z = normal(torch.empty(1000, 200, dtype=torch.float64), generator).flatten()
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs(float((z**power).mean()) - moment) < 5 * math.sqrt(variance / n)
    u = uniform(torch.empty(1000, 200, dtype=torch.float64), generator).flatten()
    assert abs(float(u.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / n)
    assert abs(float((u**2).mean()) - 1 / 3) < 5 * math.sqrt(4 / 45 / n)
    v = rademacher(torch.empty(1000, 200), generator).flatten()
    assert set(v.tolist()) == {-1.0, 1.0}
    assert abs(float(v.mean())) < 5 / math.sqrt(n)


def test_neighbouring_rows_and_draws_are_uncorrelated():
    generator = Streams(0, range(20_000))
    a, b = (normal(torch.empty(20_000, 2, dtype=torch.float64), generator) for _ in range(2))
    for left, right in [(a[:-1], a[1:]), (a, b), (a[:, :1], a[:, 1:])]:
        product = (left * right).flatten()
        assert abs(float(product.mean())) < 5 / math.sqrt(len(product))


def test_dtype_follows_x():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        z = normal(torch.empty(3, 2, dtype=dtype), Streams(0, range(3)))
        assert z.dtype == dtype
        assert torch.equal(z, normal(torch.empty(3, 2, dtype=torch.float64), Streams(0, range(3))).to(dtype))


def test_expand_multiplies_row_by_row_and_refuses_the_rest():
    x = torch.ones(3, 2, 2)
    assert torch.equal((expand(torch.tensor([1.0, 2.0, 3.0]), x) * x).flatten(1)[:, 0], torch.tensor([1.0, 2.0, 3.0]))
    assert expand(2.0, x).ndim == 0
    for wrong in (torch.ones(2), torch.ones(3, 1), torch.ones(1)):
        with pytest.raises(ShapeError, match=r"t must be \(\) or \(batch,\)"):
            expand(wrong, x)
    with pytest.raises(ShapeError, match="rows must agree"):
        normal(torch.empty(2, 2), Streams(0, range(3)))


def test_sum_event_keeps_the_batch():
    assert torch.equal(sum_event(torch.arange(6.0).reshape(2, 3)), torch.tensor([3.0, 12.0]))
    assert torch.equal(sum_event(torch.arange(2.0)), torch.arange(2.0))


def test_rows_of_several_seeds_draw_what_each_seed_draws_alone():
    seeds, rows = [3, 2**40 + 1, 3, 0], [0, 2**33, 1, 0]
    mixed = Streams(seeds, rows)
    draws = [normal(torch.empty(4, 5), mixed) for _ in range(2)]
    for k, (seed, row) in enumerate(zip(seeds, rows)):
        alone = Streams(seed, [row])
        for drawn in draws:
            torch.testing.assert_close(drawn[k : k + 1], normal(torch.empty(1, 5), alone), rtol=0, atol=0)
    later = mixed.take(torch.tensor([2, 0]))
    torch.testing.assert_close(
        normal(torch.empty(2, 5), later), normal(torch.empty(4, 5), mixed)[[2, 0]], rtol=0, atol=0
    )


def test_one_seed_a_row_is_as_many_as_there_are_rows():
    with pytest.raises(ShapeError, match="one a row"):
        Streams([1, 2], [0])
