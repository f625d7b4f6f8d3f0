"""Penalised score matching of graphs: blocks against the rows they sum, solutions against their optimality conditions."""

import math

import pytest
import torch
from torch import Tensor

from scorefield.closed import Normal, Pairwise, descent, fit
from scorefield.closed.blocks import blocks, inflation
from scorefield.closed.descent import Quadratic, descend, residual
from scorefield.closed.graph import Graph
from scorefield.closed.path import default_multiplier, graph_path
from scorefield.closed.rows import problem
from scorefield.closed.selection import cross_validate, stability
from scorefield.errors import DataError, RangeError, ShapeError

F = torch.float64
MODELS = [Normal(4), Pairwise(4, 1.0, 1.0), Pairwise(4, 0.5, 0.5), Pairwise(4, 0.5, 0.0), Pairwise(4, 1.5, 0.5)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(model, n: int = 60, seed: int = 0) -> Tensor:
    x = torch.randn(n, model.size, generator=seeded(seed), dtype=F)
    x[:, 1] += 0.7 * x[:, 0]
    return x if isinstance(model, Normal) else x.exp()


def chain(d: int, n: int, seed: int = 0) -> Tensor:
    """K tridiagonal: 1.5 on the diagonal and −0.6 beside it."""
    k = 1.5 * torch.eye(d, dtype=F) - 0.6 * (torch.ones(d, d).tril(1) - torch.ones(d, d).tril(-2) - torch.eye(d)).to(F)
    return torch.randn(n, d, generator=seeded(seed), dtype=F) @ torch.linalg.cholesky(torch.linalg.inv(k)).T


def symmetric(d: int, seed: int) -> Tensor:
    k = torch.randn(d, d, generator=seeded(seed), dtype=F)
    return k + k.T + 3 * torch.eye(d, dtype=F)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_blocks_are_the_mean_of_the_objective_row_by_row(model):
    x, one = sample(model), torch.ones(60, dtype=F)
    found, case = blocks(model, x, one), problem(model, x)
    row, column = torch.triu_indices(4, 4)
    gaps = []
    for seed in (1, 2):
        k, eta = symmetric(4, seed), torch.randn(4, generator=seeded(seed), dtype=F)
        theta = torch.cat([eta, k[row, column]])
        gaps.append(found.loss(k, eta) - float(case.rows(x).losses(theta).mean()))
    assert abs(gaps[0] - gaps[1]) < 1e-9 * (1 + abs(gaps[0]))
    assert abs(gaps[0]) < 1e-8  # neither has a constant


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_profiling_leaves_the_best_linear_term(model):
    found = blocks(model, sample(model), torch.ones(60, dtype=F))
    k = symmetric(4, 3)
    best = found.own(k)
    for move in torch.eye(4, dtype=F):
        assert found.loss(k, best) < min(found.loss(k, best + 1e-3 * move), found.loss(k, best - 1e-3 * move))
    quadratic = Quadratic(*found.profiled())

    def profiled(k):
        return float((0.5 * quadratic.apply(k) * k - quadratic.slope * k).sum())

    other = symmetric(4, 4)
    wanted = found.loss(k, best) - found.loss(other, found.own(other))
    assert profiled(k) - profiled(other) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_solutions_hold_the_optimality_conditions_by_differentiation(model):
    path = graph_path(sample(model), model, steps=12)
    for k in (0, 4, 11):
        found, penalty = path.scaled[k], float(path.penalties[k])
        free = found.clone().requires_grad_()
        whole = (free + free.T) / 2
        theta = torch.cat([whole, path.blocks.own(found)[:, None]], 1)
        loss = (0.5 * (path.blocks.quadratic @ theta[..., None])[..., 0] * theta - path.blocks.linear * theta).sum()
        (gradient,) = torch.autograd.grad(loss, free)
        off, room = ~torch.eye(4, dtype=torch.bool), 2e-5 * float(path.penalties[0])
        assert torch.equal(found, found.T)
        assert gradient.diagonal().abs().max() < room
        assert (gradient[off & (found == 0)].abs() <= penalty + room).all()
        on = off & (found != 0)
        assert ((gradient + penalty * found.sign())[on].abs() < room).all()


def test_the_law_sees_wrong_solutions():
    path = graph_path(chain(6, 80), steps=20)
    quadratic = Quadratic(*path.blocks.profiled())
    k, penalty = path.scaled[10], float(path.penalties[10])
    goal = 1e-5 * float(path.penalties[0])
    assert residual(quadratic, k, penalty) <= goal
    wrong = [
        (1.001 * k, penalty),
        (k, 2 * penalty),  # each pair penalised once
        (k, penalty / 2),
        (k * (k.abs() > k.abs()[k != 0].median()), penalty),
        (path.scaled[11], penalty),
    ]
    for solution, level in wrong:
        assert residual(quadratic, solution, level) > 10 * goal


def test_without_penalty_a_gaussian_graph_is_the_inverse_covariance():
    x = chain(5, 100) * torch.tensor([1.0, 10.0, 0.1, 2.0, 3.0], dtype=F) + 4
    path = graph_path(x, ratio=1e-4)
    full = path.refit(len(path) - 1)
    assert full.size == 10
    covariance = torch.cov(x.T, correction=0)
    torch.testing.assert_close(full.interactions @ covariance, torch.eye(5, dtype=F), atol=1e-6, rtol=0)
    torch.testing.assert_close(full.own, full.interactions @ x.mean(0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model", MODELS[1:4], ids=str)
def test_without_penalty_graphs_are_the_closed_form(model):
    x = sample(model, 200)
    path = graph_path(x, model, ratio=1e-4)
    fitted = fit(model, path.x)
    row, column = torch.triu_indices(4, 4)
    k = path.refit(len(path) - 1)
    unit = path.scale**model.power
    mine = torch.cat([k.own * path.scale**model.linear, (k.interactions * torch.outer(unit, unit))[row, column]])
    torch.testing.assert_close(mine, fitted.theta, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", [Normal(60), Pairwise(60, 0.5, 0.5)], ids=str)
def test_screening_changes_nothing(model):
    x = chain(60, 40)
    x = x if isinstance(model, Normal) else x.exp()
    quadratic = Quadratic(*blocks(model, x, torch.ones(40, dtype=F)).profiled(default_multiplier(40, 60)))
    penalties = quadratic.first() * torch.tensor([0.95, 0.9, 0.8, 0.7, 0.6], dtype=F)
    fast, whole = list(descend(quadratic, penalties)), list(descend(quadratic, penalties, screen=False))
    assert int((whole[-1] != 0).sum()) > 70
    for mine, other, penalty in zip(fast, whole, penalties.tolist()):
        assert max(residual(quadratic, each, penalty) for each in (mine, other)) <= 1e-5 * quadratic.first()
        torch.testing.assert_close(mine, other, atol=1e-4 * float(other.abs().max()), rtol=0)


def test_what_screening_wrongly_leaves_out_comes_back(monkeypatch):
    found, x = descent._slots, chain(60, 40)
    quadratic = Quadratic(*blocks(Normal(60), x, torch.ones(40, dtype=F)).profiled(1.5))
    penalties, calls = quadratic.first() * torch.tensor([0.9, 0.8, 0.7], dtype=F), []

    def wrong(kept, count):
        calls.append(int(kept.sum()))
        if len(calls) in (1, 3):
            kept.copy_(torch.eye(60, dtype=torch.bool))  # a rule that leaves out every pair
        return found(kept, count)

    right = list(descend(quadratic, penalties))
    monkeypatch.setattr(descent, "_slots", wrong)
    for mine, other, penalty in zip(descend(quadratic, penalties), right, penalties.tolist()):
        assert residual(quadratic, mine, penalty) <= 1e-5 * quadratic.first()
        torch.testing.assert_close(mine, other, atol=1e-4 * float(other.abs().max()), rtol=0)
    assert len(calls) > 4
    assert int((right[-1] != 0).sum()) > 60


def test_the_bound_of_the_curvature_is_one():
    for gamma in (symmetric(5, 1)[None], torch.stack([symmetric(5, k) for k in range(5)])):
        gamma = gamma @ gamma
        top = float(torch.linalg.eigvalsh(gamma).max())
        assert top <= Quadratic(gamma, torch.eye(5, dtype=F)).curvature <= 5 ** (1 / 32) * top * (1 + 1e-9)


def test_the_path_begins_without_edges_and_edges_enter_by_importance():
    path = graph_path(chain(8, 400))
    assert len(path) == 100
    assert int(path.sizes[0]) == 0
    assert int(path.sizes[1:4].sum()) > 0
    beside = torch.arange(7)
    entered = path.entered
    true = entered[beside, beside + 1]
    others = entered.triu(2)
    assert true.min() > others.max()
    assert path.select().adjacency.equal((entered >= true.min()).fill_diagonal_(False))
    assert "← least" in str(path)


def test_an_edge_that_is_not_there_gains_by_its_inflation():
    # 2nℓ falls by w χ²₁: its mean over data sets is w, within five standard errors √(2/200) w.
    gains, expected = [], []
    truth = torch.diag(torch.tensor([4.0, 1.0], dtype=F))
    for seed in range(200):
        x = torch.randn(300, 2, generator=seeded(seed), dtype=F) / truth.diagonal().sqrt()
        one = torch.ones(300, dtype=F)
        found = blocks(Normal(2), x, one)
        gamma = found.profiled()[0][0]
        apart, whole = torch.diag(1 / gamma.diagonal()), torch.linalg.inv(gamma)
        gains.append(600 * (found.loss(apart, found.own(apart)) - found.loss(whole, found.own(whole))))
        expected.append(float(inflation(Normal(2), x, one, found, apart, found.own(apart))[0, 1]))
    ratio = sum(gains) / sum(expected)
    assert abs(ratio - 1) < 5 * math.sqrt(2 / 200)
    assert sum(expected) / 200 > 3  # so that with w = 1 the test above would fail


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_graph_is_the_score_of_its_log_density(model):
    graph = graph_path(sample(model), model, steps=10)[6]
    x = sample(model, 5, 1).requires_grad_()
    (slope,) = torch.autograd.grad(graph.log_density(x).sum(), x)
    torch.testing.assert_close(graph(x.detach()), slope)
    torch.testing.assert_close(graph.energy(x), -graph.log_density(x))
    if not isinstance(model, Normal):
        assert graph.energy(-x.detach()).isinf().all()


def test_units_of_the_data_do_not_matter():
    x, scale = chain(5, 80), torch.tensor([1.0, 100.0, 0.01, 1.0, 5.0], dtype=F)
    plain, other = graph_path(x, steps=10), graph_path(x * scale + 7, steps=10)
    torch.testing.assert_close(other.penalties, plain.penalties)
    torch.testing.assert_close(other.interactions * torch.outer(scale, scale), plain.interactions, atol=1e-5, rtol=1e-4)


def test_a_weight_of_two_is_a_row_twice():
    x = chain(4, 50)
    twice, weights = torch.cat([x, x[:10]]), torch.ones(50)
    weights[:10] = 2
    mine, other = (
        graph_path(x, weights=weights, steps=5).blocks,
        blocks(Normal(4), twice / x.std(0, correction=0), torch.ones(60, dtype=F)),
    )
    torch.testing.assert_close(mine.quadratic, other.quadratic)


def test_more_variables_than_rows():
    x = chain(40, 25)
    path = graph_path(x, ratio=0.3, steps=10)
    assert path.multiplier == default_multiplier(25, 40)
    assert 1 < path.multiplier < 2
    assert path.scaled.isfinite().all()
    with pytest.raises(DataError, match="no minimum"):
        graph_path(x, multiplier=1.0)


def test_held_out_losses_choose_a_graph_with_the_edges():
    found = cross_validate(chain(6, 150), generator=seeded(), steps=20)
    beside = torch.arange(5)
    assert found.best.adjacency[beside, beside + 1].all()
    assert found.sparse.size <= found.best.size
    k = int(found.means.argmin())
    assert k > 0
    assert found.means[0] > found.means[k] + found.errors[k]


def test_stable_edges_are_those_of_the_chain():
    found = stability(chain(6, 200), edges=6, halves=20, generator=seeded(1))
    names = {(row["from"], row["to"]) for row in found.edges(0.9)}
    assert names <= {(f"x{k}", f"x{k + 1}") for k in range(1, 6)}
    assert len(names) >= 4
    assert torch.equal(found.frequencies, found.frequencies.T)
    assert found.wrong(0.9) == pytest.approx(found.found**2 / (0.8 * 15))


def test_edges_are_a_table_and_a_picture():
    graph = Graph(
        Normal(3), torch.tensor([[2.0, 1.0, 0], [1, 2, -0.5], [0, -0.5, 2]], dtype=F), torch.zeros(3, dtype=F), "abc"
    )
    assert [(e["from"], e["to"], round(e["strength"], 9)) for e in graph.edges()] == [
        ("a", "b", -0.5),
        ("b", "c", 0.25),
    ]
    assert "a – b" in str(graph)
    assert len(graph.plot().axes[0].lines) == 2
    bad = Graph(Normal(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.zeros(2), "ab")
    assert "eigenvalue" in str(bad)


GOOD = chain(3, 20)


@pytest.mark.parametrize(
    ("x", "settings", "error", "words"),
    [
        (GOOD, {"steps": 0}, RangeError, "steps=0"),
        (GOOD, {"ratio": 2.0}, RangeError, "ratio=2"),
        (GOOD, {"multiplier": 0.5}, RangeError, "multiplier=0.5"),
        (GOOD, {"penalties": torch.tensor([0.1, 0.2])}, RangeError, "must be positive and fall"),
        (GOOD, {"model": Normal(2)}, ShapeError, "3 columns"),
        (GOOD, {"model": Pairwise(3)}, RangeError, "outside"),
        (GOOD, {"names": ("a",)}, ShapeError, "1 names"),
        (GOOD[:, :1], {}, ShapeError, "needs two"),
        (GOOD[:2], {}, DataError, "2 rows"),
        (GOOD.long(), {}, ShapeError, "int64"),
        (torch.ones(9, 2), {}, DataError, "column 0"),
        (torch.full((9, 2), math.nan), {}, DataError, "not finite"),
    ],
)
def test_bad_input_is_told(x, settings, error, words):
    with pytest.raises(error, match=words):
        graph_path(x, **settings)


def test_bad_choices_are_told():
    path = graph_path(GOOD, steps=3)
    with pytest.raises(RangeError, match="gamma=2"):
        path.ebic(2.0)
    with pytest.raises(RangeError, match="folds=1"):
        cross_validate(GOOD, folds=1)
    with pytest.raises(RangeError, match="halves=1"):
        stability(GOOD, halves=1)
    with pytest.raises(RangeError, match=r"threshold=0\.5"):
        stability(GOOD, halves=2, edges=1).edges(0.5)
    wide = graph_path(chain(12, 8), ratio=0.05, steps=4)
    with pytest.raises(DataError, match=r"take a larger penalty"):
        wide.refit(3)
