"""Causal ordering: curvatures against the formula written out over pairs, against the truth, and orders of known graphs."""

import math

import pytest
import torch
from torch import Tensor

from scorefield.closed.ordering import causal_order, curvatures
from scorefield.errors import DataError, RangeError, ShapeError

RIDGE = 1e-3


def draw(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def over_pairs(x: Tensor, width: float, ridge: float) -> Tensor:
    """The estimator as it is defined, with a tensor of n × n × d."""
    away = x[:, None] - x[None]
    kernel = (-(away**2).sum(2) / (2 * width**2)).exp()
    inverse = torch.linalg.inv(kernel + ridge * torch.eye(len(x)).to(x))
    first = torch.einsum("kij,ki->kj", away / width**2, kernel)
    second = torch.einsum("kij,ki->kj", away**2 / width**4 - 1 / width**2, kernel)
    return inverse @ second - (inverse @ first) ** 2


def additive(d: int, n: int, seed: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Data of a random graph with sines for mechanisms and Gaussian noises, and its edges (cause, effect)."""
    generator = torch.Generator().manual_seed(seed)
    x, edges = torch.zeros(n, d, dtype=torch.float64), []
    places = torch.randperm(d, generator=generator).tolist()
    for k, j in enumerate(places):
        x[:, j] = torch.randn(n, generator=generator) * (0.6 + 0.4 * torch.rand(1, generator=generator))
        for i in places[:k]:
            if float(torch.rand(1, generator=generator)) < 2 / d:
                x[:, j] += 1.5 * torch.sin(2 * x[:, i] + 3 * float(torch.rand(1, generator=generator)))
                edges.append((i, j))
    return x, edges


def violated(order: list[int], edges: list[tuple[int, int]]) -> int:
    return sum(order.index(cause) > order.index(effect) for cause, effect in edges)


@pytest.mark.parametrize("d", [1, 4])
def test_products_of_matrices_are_the_sums_over_pairs(d):
    x = draw(80, d) * torch.arange(1, d + 1) + 5
    torch.testing.assert_close(curvatures(x, width=1.7), over_pairs(x, 1.7, RIDGE), atol=1e-7, rtol=1e-7)


def test_the_formula_without_the_square_or_with_the_other_sign_is_another():
    x = draw(80, 3)
    mine, plain = curvatures(x, width=2.0), over_pairs(x, 2.0, RIDGE)
    score = torch.linalg.solve(
        (-(torch.cdist(x, x) ** 2) / 8).exp() + RIDGE * torch.eye(80).to(x),
        -torch.einsum("kij,ki->kj", (x[:, None] - x[None]) / 4, (-(torch.cdist(x, x) ** 2) / 8).exp()),
    )
    assert (mine - plain).abs().max() < 1e-7
    assert (mine - (plain + score**2)).abs().max() > 1
    assert (mine - (plain + 2 * score**2)).abs().max() > 1


def test_the_default_width_is_the_median_distance():
    x = draw(50, 3)
    median = float(torch.pdist(x).median())
    torch.testing.assert_close(curvatures(x), curvatures(x, width=median))


def test_the_curvature_of_a_gaussian_is_minus_its_precision():
    errors = []
    for n in (200, 600, 1800):
        x = draw(n, 1, seed=n) * 2
        found = curvatures(x, ridge=0.1)
        errors.append(float((found.median() + 0.25).abs()))
    assert errors[-1] < 0.03
    assert errors[-1] < errors[0] + 0.01


def test_the_variance_of_the_curvature_is_least_for_the_effect():
    cause = draw(500, 1)
    effect = torch.sin(3 * cause) + 0.5 * draw(500, 1, 1)
    spread = curvatures(torch.cat([cause, effect], 1)).var(0)
    assert spread[1] < 0.5 * spread[0]


def test_orders_of_random_graphs_are_recovered():
    # A random order violates half of the edges: of m edges, m/2 ± √m at most.
    wrong = total = 0
    for seed in range(6):
        x, edges = additive(6, 500, seed)
        order = causal_order(x)
        assert sorted(order) == list(range(6))
        wrong, total = wrong + violated(order, edges), total + len(edges)
    assert total > 20
    assert wrong <= 0.1 * total < total / 2 - 3 * math.sqrt(total) / 2
    assert violated(order[::-1], edges) == len(edges) - violated(order, edges)


def test_columns_may_come_in_any_order():
    x, _ = additive(5, 300, 3)
    shuffle = [3, 0, 4, 1, 2]
    assert [shuffle[k] for k in causal_order(x[:, shuffle])] == causal_order(x)


def test_one_column_is_its_own_order():
    assert causal_order(draw(20, 1)) == [0]


@pytest.mark.parametrize(
    ("x", "settings", "error", "words"),
    [
        (draw(9, 2), {"ridge": 0.0}, RangeError, "ridge=0"),
        (draw(9, 2), {"width": -1.0}, RangeError, "width=-1"),
        (draw(1, 2), {}, DataError, "1 row"),
        (torch.zeros(5, 2, dtype=torch.long), {}, ShapeError, "int64"),
        (torch.ones(5, 2), {}, DataError, "column 0"),
        (torch.tensor([[0.0, 1.0], [math.nan, 2.0]]), {}, DataError, "rows 1"),
        (torch.cat([torch.zeros(50, 2), torch.eye(2)]), {}, DataError, r"row 1 is equal to row 0 \(49 of 52"),
        (
            torch.arange(9.0)[:, None] ** torch.tensor([1.0, 1.0]),
            {},
            DataError,
            "column 0 .*column 1 is constant in all 9",
        ),
    ],
)
def test_bad_input_is_told(x, settings, error, words):
    for function in (curvatures, causal_order):
        with pytest.raises(error, match=words):
            function(x, **settings)
