"""Held-out rows stay apart, scalings invert, fingerprints tell data apart."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scorefield.data import Dataset, Scaling, check, prepare, split
from scorefield.describe import build, describe
from scorefield.errors import DataError, RangeError, ShapeError

X = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.floats(0.01, 0.99), st.integers(0, 9))
def test_split_is_a_partition_that_keeps_equal_rows_together(values, fraction, seed):
    x = torch.tensor(values).float()
    if len(set(values)) == 1:
        with pytest.raises(DataError, match=r"all .* rows are equal"):
            split(x, fraction, seed)
        return
    train, held = split(x, fraction, seed)
    assert sorted(train.tolist() + held.tolist()) == list(range(len(values)))
    assert len(train) * len(held) > 0
    assert not set(x[train].tolist()) & set(x[held].tolist())
    assert all(torch.equal(a, b) for a, b in zip(split(x, fraction, seed), (train, held)))


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_split_holds_out_the_fraction_in_each_class(fraction):
    labels = torch.tensor([0] * 100 + [1] * 60 + [2] * 40)
    _, held = split(X, fraction, 1, labels)
    assert torch.bincount(labels[held]).tolist() == [round(fraction * k) for k in (100, 60, 40)]


def test_split_without_labels_holds_out_the_fraction_and_depends_on_the_seed():
    (_, first), (_, second) = split(X, 0.15, 0), split(X, 0.15, 1)
    assert len(first) == len(second) == 30
    assert first.tolist() != second.tolist()


def test_minus_zero_equals_zero():
    for seed in range(8):
        train, held = split(torch.tensor([0.0, -0.0, 1.0]), 0.3, seed)
        assert {tuple(train.tolist()), tuple(held.tolist())} == {(0, 1), (2,)}


def test_a_class_of_one_stays_in_training():
    train, _ = split(X[:11], 0.5, 0, torch.tensor([0] * 10 + [1]))
    assert 10 in train.tolist()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_fractions_outside_are_refused(fraction):
    with pytest.raises(RangeError, match="between 0 and 1"):
        split(X, fraction)


def test_one_row_is_refused():
    with pytest.raises(DataError, match="one row, at least 2"):
        prepare(X[:1], name="one", scaling=Scaling.identity())
    with pytest.raises(DataError, match="one row, at least 2"):
        split(X[:1])


def test_standardise_uses_the_training_rows_alone():
    data = prepare(X * 7 + 3, name="x", scaling=Scaling.standardise)
    assert torch.allclose(data.train.mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(data.train.std(0, correction=0), torch.ones(3), atol=1e-6)
    assert data.held_out.mean(0).abs().min() > 1e-4
    train, held = split(X * 7 + 3, 0.1, 0)
    assert torch.allclose(data.scaling.to_data(data.train), X[train] * 7 + 3, rtol=1e-6, atol=1e-5)
    assert torch.allclose(data.scaling.to_data(data.held_out), X[held] * 7 + 3, rtol=1e-6, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9))
def test_scaling_inverts_to_rounding(shift, scale, values):
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    for scaling in (Scaling(shift, scale), Scaling((shift,), (scale,)), Scaling((shift,), scale)):
        y = scaling.to_model(x)
        assert torch.allclose(y, (x - shift) / scale, rtol=1e-14, atol=0)
        assert (scaling.to_data(y) - x).abs().max().item() <= 4 * 2**-52 * (1e3 + 1e3 + x.abs().max().item())


def test_pixels_round_to_the_same_bytes():
    x = torch.arange(256, dtype=torch.uint8)
    y = Scaling.pixels().to_model(x)
    assert (y.dtype, y.min().item(), y.max().item()) == (torch.float32, -1.0, 1.0)
    assert torch.equal(Scaling.pixels().to_data(y).round().to(torch.uint8), x)


def test_constant_columns_are_named():
    with pytest.raises(DataError, match=r"column 'b' is constant in the 2 training rows \(first: 5\)"):
        Scaling.standardise(torch.tensor([[1.0, 5.0], [2.0, 5.0]]), ["a", "b"])
    with pytest.raises(DataError, match="column 1, 3 is constant"):
        Scaling.standardise(torch.tensor([[0.1, 5.0, 0.0], [0.1, 6.0, 0.0], [0.1, 7.0, 0.0]]))


def test_bad_scalings_are_refused():
    for make in (lambda: Scaling(0.0, 0.0), lambda: Scaling(0.0, (1.0, -1.0)), lambda: Scaling(float("nan"), 1.0)):
        with pytest.raises(RangeError):
            make()
    with pytest.raises(ShapeError):
        Scaling((0.0, 1.0), (1.0, 1.0, 1.0))
    with pytest.raises(ShapeError, match="last axis must be 2"):
        Scaling((0.0, 1.0), 1.0).to_model(torch.zeros(4, 3))
    with pytest.raises(ShapeError):
        Scaling.standardise(torch.zeros(3, 2, 2))


def test_numbers_beyond_float32_are_refused_after_scaling():
    x = torch.tensor([[1e300], [2e300], [3e300]], dtype=torch.float64)
    with pytest.raises(DataError, match="scaled for the model in float32"):
        prepare(x, name="huge", scaling=Scaling.identity())
    with pytest.raises(DataError, match="too large"):
        prepare(x, name="huge", scaling=Scaling.standardise)


def test_labels_follow_their_rows():
    labels = (X[:, 0] > 0).long()
    data = prepare(X, name="x", scaling=Scaling.identity(), labels=labels)
    assert torch.equal(data.labels, (data.train[:, 0] > 0).long())
    assert torch.equal(data.held_out_labels, (data.held_out[:, 0] > 0).long())
    assert torch.equal(data.batches(10, seed=3).at(0), data.train[data.batches(10, seed=3).rows(0)])


def test_fingerprint_tells_every_part():
    data = Dataset(X[:5], X[5:8], Scaling.identity(), labels=torch.arange(5), held_out_labels=torch.arange(3))
    same = Dataset(X[:5].clone(), X[5:8].clone(), Scaling.identity(), torch.arange(5), torch.arange(3))
    assert data.fingerprint == same.fingerprint
    assert len(data.fingerprint) == 16
    changed = X[:5].clone()
    changed[4, 2] = torch.nextafter(changed[4, 2], torch.tensor(9.0))
    others = [
        replace(data, train=changed),
        replace(data, held_out=X[6:9]),
        replace(data, labels=None),
        replace(data, labels=torch.arange(5).flip(0)),
        Dataset(X[:5].reshape(5, 3, 1), X[5:8].reshape(3, 3, 1), Scaling.identity(), torch.arange(5), torch.arange(3)),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError):
        Dataset(torch.zeros(3, 2), torch.zeros(3, 1), Scaling.identity())
    with pytest.raises(DataError, match="2 labels for 3 rows"):
        Dataset(torch.zeros(3, 2), torch.zeros(3, 2), Scaling.identity(), labels=torch.zeros(2).long())
    with pytest.raises(DataError, match="2 labels for 200 rows"):
        prepare(X, name="x", scaling=Scaling.identity(), labels=torch.zeros(2).long())


def test_check_names_row_and_column():
    x = torch.zeros(4, 2)
    x[2, 1], x[3, 0] = torch.inf, torch.nan
    with pytest.raises(DataError, match=r"t: x\[2, 1\] is inf \(row 3, column 'b'\), and 1 more"):
        check(x, "t", columns=("a", "b"))
    with pytest.raises(DataError, match="complex"):
        check(torch.zeros(2, dtype=torch.complex64), "t")
    assert check(x[:2], "t").data_ptr() == x.data_ptr()


@pytest.mark.parametrize("scaling", [Scaling.pixels(), Scaling((1.0, 2.5), (0.1, 3.0))])
def test_a_scaling_survives_as_text(scaling):
    assert build(json.loads(json.dumps(describe(scaling)))) == scaling
