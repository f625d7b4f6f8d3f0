"""Causal graphs: partial F-tests against two regressions, uniform p-values, and fewer errors than the full order."""

import math

import pytest
import torch

from scorefield.closed import CausalGraph, causal, causal_graph, causal_order
from scorefield.errors import DataError, RangeError, ShapeError

D = {"dtype": torch.float64}


def additive(d: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Data of a random graph with sines for mechanisms and Gaussian noises, its arrows [cause, effect], and a true order."""
    generator = torch.Generator().manual_seed(seed)
    x, arrows = torch.zeros(n, d, **D), torch.zeros(d, d, dtype=torch.bool)
    places = torch.randperm(d, generator=generator).tolist()
    for k, j in enumerate(places):
        x[:, j] = torch.randn(n, generator=generator) * (0.6 + 0.4 * torch.rand(1, generator=generator))
        for i in places[:k]:
            if float(torch.rand(1, generator=generator)) < 3 / (d - 1):
                x[:, j] += 1.5 * torch.sin(2 * x[:, i] + 3 * float(torch.rand(1, generator=generator)))
                arrows[i, j] = True
    return x, arrows, places


def full(order: list[int]) -> torch.Tensor:
    """All arrows that an order allows."""
    arrows = torch.zeros(len(order), len(order), dtype=torch.bool)
    for k, j in enumerate(order):
        arrows[order[:k], j] = True
    return arrows


def distance(ours: torch.Tensor, truth: torch.Tensor) -> int:
    """The structural Hamming distance: pairs that are joined differently, an arrow the wrong way counting once."""
    differs = ours != truth
    return int((differs | differs.T).triu(1).sum())


def test_each_test_is_that_of_two_regressions():
    from scipy.stats import f

    x, _, order = additive(4, 300, 1)
    graph = causal_graph(x, order=order, knots=5)
    pieces, effect = [causal._splines(column, 5) for column in x.T], order[3]

    def left(causes):
        design = torch.cat([torch.ones(300, 1, **D)] + [pieces[i] for i in causes], 1)
        return float((x[:, effect] - design @ torch.linalg.lstsq(design, x[:, effect]).solution).square().sum())

    whole, freedom = left(order[:3]), 300 - 1 - 3 * 4
    for i in order[:3]:
        part = left([k for k in order[:3] if k != i])
        value = (part - whole) / 4 / (whole / freedom)
        assert float(graph.p_values[i, effect]) == pytest.approx(float(f.sf(value, 4, freedom)), rel=1e-6, abs=1e-15)
        assert float(graph.explained[i, effect]) == pytest.approx(1 - whole / part, rel=1e-6)
    assert bool((graph.p_values[full(order).T] == 1).all())


@pytest.mark.parametrize("knots", [2, 5, 10])
def test_splines_are_straight_beyond_their_knots_and_smooth_between(knots):
    x = torch.linspace(-2, 3, 501, **D)
    basis = causal._splines(x, knots)
    assert basis.shape[1] == knots - 1
    torch.testing.assert_close(basis.T @ basis, torch.eye(knots - 1, **D))
    assert float(basis.sum(0).abs().max()) < 1e-10
    second = basis.diff(dim=0).diff(dim=0)
    assert float(second[:8].abs().max()) < 1e-10
    assert float(second[-8:].abs().max()) < 1e-10
    assert float(second.diff(dim=0).abs().max()) < 0.1 * float(basis.abs().max())


def test_p_values_of_arrows_that_are_not_there_are_uniform():
    found = []
    for seed in range(40):
        x, truth, order = additive(6, 500, seed)
        graph = causal_graph(x, order=order)
        found.append(graph.p_values[full(order) & ~truth])
    p = torch.cat(found).sort().values
    steps = torch.arange(1, len(p) + 1, **D) / len(p)
    gap = torch.maximum((steps - p).abs(), (steps - 1 / len(p) - p).abs()).max()
    assert len(p) > 200
    assert float(gap) < 1.63 / math.sqrt(len(p))  # Kolmogorov: 1 %
    assert abs(float((p < 0.05).double().mean()) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / len(p))
    # without the group's degrees of freedom the tests would be far from uniform
    from scipy.special import fdtrc, fdtri

    wrong = torch.tensor([float(fdtrc(1, 400, 9 * fdtri(9, 400, 1 - float(v)))) for v in p.clamp(1e-9, 1 - 1e-9)], **D)
    assert float((wrong < 0.05).double().mean()) > 0.3


def test_a_pruned_graph_is_nearer_to_the_truth_than_its_order():
    ours, orders, nothing, missed = 0, 0, 0, 0
    for seed in range(8):
        x, truth, _ = additive(6, 600, seed)
        graph = causal_graph(x)
        ours += distance(graph.adjacency, truth)
        orders += distance(full(causal_order(x)), truth)
        nothing += int(truth.sum())
        missed += int((truth & ~graph.adjacency & ~graph.adjacency.T).sum())
    assert ours < 0.25 * orders
    assert ours < 0.25 * nothing
    assert missed <= 0.1 * nothing


def test_a_graph_is_a_table_a_picture_and_words():
    x, truth, order = additive(5, 500, 2)
    names = ("sun", "rain", "wind", "soil", "corn")
    graph = causal_graph(x, names=names, order=order)
    table = graph.edges()
    assert len(table) == graph.size == int(graph.adjacency.sum()) > 0
    assert [row["explained"] for row in table] == sorted((row["explained"] for row in table), reverse=True)
    assert all(row["p_value"] < 0.001 for row in table)
    assert "order: " + ", ".join(names[j] for j in order) in str(graph)
    assert str(graph).count("→") == graph.size
    picture = graph.plot()
    assert sum(text.arrow_patch is not None for text in picture.axes[0].texts) == graph.size
    strict = CausalGraph(graph.order, graph.p_values, graph.explained, names, 1e-300)
    assert strict.size <= graph.size
    assert "0 arrows" in str(CausalGraph(graph.order, graph.p_values * 0 + 1, graph.explained, names, 0.5))


def test_columns_may_come_in_any_order_and_units():
    x, _, order = additive(4, 400, 3)
    graph, shuffle = causal_graph(x, order=order), [2, 0, 3, 1]
    other = causal_graph(100 * x[:, shuffle] - 7, order=[shuffle.index(j) for j in order])
    torch.testing.assert_close(other.p_values, graph.p_values[shuffle][:, shuffle], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "settings", "error", "words"),
    [
        (torch.randn(9, 2), {"level": 0.0}, RangeError, "level=0"),
        (torch.randn(9, 2), {"knots": 1}, RangeError, "knots=1"),
        (torch.randn(9, 2), {"order": [0, 0]}, RangeError, "each of the 2 columns"),
        (torch.randn(9, 2), {"names": ("a",)}, ShapeError, "1 names"),
        (torch.randn(5, 2), {}, DataError, "at least 6 rows"),
        (torch.ones(9, 2), {}, DataError, "column 0"),
        (torch.linspace(0, 1, 30)[:, None].repeat(1, 3), {"order": [0, 1, 2]}, DataError, "constant in all 30 rows"),
    ],
)
def test_bad_input_is_told(x, settings, error, words):
    with pytest.raises(error, match=words):
        causal_graph(x, **settings)
