"""Laws of the estimators: densities integrate to one, gradients are their slopes, draws are of them, units do not matter."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone

import scorefield as sf
from scorefield.closed import IMQ, Dirichlet, Independent, Normal, Nystrom, Pairwise, VonMisesFisher
from scorefield.domains import Box
from scorefield.errors import ShapeError
from scorefield.estimators import (
    CrossValidation,
    ExponentialFamily,
    KernelExponentialFamily,
    ScoreMatching,
    ScoreMatchingGraph,
)
from scorefield.estimators.densities import FromEnergy, FromFlow, Known, Standardised, losses
from scorefield.estimators.proposals import Boxed, OnSimplex, OnSphere, Wide
from scorefield.exact import Gaussian, Mixture
from scorefield.metrics import mmd
from scorefield.noises import VP
from scorefield.objectives import Denoising, Implicit, Sliced

SMALL = partial(sf.MLP, width=32, depth=2)


def two_bumps(n, d=1, seed=0):
    """Columns of different units, the first with two modes."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d))
    x[:, 0] = 0.5 * x[:, 0] + np.where(random.random(n) < 0.4, -1.5, 1.0)
    return x * 10.0 ** np.arange(d) + 5


def positive(n, d, seed=0):
    random = np.random.default_rng(seed)
    return random.gamma(2.0, size=(n, d)) * 10.0 ** np.arange(d)


CASES = {
    "independent": (ExponentialFamily(), two_bumps(300, 2)),
    "normal": (ExponentialFamily(Normal), two_bumps(300, 2)),
    "truncated": (ExponentialFamily(Normal, domain=Box()), np.abs(two_bumps(500, 2) - 5)),
    "kernel": (KernelExponentialFamily(basis=Nystrom(60)), two_bumps(300, 2)),
    "graph": (ScoreMatchingGraph(), two_bumps(300, 2)),
    "gamma graph": (ScoreMatchingGraph(model=lambda d: Pairwise(d, 0.5, 0.0), steps=20), positive(500, 2)),
    "energy": (ScoreMatching(Implicit(), steps=40, batch=64), two_bumps(300, 2)),
    "denoiser": (ScoreMatching(network=SMALL, steps=150, batch=64, learning_rate=3e-3), two_bumps(400, 1)),
}


@pytest.fixture(scope="module")
def fitted():
    made = {}

    def get(name):
        if name not in made:
            estimator, x = CASES[name]
            made[name] = clone(estimator).fit(x), x
        return made[name]

    return get


def grid_of(x, cells, reach=5.0, least=None):
    """Midpoints of a grid over the data and beyond, and the volume of a cell."""
    low, high = x.mean(0) - reach * x.std(0), x.mean(0) + reach * x.std(0)
    low = low if least is None else np.maximum(low, least)
    axes = [a + (b - a) * (np.arange(cells) + 0.5) / cells for a, b in zip(low, high)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, x.shape[1]), np.prod((high - low) / cells)


def integral(estimator, x):
    """(∫ p, its error): that of log Z and of the solver, beside a hundredth for the grid and the tails."""
    bounded = (x > 0).all()
    points, cell = grid_of(x, 120 if x.shape[1] == 1 else 90, 12.0 if bounded else 5.0, 0.0 if bounded else None)
    total = np.exp(estimator.score_samples(points)).sum() * cell
    return total, 4 * float(estimator.score_samples_error(points[::9]).mean()) + 0.01


@pytest.mark.parametrize("name", CASES)
def test_a_density_integrates_to_one(fitted, name):
    total, error = integral(*fitted(name))
    assert abs(total - 1) < error < 0.12


def slopes(estimator, x):
    """(∇ log p, central differences of log p), in units of standard deviations."""
    scale = x.std(0)
    ahead = [estimator.score_samples(x + 1e-5 * scale * e) for e in np.eye(x.shape[1])]
    behind = [estimator.score_samples(x - 1e-5 * scale * e) for e in np.eye(x.shape[1])]
    return estimator.grad_log_density(x) * scale, (np.stack(ahead, 1) - np.stack(behind, 1)) / 2e-5


@pytest.mark.parametrize("name", [name for name in CASES if name != "denoiser"])
def test_the_gradient_is_the_slope_of_the_log_density(fitted, name):
    estimator, x = fitted(name)
    np.testing.assert_allclose(*slopes(estimator, x[:40]), rtol=1e-4, atol=1e-4)


def test_so_it_is_of_an_exact_denoiser_and_nearly_of_a_learned_one(fitted):
    pair = Mixture(torch.ones(2).double(), torch.tensor([[-1.5], [1.0]]).double(), 0.3 * torch.eye(1).double())
    exact, x = ScoreMatching(), pair.sample(40, torch.Generator().manual_seed(0)).numpy()
    exact.n_features_in_ = 1
    exact.density_ = FromFlow(pair.denoiser(VP()), floor=0.02)
    np.testing.assert_allclose(*slopes(exact, x), atol=2e-3 * 10)
    learned, differences = slopes(fitted("denoiser")[0], fitted("denoiser")[1][:100])
    assert np.mean((learned - differences) ** 2) < 0.25 * np.mean(differences**2)  # a flipped sign gives 4


def distance_of_draws(estimator, x, n=512):
    """sup |F_n − F| of the first column of draws, F from the density; and its bound at 10⁻⁵ (Massart 1990) and for quadrature."""
    points, cell = grid_of(
        x, 400 if x.shape[1] == 1 else 120, 12.0 if (x > 0).all() else 5.0, 0.0 if (x > 0).all() else None
    )
    p = np.exp(estimator.score_samples(points)) * cell
    first, inverse = np.unique(points[:, 0], return_inverse=True)
    density = np.bincount(inverse, p)
    edges = np.append((first[1:] + first[:-1]) / 2, np.inf)
    draws = estimator.sample(n, random_state=1)
    empirical = np.searchsorted(np.sort(draws[:, 0]), edges) / n
    return np.abs(empirical - density.cumsum() / density.sum()).max(), math.sqrt(math.log(2e5) / (2 * n)) + 0.01


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "energy")) for name in CASES])
def test_draws_have_the_density(fitted, name):
    distance, bound = distance_of_draws(*fitted(name))
    assert distance < bound + (0.02 if name == "denoiser" else 0)  # which is walked in 20 steps


def test_draws_of_a_good_model_are_as_near_to_fresh_data_as_data_are(fitted):
    estimator, x = fitted("denoiser")
    draws, fresh = (
        torch.tensor((y - 5) / x.std()) for y in (estimator.sample(1000, random_state=0), two_bumps(1000, seed=1))
    )
    found = mmd(draws, fresh)
    assert abs(found.value) < 4 * found.error + 5e-3


def test_row_i_of_a_draw_does_not_depend_on_the_others(fitted):
    for name in ("kernel", "graph", "denoiser"):
        estimator, _ = fitted(name)
        few, more, others = (estimator.sample(n, random_state=seed) for n, seed in ((5, 3), (9, 3), (5, 4)))
        np.testing.assert_allclose(few, more[:5])
        assert not np.allclose(few, others)


def test_a_field_has_a_loss_and_no_density():
    model = ScoreMatching(Implicit(), network=SMALL, steps=2).fit(two_bumps(50))
    assert np.isfinite(model.losses(two_bumps(5))).all()
    with pytest.raises(ShapeError, match=r"ScoreMatching\.score_samples: MLP is a field .* network=lambda d: Energy"):
        model.score_samples([[5.0]])


@pytest.mark.parametrize("name", ["independent", "normal", "kernel", "graph", "energy", "denoiser"])
def test_units_change_the_log_density_by_their_logarithm_alone(fitted, name):
    estimator, x = fitted(name)
    if isinstance(estimator, ScoreMatching):
        estimator = clone(estimator).set_params(steps=3).fit(x)
    units = 4.0 ** np.arange(1, x.shape[1] + 1)  # powers of two, so that standardised columns are the same bits
    moved = clone(estimator).fit(x * units)
    x = x[:30]
    np.testing.assert_allclose(
        moved.score_samples(x * units), estimator.score_samples(x) - np.log(units).sum(), atol=1e-7
    )
    np.testing.assert_allclose(
        moved.grad_log_density(x * units) * units, estimator.grad_log_density(x), rtol=1e-5, atol=1e-8
    )
    np.testing.assert_allclose(moved.sample(3, random_state=0), estimator.sample(3, random_state=0) * units, rtol=1e-6)
    np.testing.assert_allclose(moved.losses(x * units), estimator.losses(x), rtol=1e-5, atol=1e-8)


# Mutants


class NoJacobian(Standardised):
    """Forgets Σ log c."""

    def log_density(self, x):
        return self.inner.log_density(self.scaling.to_model(x))


class NoChainRule(Standardised):
    """The slope of z, not of x."""

    def slope(self, x):
        return self.inner.slope(self.scaling.to_model(x))


class Uphill(FromEnergy):
    """The sign of the energy flipped where it is evaluated."""

    def log_density(self, x):
        value, error = super().log_density(x)
        return -value - 2 * self.normaliser.value, error


class Unwalked(FromEnergy):
    """Draws of the base."""

    def draw(self, n, seed):
        return self.walking.to_data(self.base.sample(n, sf.tensors.Streams(seed, range(n))))


def wrong(fitted, name, kind, *, inner=False):
    estimator, x = fitted(name)
    broken, right = clone(estimator), estimator.density_
    broken.__dict__.update(vars(estimator))
    if inner:
        broken.density_ = Standardised(kind(**fields(right.inner)), right.scaling)
    else:
        broken.density_ = kind(**fields(right))
    return broken, x


def fields(density):
    return {name: getattr(density, name) for name in type(density).__dataclass_fields__}


def test_a_missing_jacobian_is_seen(fitted):
    total, error = integral(*wrong(fitted, "kernel", NoJacobian))
    assert abs(total - 1) > error


def test_a_missing_chain_rule_is_seen(fitted):
    estimator, x = wrong(fitted, "kernel", NoChainRule)
    found, differences = slopes(estimator, x[:40])
    assert np.abs(found - differences).max() > 1


def test_a_flipped_energy_is_seen(fitted):
    total, error = integral(*wrong(fitted, "kernel", Uphill, inner=True))
    assert not abs(total - 1) < error


def test_draws_of_the_base_are_seen(fitted):
    distance, bound = distance_of_draws(*wrong(fitted, "kernel", Unwalked, inner=True), n=5000)
    assert distance > bound


# Normalising constants in closed form


def test_a_von_mises_fisher_density_is_normalised_on_the_sphere():
    z = np.random.default_rng(0).normal(size=(2000, 3)) + np.array([0.0, 0.0, 2.0])
    x = z / np.linalg.norm(z, axis=1, keepdims=True)
    estimator = ExponentialFamily(VonMisesFisher(3)).fit(x)
    kappa = float(estimator.result_.readable["kappa"])
    value = estimator.score_samples(x[:5])
    eta = estimator.result_.theta.numpy()
    exact = x[:5] @ eta + math.log(kappa / (4 * math.pi * math.sinh(kappa)))
    np.testing.assert_allclose(value, exact, atol=4 * estimator.log_normaliser_error_ + 1e-9)
    draws = estimator.sample(2000, random_state=0)
    np.testing.assert_allclose(np.linalg.norm(draws, axis=1), 1)
    assert np.abs(draws.mean(0) - eta / kappa * (1 / math.tanh(kappa) - 1 / kappa)).max() < 5 / math.sqrt(2000)


def test_a_dirichlet_density_is_normalised_on_the_simplex():
    x = np.random.default_rng(0).dirichlet([2.0, 3.0, 4.0], size=1000)
    estimator = ExponentialFamily(Dirichlet(3)).fit(x)
    alpha = estimator.result_.theta + 1
    exact = torch.distributions.Dirichlet(alpha).log_prob(torch.tensor(x[:5]))
    np.testing.assert_allclose(estimator.score_samples(x[:5]), exact, atol=4 * estimator.log_normaliser_error_)
    draws, expected = estimator.sample(2000, random_state=0), (alpha / alpha.sum()).numpy()
    assert np.abs(draws.mean(0) - expected).max() < 5 * draws.std(0).max() / math.sqrt(2000)


def test_gaussians_are_normalised_without_error():
    x = two_bumps(200, 3)
    estimator = ExponentialFamily(Normal).fit(x)
    law = torch.distributions.MultivariateNormal(torch.tensor(x.mean(0)), torch.tensor(np.cov(x.T, ddof=0)))
    np.testing.assert_allclose(estimator.score_samples(x), law.log_prob(torch.tensor(x)), rtol=1e-8)
    assert estimator.log_normaliser_ == estimator.log_normaliser_error_ == 0
    assert (estimator.score_samples_error(x) == 0).all()
    assert estimator.score(x) == pytest.approx(float(law.log_prob(torch.tensor(x)).mean()))


@pytest.mark.parametrize(
    "base",
    [
        Boxed(
            *torch.tensor(
                [
                    [0.0, -math.inf, -math.inf, 1.0],
                    [3.0, math.inf, 2.0, math.inf],
                    [1.0, 5.0, 0.5, 2.0],
                    [1.0, 2.0, 1.0, 1.0],
                ]
            ).double()
        ),
        Wide(torch.tensor(two_bumps(50, 2))),
        OnSphere(3),
        OnSphere(3, positive=True),
        OnSimplex(4),
    ],
    ids=["box", "wide", "sphere", "positive", "simplex"],
)
def test_proposals_are_normalised_and_draw_from_themselves(base):
    """E_b[q/b] = 1 for q = a mixture of b with a shifted b, if b is what it draws; and the slope is that of log b."""
    x = base.sample(4000, sf.tensors.Streams(0, range(4000)))
    logs = base.log_density(x)
    assert bool(logs.isfinite().all())
    if isinstance(base, OnSphere | OnSimplex):
        exact = {OnSphere: 4 * math.pi / (8 if getattr(base, "positive", False) else 1), OnSimplex: 1 / 6}[type(base)]
        assert float(logs.exp()[0]) * exact == pytest.approx(1)
        total = (x**2).sum(1) if isinstance(base, OnSphere) else x.sum(1)
        torch.testing.assert_close(total, torch.ones_like(total))
        return
    y = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(base.log_density(y).sum(), y)
    torch.testing.assert_close(base(x), slope.nan_to_num())
    # −E log b = the entropy, known for each kind: a wrong scale or constant shows
    if isinstance(base, Boxed):
        entropy = (
            math.log(3) + 0.5 * math.log(2 * math.pi * math.e * 1.5 * 4) + (1 + math.log(3.0)) + (1 + math.log(2.0))
        )
    else:
        entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * base.covariance))
    assert abs(-float(logs.mean()) - entropy) < 5 * float(logs.std()) / math.sqrt(len(logs))


# What is learned


def test_closed_forms_bring_their_standard_errors():
    x = two_bumps(400, 2)
    estimator = ExponentialFamily(Normal).fit(x)
    assert estimator.standard_errors_.shape == estimator.theta_.shape == (5,)
    torch.testing.assert_close(
        torch.tensor(estimator.standard_errors_), sf.closed.fit(Normal(2), torch.tensor(x)).standard_errors
    )
    clustered = ExponentialFamily(Normal).fit(np.repeat(x, 2, 0), clusters=np.repeat(np.arange(400), 2))
    np.testing.assert_allclose(clustered.standard_errors_, estimator.standard_errors_, rtol=1e-6)


def test_weights_repeat_rows():
    x, r = two_bumps(60, 2), np.random.default_rng(1).integers(0, 4, 60)
    for estimator in (ExponentialFamily(Normal), ScoreMatchingGraph(penalty=0.1)):
        weighted = clone(estimator).fit(x, sample_weight=r)
        repeated = clone(estimator).fit(x.repeat(r, axis=0))
        np.testing.assert_allclose(weighted.score_samples(x), repeated.score_samples(x), rtol=1e-5)
        np.testing.assert_allclose(weighted.losses(x), repeated.losses(x), rtol=1e-5, atol=1e-7)
    trained = ScoreMatching(network=SMALL, steps=2)
    np.testing.assert_allclose(
        clone(trained).fit(x, sample_weight=(r > 1).astype(float)).score_samples(x[:3]),
        clone(trained).fit(x[r > 1]).score_samples(x[:3]),
    )


def test_weights_of_a_network_move_it_towards_the_rows_that_count():
    x = np.concatenate([np.random.default_rng(k).normal(c, 0.3, size=(200, 1)) for k, c in enumerate((-1.0, 1.0))])
    weighted = ScoreMatching(network=SMALL, steps=80, learning_rate=5e-3).fit(
        x, sample_weight=np.repeat([1.0, 9.0], 200)
    )
    low, high = weighted.score_samples([[-1.0], [1.0]])
    assert abs((high - low) - math.log(9)) < 0.5 * math.log(9)  # without weights the difference would be 0


def test_more_parameters_than_rows_are_fitted_if_they_are_identified():
    x = two_bumps(12, 3)[:, [0, 1, 2, 0, 1, 2]] + np.random.default_rng(0).normal(size=(12, 6))
    estimator = ExponentialFamily().fit(x)
    assert estimator.theta_.shape == (12,)
    np.testing.assert_allclose(np.diag(estimator.density_.law.covariance), x.var(0))
    np.testing.assert_allclose(estimator.standard_errors_[:6] > 0, True)


def test_independent_columns_are_a_gaussian_without_correlations():
    x = torch.tensor(two_bumps(500, 2))
    found, same = sf.closed.fit(Independent(2), x), sf.closed.fit(Normal(2), x, fixed={"K[1,2]": 0.0})
    free = torch.tensor([0, 1, 2, 4])  # K[1,2] is held at 0
    torch.testing.assert_close(found.theta, same.theta[free])
    torch.testing.assert_close(found.covariance, same.covariance[free][:, free])
    torch.testing.assert_close(found.readable.theta, torch.cat([x.mean(0), x.var(0, correction=0)]))


def test_the_graph_is_found_and_named():
    import pandas

    random = np.random.default_rng(0)
    x = random.normal(size=(400, 4))
    x[:, 1] += x[:, 0]
    x[:, 3] -= x[:, 2]
    table = pandas.DataFrame(x, columns=["a", "b", "c", "d"])
    for selection in (None, CrossValidation(errors=1.0)):
        model = ScoreMatchingGraph(selection=selection, steps=30).fit(table)
        assert {("a", "b"), ("c", "d")} <= {(e["from"], e["to"]) for e in model.edges_}
        assert model.adjacency_[0, 1]
        assert model.penalty_ > 0
    assert [set(row) for row in ScoreMatchingGraph().fit(table).edges_] == [
        {"from", "to", "interaction", "strength"}
    ] * 2
    np.testing.assert_allclose(ScoreMatchingGraph().fit(table).precision_[0, 2], 0)
    assert len(model.plot().axes[0].lines) == len(model.edges_)


def test_penalties_are_those_of_the_path():
    x = two_bumps(200, 4)
    model = ScoreMatchingGraph(penalty=0.2).fit(x)
    path = sf.closed.graph_path(torch.tensor(x), penalties=torch.tensor([0.2]))
    np.testing.assert_allclose(model.precision_, path[0].interactions)
    assert model.penalty_ == pytest.approx(0.2)


def test_columns_that_depend_on_each_other_still_have_a_graph():
    x = two_bumps(100, 3)
    model = ScoreMatchingGraph().fit(np.c_[x, x @ [1.0, 1.0, 1.0]])
    assert model.path_.multiplier > 1
    assert np.linalg.eigvalsh(model.precision_)[0] > 0


@pytest.mark.parametrize("objective", [Implicit(), Sliced(2), Denoising(0.3)], ids=lambda o: type(o).__name__)
def test_objectives_at_no_noise_give_energies(objective):
    model = ScoreMatching(objective, steps=2).fit(two_bumps(100))
    assert model.log_normaliser_error_ < 0.05
    assert math.isfinite(model.score([[5.0]]))


@pytest.mark.slow
def test_a_field_is_sampled():
    model = ScoreMatching(Implicit(), network=SMALL, steps=100, learning_rate=5e-3).fit(two_bumps(300))
    assert abs(model.sample(200, random_state=0).mean() - 5.0) < 0.6


def test_own_networks_are_copied_and_own_energies_and_denoisers_used():
    network = sf.MLP(1, 16, 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    model = ScoreMatching(network=network, steps=3)
    first, again = model.fit(two_bumps(50)).score_samples([[5.0]]), model.fit(two_bumps(50)).score_samples([[5.0]])
    np.testing.assert_array_equal(first, again)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    energy = ScoreMatching(Implicit(), network=lambda d: sf.Energy(sf.MLP(d, 16, 1, out=1)), steps=2).fit(two_bumps(50))
    assert isinstance(energy.density_.inner, FromEnergy)
    whole = ScoreMatching(network=sf.Preconditioned(sf.MLP(1, 16, 1), sf.EDM()), steps=2).fit(two_bumps(50))
    assert isinstance(whole.model_.noise, sf.EDM)
    with pytest.raises(ShapeError, match="wants a noise level"):
        ScoreMatching(Implicit(), network=sf.Preconditioned(sf.MLP(1, 16, 1), sf.VP()), steps=2).fit(two_bumps(50))


@pytest.mark.slow
def test_the_weights_that_rows_held_out_prefer_are_kept():
    x = two_bumps(24)  # so few that a network learns them by heart
    kept = ScoreMatching(network=partial(sf.MLP, width=128, depth=2), steps=150, held_out=0.25, learning_rate=1e-2).fit(
        x
    )
    last = clone(kept).set_params(held_out=0.0).fit(x)
    assert kept.best_step_ < 150 == last.best_step_
    assert kept.score(two_bumps(200, seed=1)) > last.score(two_bumps(200, seed=1))


def test_equal_rows_are_moved_apart():
    x = np.round(two_bumps(100), 0)
    assert math.isfinite(KernelExponentialFamily(basis=Nystrom(20), bandwidth=1.0).fit(x).score(x))
    with pytest.raises(ValueError, match="duplicates"):
        KernelExponentialFamily(floor=0.0).fit(x)


def test_columns_that_determine_each_other_are_blurred():
    x = two_bumps(100, 2)
    model = KernelExponentialFamily(basis=Nystrom(20), bandwidth=1.0).fit(np.c_[x, x.sum(1)])
    on, off = (model.score(np.c_[x, x.sum(1) + away * x.sum(1).std()]) for away in (0.0, 2.0))
    assert math.isfinite(on)
    assert on > off + 1


def test_a_kernel_and_a_base_may_be_chosen():
    wide = Gaussian(torch.zeros(1).double(), 4 * torch.eye(1).double())
    model = KernelExponentialFamily(kernel=IMQ(), basis=sf.closed.Fourier(50), bases=(wide,)).fit(two_bumps(200))
    assert isinstance(model.choice_.kernel, IMQ)
    given = KernelExponentialFamily()
    given.bases = (lambda x: -x,)
    with pytest.raises(ShapeError, match="can be drawn from"):
        given.fit(two_bumps(50))


def test_many_columns_are_judged_by_probes():
    x = np.random.default_rng(0).normal(size=(40, 130))
    estimator = ExponentialFamily().fit(x)
    exact = 0.5 * (estimator.grad_log_density(x) * x.std(0)) ** 2 - 1
    np.testing.assert_allclose(estimator.losses(x), exact.sum(1), rtol=1e-9)  # of a diagonal Jacobian probes err not


def test_losses_are_those_of_hyvarinen():
    known = Known(Gaussian(torch.zeros(2).double(), torch.diag(torch.tensor([1.0, 4.0])).double()))
    x = torch.tensor([[1.0, 2.0]]).double()
    scaling = sf.data.Scaling(0.0, 2.0)  # s = 2 (−1, −½), div s = −4 (1 + ¼)
    assert float(losses(known, scaling, x)) == pytest.approx(0.5 * (4 + 1) - 5)
    assert replace(scaling, scale=1.0).scale == 1.0
