"""Products, mixtures and negations of densities, and the corrector that makes products right."""

import math
from dataclasses import dataclass

import pytest
import torch

from scorefield import exact, grids, models
from scorefield.errors import LawError, RangeError, ShapeError
from scorefield.guidance import Given, Metropolis, Mixture, Product
from scorefield.guidance.metropolis import lobatto
from scorefield.laws import check, require_own_draws, require_zero
from scorefield.laws import denoiser as law
from scorefield.metrics import energy_distance
from scorefield.models import Denoiser, Energy, Preconditioned
from scorefield.noises import EDM, VP
from scorefield.samplers import MALA, Heun, Multistep
from scorefield.sampling import sample
from scorefield.tensors import Streams, normal

D = {"dtype": torch.float64}
I2 = torch.eye(2, **D)
A = exact.Gaussian(torch.tensor([-1.0, 0.5], **D), torch.tensor([[1.0, 0.6], [0.6, 0.8]], **D))
B = exact.Gaussian(torch.tensor([1.0, 1.0], **D), torch.tensor([[0.5, -0.3], [-0.3, 1.2]], **D))
PAIR = exact.Mixture(torch.ones(2, **D), torch.tensor([[-2.0, 0.0], [2.0, 0.0]], **D), 0.3 * I2)
X, T = torch.tensor([[0.2, 0.3], [1.0, -1.0], [-0.5, 0.4]], **D), torch.tensor([0.2, 0.5, 0.8], **D)


def known(*densities, noise=VP()):  # noqa: B008
    return tuple(density.denoiser(noise) for density in densities)


def product(a, b):
    """The normal density ∝ a b, in closed form: precisions add."""
    first, second = torch.linalg.inv(a.covariance), torch.linalg.inv(b.covariance)
    covariance = torch.linalg.inv(first + second)
    return exact.Gaussian(covariance @ (first @ a.mean + second @ b.mean), covariance)


class Opaque(Denoiser):
    """A denoiser whose energy nobody knows, as if it were learned."""

    def __init__(self, model):
        super().__init__()
        self.model, self.noise, self.asked = model, model.noise, 0

    @property
    def shape(self):
        return self.model.shape

    def forward(self, xt, t, **cond):
        self.asked += 1
        return self.model(xt, t)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def moments_agree(x, wanted):
    """Mean and covariance of x within five standard errors of the density's. Raises: LawError."""
    away = x - wanted.mean
    require_zero("walk", "mean", away)
    require_zero("walk", "covariance", away[:, :, None] * away[:, None, :] - wanted.covariance)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, -0.5), (0.3, 0.0)])
def test_scores_add_with_their_weights(weights):
    a, b = known(A, B)
    wanted = weights[0] * a.score(X, T) + weights[1] * b.score(X, T)
    torch.testing.assert_close(Product((a, b), weights).score(X, T), wanted)


@pytest.mark.parametrize(
    "model",
    [
        *known(A, PAIR),
        Product(known(A, PAIR), (1.5, -0.4)),
        Mixture(known(A, B, PAIR), (1.0, 2.0, 0.5)),
        Given(Product(known(A, B)), {"label": 3}),
        Product((Mixture(known(A, B)), *known(PAIR))),
    ],
    ids=["gaussian", "mixture", "product", "of mixture", "given", "nested"],
)
def test_a_composed_score_is_the_gradient_of_the_composed_energy_and_a_denoiser(model):
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.energy(x, T).sum(), x)
    torch.testing.assert_close(model.score(X, T), -slope)
    law(model, X.repeat(2, 1)[:4])


@pytest.mark.parametrize("predict", [models.edm, models.epsilon, models.velocity, models.score])
def test_a_network_that_is_an_energy_has_one_at_every_level(predict):
    def bowl(u, time, label):
        return (u**4).sum(1) + time * u[:, 0] ** 3 + label * u[:, 1]

    model = Preconditioned(Energy(bowl), VP(), predict)
    x, label = X.clone().requires_grad_(), torch.tensor([0.0, 1.0, 2.0], **D)
    (slope,) = torch.autograd.grad(model.energy(x, T, label=label).sum(), x)
    torch.testing.assert_close(model.score(X, T, label=label), -slope)
    assert Preconditioned(torch.nn.Identity(), VP()).energy is None


def test_mala_sends_a_denoiser_away():
    with pytest.raises(ShapeError, match="MALA"):
        sample(*known(A), 3, steps=3, sampler=MALA())


def test_a_mixture_of_gaussians_is_the_mixture_in_closed_form():
    means, weights = torch.stack([A.mean, B.mean]), torch.tensor([1.0, 3.0], **D)
    (wanted,) = known(exact.Mixture(weights, means, torch.stack([A.covariance, B.covariance])))
    got = Mixture(known(A, B), (1.0, 3.0))
    torch.testing.assert_close(got(X, T), wanted(X, T))
    torch.testing.assert_close(got.energy(X, T), wanted.energy(X, T))


def test_guidance_without_a_classifier_is_a_product():
    from scorefield.guidance import Free

    class Labelled(Denoiser):
        noise, shape = VP(), (2,)

        def forward(self, xt, t, label=None):
            return (PAIR if label is None else A).denoiser(self.noise)(xt, t)

    model, label = Labelled(), torch.zeros(3)
    composed = Product((Given(model, {"label": 0}), Given(model, {"label": None})), (2.5, -1.5))
    torch.testing.assert_close(composed(X, T), Free(model, 2.5)(X, T, label=label))


def test_given_conditions_take_one_row_an_example_and_replace_what_was_said():
    class Shifted(Denoiser):
        noise = VP()

        def forward(self, xt, t, by=None, scale=1.0):
            return xt if by is None else xt + scale * by

    by = torch.tensor([1.0, -1.0], **D)
    torch.testing.assert_close(Given(Shifted(), {"by": by})(X, T, by=X, scale=2.0), X + 2 * by)
    torch.testing.assert_close(Given(Shifted(), {"by": None})(X, T, by=X), X)


def test_walks_start_from_what_a_product_becomes_at_the_largest_noise():
    a, b = known(A, B, noise=EDM(80.0))
    nested = Product((Product((a, b)), b), (1.0, 2.0))
    assert nested.total == 4
    x = torch.empty(1000, 2, **D)
    torch.testing.assert_close(nested.prior(x, Streams(0, range(1000))), 40 * normal(x, Streams(0, range(1000))))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda a, b: Product((a, b), (1.0, -1.0)), RangeError, "sum to 0"),
        (lambda a, b: Product((a, b), (1.0, -2.0)), RangeError, "must be positive"),
        (lambda a, b: Product((a, b), (1.0,)), RangeError, "2 models and 1 weights"),
        (lambda a, b: Product(()), RangeError, "at least one model"),
        (lambda a, b: Product((a, b), (1.0, math.inf)), RangeError, "finite"),
        (lambda a, b: Product((a, A.denoiser(EDM(80.0)))), RangeError, "equal noise"),
        (lambda a, b: Product((a, exact.Gaussian(torch.zeros(1), torch.eye(1)).denoiser(VP()))), ShapeError, "shape"),
        (lambda a, b: Mixture((a, b), (1.0, -0.1)), RangeError, "at least 0"),
        (lambda a, b: Mixture((a, Opaque(b))), RangeError, "Opaque has no energy"),
        (lambda a, b: Metropolis(steps=0), RangeError, "at least one step"),
        (lambda a, b: Metropolis(size=0.0), RangeError, "positive"),
        (lambda a, b: Metropolis(width=-1.0), RangeError, "width"),
        (lambda a, b: Metropolis(nodes=1), RangeError, "nodes"),
    ],
)
def test_impossible_compositions_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make(*known(A, B))


def test_an_energy_is_known_only_where_every_part_has_one():
    a, b = known(A, B)
    assert Product((a, Opaque(b))).energy is None
    assert Given(Opaque(b), {}).energy is None


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_lobatto_is_exact_to_degree_2n_minus_3(nodes):
    inner, weights = lobatto(nodes)
    for degree in range(2 * nodes - 1):
        got = weights[0] * (0.0**degree + 1) + sum(w * u**degree for u, w in zip(inner, weights[1:]))
        assert (abs(got - 1 / (degree + 1)) < 1e-12) == (degree <= 2 * nodes - 3)


@dataclass(frozen=True)
class Unadjusted(Metropolis):
    """Mutant: every proposal is accepted."""

    def _gain(self, model, x, y, score, ahead, t, **cond):
        return torch.full_like(x[:, 0], math.inf)


@dataclass(frozen=True)
class Backwards(Metropolis):
    """Mutant: the log-ratio has the wrong sign."""

    def _gain(self, *args, **cond):
        return -super()._gain(*args, **cond)


@dataclass(frozen=True)
class Halved(Metropolis):
    """Mutant: a factor ½ too many."""

    def _gain(self, *args, **cond):
        return 0.5 * super()._gain(*args, **cond)


def require_invariance(sampler, density, wrap, t=0.35, n=20_000):
    """The moments of p_t, from draws of p_t after correction, with steps so large that errors show. Raises: LawError."""
    model, at = density.denoiser(VP()), torch.tensor(t, **D)
    start = model.noise.perturb(density.sample(n, Streams(1, range(n))), at, Streams(2, range(n)))
    end, accepted = sampler.correct(wrap(model), start, at, Streams(3, range(n)))
    assert (end != start).any()
    assert ((accepted >= 0) & (accepted <= 1)).all()
    for power in (1, 2, 4):
        require_zero(sampler, f"the moments of order {power} stay", end**power - start**power)


BIG = {"steps": 3, "size": 2.0, "width": 0.6}


@pytest.mark.parametrize("density", [A, PAIR], ids=["gaussian", "two modes"])
@pytest.mark.parametrize("wrap", [lambda m: m, Opaque], ids=["energy", "line integral"])
def test_the_corrector_leaves_every_level_invariant(density, wrap):
    require_invariance(Metropolis(**BIG, nodes=5), density, wrap)


@pytest.mark.parametrize("mutant", [Unadjusted, Backwards, Halved])
def test_mutants_of_the_corrector_are_caught(mutant):
    with pytest.raises(LawError, match="moments"):
        require_invariance(mutant(**BIG), A, Opaque)
    with pytest.raises(LawError, match="moments"):
        check(mutant(**BIG))


def test_the_corrector_is_under_the_law_of_samplers():
    check(Metropolis(Heun()))


def test_the_corrector_draws_row_by_row_and_asks_as_often_as_it_says():
    model = Product((Opaque(A.denoiser(VP())), *known(B)))
    x, sampler = normal(torch.empty(5, 2, **D), Streams(9, range(5))), Metropolis(Heun(), steps=2, nodes=4)
    times = grids.karras(model.noise, 6)

    def end(generator, rows):
        *_, last = sampler.walk(model, x[rows], times, generator)
        return last.x

    require_own_draws(sampler, end, 5)
    model.models[0].asked = 0
    end(Streams(0, range(5)), slice(0, 5))
    assert (
        model.models[0].asked == 5 * sampler.evaluations + 1
    )  # the last step, to t = 0, has no corrector and no second half
    assert sampler.order == 2


@pytest.mark.parametrize("wrap", [lambda m: m, Opaque], ids=["energy", "line integral"])
def test_the_product_of_two_gaussians_is_right_with_the_corrector_and_wrong_without(wrap, double):
    n, composed = 4000, Product([wrap(model) for model in known(A, B)])
    wanted = product(A, B)
    moments_agree(sample(composed, n, steps=40, sampler=Metropolis(width=0.3)), wanted)
    with pytest.raises(LawError):
        moments_agree(sample(composed, n, steps=40), wanted)


def test_dividing_by_a_density_removes_it(double):
    whole = product(A, B)
    divided = Product(known(whole, B), (1.0, -0.5))
    wanted_precision = torch.linalg.inv(whole.covariance) - 0.5 * torch.linalg.inv(B.covariance)
    covariance = torch.linalg.inv(wanted_precision)
    mean = covariance @ (
        torch.linalg.solve(whole.covariance, whole.mean) - 0.5 * torch.linalg.solve(B.covariance, B.mean)
    )
    x = sample(divided, 4000, steps=40, sampler=Metropolis(width=0.3))
    moments_agree(x, exact.Gaussian(mean, covariance))


def test_a_product_kills_the_mode_that_only_one_factor_has(double):
    other = exact.Mixture(torch.ones(2), torch.tensor([[2.0, 0.5], [2.0, 4.0]]), 0.4 * torch.eye(2))
    means, covariance = torch.tensor([2.0, 0.5 * 0.3 / 0.7]), torch.eye(2) * 0.12 / 0.7  # the other three weigh < 1e-6
    wanted, n = exact.Gaussian(means, covariance), 3000
    composed = Product(known(PAIR, other))
    right = sample(composed, n, steps=40, sampler=Metropolis(width=0.3, steps=8))
    moments_agree(right, wanted)
    truth = wanted.sample(n, Streams(7, range(n)))
    far, near = (energy_distance(x, truth) for x in (sample(composed, n, steps=40, sampler=Multistep()), right))
    assert near.value < 5 * near.error
    assert far.value > 20 * far.error
