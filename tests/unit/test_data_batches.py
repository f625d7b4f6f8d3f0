"""Batch k is a pure function of (data, size, seed, k); an epoch is a permutation."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scorefield.data import batches
from scorefield.errors import DataError, RangeError


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), size=st.integers(1, 100), seed=st.integers(0, 2**40), k=st.integers(0, 50))
def test_batch_k_is_the_kth_run_of_the_concatenated_permutations(n, size, seed, k):
    source = batches(torch.arange(n), size, seed=seed)
    epochs = (k + 1) * size // n + 1
    endless = np.concatenate([np.random.default_rng([seed, e]).permutation(n) for e in range(epochs)])
    assert source.at(k).tolist() == endless[k * size : (k + 1) * size].tolist()


@pytest.mark.parametrize("size", [1, 5, 7, 23, 100])
def test_every_epoch_holds_every_row_once(size):
    source = batches(torch.arange(23), size, seed=3)
    rows = torch.cat(list(islice(source.stream(), 23)))
    for epoch in rows.view(-1, 23):
        assert epoch.sort().values.tolist() == list(range(23))
    assert rows[:23].tolist() != rows[23:46].tolist()


def test_streams_can_start_anywhere_and_do_not_share_state():
    source = batches(torch.arange(23), 5, seed=1)
    whole = list(islice(source.stream(), 30))
    first, second = source.stream(11), source.stream(17)
    for k in range(10):
        assert torch.equal(next(first), whole[11 + k])
        assert torch.equal(next(second), whole[17 + k])


def test_far_batches_need_no_replay():
    source = batches(torch.arange(7), 3)
    far = 10**12
    assert torch.equal(source.at(far), next(source.stream(far)))
    assert len(set(torch.cat([source.at(7 * far + k) for k in range(7)]).tolist())) == 7


def test_seeds_give_other_orders():
    x = torch.arange(100)
    assert not torch.equal(batches(x, 100, seed=0).at(0), batches(x, 100, seed=1).at(0))
    assert torch.equal(batches(x, 100, seed=1).at(0), batches(x, 100, seed=1).at(0))


def test_epoch_holds_the_batches_that_begin_in_it():
    source = batches(torch.arange(10), 4)
    joined = [b.tolist() for e in range(4) for b in source.epoch(e)]
    assert joined == [b.tolist() for b in islice(source.stream(), 10)]


def test_conditions_go_along_with_their_rows():
    x = torch.arange(50.0)
    batch = batches(x, 8, seed=2, label=x.long() * 3, weight=-x).at(4)
    assert set(batch) == {"x", "label", "weight"}
    assert torch.equal(batch["label"], batch["x"].long() * 3)
    assert torch.equal(batch["weight"], -batch["x"])


def test_length_and_shape():
    source = batches(torch.zeros(6, 1, 4, 5), 2)
    assert (len(source), source.shape) == (6, (1, 4, 5))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: batches(torch.zeros(3), 0), RangeError, "size must be at least 1"),
        (lambda: batches(torch.zeros(3), 1, seed=-1), RangeError, "seed must be at least 0"),
        (lambda: batches(torch.zeros(3), 1).at(-1), RangeError, "steps count from 0"),
        (lambda: batches(torch.zeros(0, 2), 1), DataError, r"no values in shape \(0, 2\)"),
        (
            lambda: batches(torch.tensor([[0.0, 1.0], [2.0, torch.inf]]), 1),
            DataError,
            r"x\[1, 1\] is inf \(row 2, column 2\)",
        ),
        (lambda: batches(torch.zeros(3), 1, label=torch.zeros(2)), DataError, r"label.*\(2,\) against 3 rows"),
        (
            lambda: batches(torch.zeros(3), 1, c=torch.tensor([0, torch.nan, 1])),
            DataError,
            r"Batches\(c\): x\[1\] is nan",
        ),
    ],
)
def test_bad_input_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
