"""Guides and samplers for inverse problems against posteriors in closed form; every one acts row by row."""

import math

import pytest
import torch

from scorefield.errors import DivergedError, RangeError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.guidance import (
    DDRM,
    DPS,
    Blur,
    Covariance,
    Dense,
    Isotropic,
    Krylov,
    Mask,
    Matrix,
    Measurement,
    MomentMatching,
    Proximal,
    Reconstruction,
    Refresh,
    Replacement,
    RowSums,
)
from scorefield.guidance.covariances import Linearised
from scorefield.laws import denoiser as law
from scorefield.metrics import gaussian_wasserstein2
from scorefield.models import Denoiser, Preconditioned
from scorefield.noises import EDM, VP
from scorefield.samplers import Ancestral, Heun, Multistep
from scorefield.sampling import sample, walk
from scorefield.tensors import Streams, normal

D = {"dtype": torch.float64}
SIZE, SEEN, STD = 6, 3, 0.2


def draws(*shape, seed=0):
    return normal(torch.empty(*shape, **D), Streams(seed, range(shape[0])))


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


FRAME = torch.linalg.qr(draws(SIZE, SIZE)).Q
COVARIANCE = (FRAME * torch.logspace(-1, 0.4, SIZE, **D)) @ FRAME.T
PRIOR = Gaussian(torch.linspace(-1, 1, SIZE, **D), 0.5 * (COVARIANCE + COVARIANCE.T))
A = draws(SEEN, SIZE, seed=1) / math.sqrt(SIZE)
Y = draws(1, SEEN, seed=2)[0]


def posterior(prior=PRIOR, matrix=A, y=Y, std=STD):
    """N(m + K(y − A m), C − K A C), K = C Aᵀ(A C Aᵀ + s²)⁻¹."""
    gain = (
        prior.covariance
        @ matrix.T
        @ torch.linalg.inv(matrix @ prior.covariance @ matrix.T + std**2 * torch.eye(len(y), **D))
    )
    covariance = prior.covariance - gain @ matrix @ prior.covariance
    return Gaussian(prior.mean + gain @ (y - matrix @ prior.mean), 0.5 * (covariance + covariance.T))


MEASURED = Measurement(Matrix(A), Y, STD)
NOISES = (VP(), EDM(80.0))
LEVELS = torch.tensor([0.005, 0.1, 0.5, 1.0], **D)


def gap(guide, noise):
    """The largest distance of a guide to the posterior's own denoiser, from small to large noise."""
    xt = noise.perturb(PRIOR.sample(4, Streams(4, range(4))), LEVELS, Streams(5, range(4)))
    with torch.no_grad():
        return float((guide(xt, LEVELS) - posterior().denoiser(noise)(xt, LEVELS)).abs().max())


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("covariance", [Krylov(SEEN), Krylov(20), Dense()], ids=str)
def test_moment_matching_is_the_posterior_denoiser_of_gaussian_data(noise, covariance):
    assert gap(MomentMatching(PRIOR.denoiser(noise), MEASURED, covariance), noise) < 1e-6


class Wrong(Covariance):
    """A solver with one thing wrong: the scale of s², the sign, or the covariance."""

    def __init__(self, noise=1.0, sign=1.0, spread=1.0):
        self.noise, self.sign, self.spread = noise, sign, spread

    def explain(self, seen, residual):
        wrong = Linearised(
            seen.operator, self.noise * seen.variance, seen.ratio2, lambda v: self.spread * seen.spread(v)
        )
        explained, log_density = Dense().explain(wrong, residual)
        return self.sign * explained, log_density


@pytest.mark.parametrize("wrong", [{"noise": 0.5}, {"noise": 5.0}, {"sign": -1.0}, {"spread": 0.5}], ids=str)
def test_the_law_of_moment_matching_sees_mutants(wrong):
    assert gap(MomentMatching(PRIOR.denoiser(VP()), MEASURED, Wrong(**wrong)), VP()) > 1e-2


def test_fewer_iterations_are_conjugate_gradients():
    matrix = A @ PRIOR.covariance @ A.T
    seen = Linearised(Matrix(torch.eye(SEEN, **D)), STD**2, torch.ones(2, **D), lambda v: v @ matrix)
    b = draws(2, SEEN, seed=8)
    for iterations in (1, 2, 3):
        got, _ = Krylov(iterations).explain(seen, b)
        wanted, r = torch.zeros_like(b), b
        p, m = r, matrix + STD**2 * torch.eye(SEEN, **D)
        for _ in range(iterations):
            step = (r**2).sum(1, keepdim=True) / ((p @ m) * p).sum(1, keepdim=True)
            wanted, after = wanted + step * p, r - step * (p @ m)
            p = after + (after**2).sum(1, keepdim=True) / (r**2).sum(1, keepdim=True) * p
            r = after
        torch.testing.assert_close(got, wanted)


def test_isotropic_is_exact_for_isotropic_data_and_row_sums_for_diagonal_ones():
    round_data = Gaussian(torch.zeros(SIZE, **D), 0.7**2 * torch.eye(SIZE, **D))
    diagonal = Gaussian(torch.zeros(SIZE, **D), torch.linspace(0.2, 2, SIZE, **D).diag())
    mask = torch.arange(SIZE) < SEEN
    cases = [(round_data, Matrix(A), A, Isotropic(0.7)), (diagonal, Mask(mask), torch.eye(SIZE, **D)[mask], RowSums())]
    for noise in NOISES:
        for prior, operator, matrix, covariance in cases:
            guide = MomentMatching(prior.denoiser(noise), Measurement(operator, Y, STD), covariance)
            xt = noise.perturb(prior.sample(4, Streams(4, range(4))), LEVELS, Streams(5, range(4)))
            with torch.no_grad():
                wanted = posterior(prior, matrix).denoiser(noise)(xt, LEVELS)
                torch.testing.assert_close(guide(xt, LEVELS), wanted, atol=1e-8, rtol=1e-8)


def test_twists_are_the_density_of_y_given_x_t():
    for noise in NOISES:
        xt = noise.perturb(PRIOR.sample(4, Streams(4, range(4))), LEVELS, Streams(5, range(4)))
        alpha, sigma = noise.scales(LEVELS)
        inverse = torch.linalg.inv(PRIOR.covariance)
        spread = [torch.linalg.inv(inverse + (a / s) ** 2 * torch.eye(SIZE, **D)) for a, s in zip(alpha, sigma)]
        mean = PRIOR.denoiser(noise)(xt, LEVELS) @ A.T
        wanted = [
            torch.distributions.MultivariateNormal(m, A @ c @ A.T + STD**2 * torch.eye(SEEN, **D)).log_prob(Y)
            for m, c in zip(mean, spread)
        ]
        with torch.no_grad():
            got = MomentMatching(PRIOR.denoiser(noise), MEASURED, Dense()).twist(xt, LEVELS)[2]
        torch.testing.assert_close(got, torch.stack(wanted))
    deficient = Matrix(torch.cat([A, A[:1]]))  # more numbers than directions
    y = torch.cat([Y, Y[:1]])
    guide = MomentMatching(PRIOR.denoiser(VP()), Measurement(deficient, y, STD), Isotropic(0.8))
    with torch.no_grad():
        denoised, _, got = guide.twist(xt, LEVELS)
    ratio2 = VP().ratio(LEVELS) ** 2
    r2 = 0.8**2 * ratio2 / (0.8**2 + ratio2)
    gram = deficient.matrix @ deficient.matrix.T
    wanted = [
        torch.distributions.MultivariateNormal(m, r * gram + STD**2 * torch.eye(len(y), **D)).log_prob(y)
        for m, r in zip(deficient(denoised), r2)
    ]
    torch.testing.assert_close(got, torch.stack(wanted))


def test_reconstruction_adds_the_gradient_of_what_it_is_given():
    noise = VP()
    xt = draws(3, SIZE, seed=3).requires_grad_()
    t = torch.tensor([0.2, 0.5, 0.8], **D)
    model = PRIOR.denoiser(noise)
    (slope,) = torch.autograd.grad(MEASURED(model(xt, t)).sum(), xt)
    wanted = model.score(xt, t) + slope
    torch.testing.assert_close(Reconstruction(model, MEASURED).score(xt, t), wanted)


def test_a_tempered_reconstruction_of_a_noisy_copy_is_pseudo_inverse_guidance():
    prior = Gaussian(torch.zeros(SIZE, **D), torch.eye(SIZE, **D))
    seen = Measurement(Matrix(torch.eye(SIZE, **D)), draws(1, SIZE, seed=2)[0], STD)
    model = prior.denoiser(VP())
    xt = draws(4, SIZE, seed=3)
    with torch.no_grad():
        one, other = Reconstruction(model, seen, scale=STD), MomentMatching(model, seen, Isotropic())
        torch.testing.assert_close(one(xt, LEVELS), other(xt, LEVELS))


def test_guides_can_be_differentiated_when_gradients_are_on():
    noise = VP()
    xt = draws(2, SIZE, seed=3).requires_grad_()
    t = torch.tensor([0.3, 0.6], **D)
    exact = posterior().denoiser(noise)
    (wanted,) = torch.autograd.grad(exact(xt, t).square().sum(), xt)
    for covariance in (Krylov(5), Dense()):
        guide = MomentMatching(PRIOR.denoiser(noise), MEASURED, covariance)
        (got,) = torch.autograd.grad(guide(xt, t).square().sum(), xt)
        torch.testing.assert_close(got, wanted)
    law(MomentMatching(PRIOR.denoiser(noise), MEASURED))


def test_guided_samples_are_posterior_samples():
    n = 2000
    x = sample(MomentMatching(PRIOR.denoiser(VP()), MEASURED), n, steps=40)
    exact = posterior()
    # W2 between two fitted Gaussians of n draws each: E W2² ≤ (2 + 1) tr C / n or so.
    assert gaussian_wasserstein2(x.mean(0), x.T.cov(), exact.mean, exact.covariance) < 3 * math.sqrt(
        float(exact.covariance.trace()) * 3 / n
    )


def skewed(x, t):
    """A network whose Jacobian is neither symmetric nor positive."""
    return torch.tanh(2 * x @ torch.linalg.qr(draws(SIZE, SIZE, seed=9)).Q.to(x)) - x


@pytest.mark.parametrize("covariance", [Krylov(1), Krylov(5), Dense(), RowSums(), Isotropic()], ids=str)
@pytest.mark.parametrize("std", [0.0, 0.05])
def test_a_covariance_that_is_not_one_is_kept_positive(covariance, std):
    guide = MomentMatching(Preconditioned(skewed, VP()), Measurement(Matrix(A), Y, std), covariance)
    x, plain = (sample(model, 20, steps=30, shape=(SIZE,)) for model in (guide, guide.model))
    assert float((x @ A.T - Y).abs().mean()) < 0.5 * float((plain @ A.T - Y).abs().mean())
    assert float(x.abs().max()) < 2 * float(plain.abs().max())


def image_guides(model):
    mask = torch.ones(1, 4, 4)
    mask[:, 1:3] = 0
    noisy = Measurement(Mask(mask), draws(1, 8, seed=4)[0].float(), 0.1)
    exact = Measurement(Mask(mask), draws(1, 8, seed=4)[0].float(), 0.0)
    blurred = Measurement(Blur(torch.ones(3, 3) / 9, (1, 4, 4)), 0.1 * draws(1, 1, 4, 4, seed=5)[0].float(), 0.1)
    return {
        "MMPS": (MomentMatching(model, noisy), None),
        "MMPS blurred": (MomentMatching(model, blurred), None),
        "TMPD": (MomentMatching(model, noisy, RowSums()), None),
        "PGDM": (MomentMatching(model, noisy, Isotropic()), None),
        "reconstruction": (Reconstruction(model, noisy, scale=0.1), Ancestral()),
        "DiffPIR": (Proximal(model, noisy), Refresh()),
        "projection": (Proximal(model, exact), Multistep()),
        "DPS": (model, DPS(noisy)),
        "DDRM": (model, DDRM(noisy)),
        "replacement": (model, Replacement(exact)),
        "RePaint": (model, Replacement(exact, rounds=3, length=2)),
    }


class Convolved(Denoiser):
    """A small convolution in float32 with the shape of a network: x̂ is bounded and depends on neighbours."""

    noise, shape = VP(), (1, 4, 4)

    def forward(self, xt, t, **cond):
        kernel = torch.tensor([[[[0.1, 0.2, 0.1], [0.2, 0.9, 0.2], [0.1, 0.2, 0.1]]]]).to(xt)
        return torch.tanh(torch.nn.functional.conv2d(xt, kernel, padding=1))


NAMES = list(image_guides(Convolved()))


@pytest.mark.parametrize("name", NAMES)
def test_every_method_acts_row_by_row(name):
    torch.set_default_dtype(torch.float32)
    guide, sampler = image_guides(Convolved())[name]
    whole = sample(guide, 1000, steps=6, sampler=sampler)
    assert bool(whole.isfinite().all())
    for size in (1, 7, 100):
        torch.testing.assert_close(sample(guide, size, steps=6, sampler=sampler), whole[:size], atol=1e-4, rtol=1e-4)
    double_guide = sample(guide, 7, steps=6, sampler=sampler, chunk=2)
    torch.testing.assert_close(double_guide, whole[:7], atol=1e-4, rtol=1e-4)


class Batched(DPS):
    """The mutant: one norm for the whole batch."""

    def step(self, model, x, t, s, past, generator, observation=None, **cond):
        there, seen = self.sampler.step(model, x, t, s, past, generator, **cond)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            norm = self.measurement.residual(model(leaf, t)).norm()
            return there - self.zeta * torch.autograd.grad(norm, leaf)[0], seen


def test_a_norm_over_the_batch_is_seen():
    torch.set_default_dtype(torch.float32)
    guide, sampler = image_guides(Convolved())["DPS"]
    mutant = Batched(sampler.measurement)
    alone, together = (sample(guide, n, steps=6, sampler=mutant)[0] for n in (1, 100))
    assert float((alone - together).abs().max()) > 0.1
    torch.testing.assert_close(alone, sample(guide, 1, steps=6, sampler=sampler)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["projection", "replacement", "RePaint"])
def test_hard_constraints_hold_exactly(name):
    guide, sampler = image_guides(Convolved())[name]
    seen = (sampler if name != "projection" else guide).measurement
    x = sample(guide, 9, steps=8, sampler=sampler)
    assert float(seen.residual(x).abs().max()) < 1e-12
    matrix = Measurement(Matrix(A), Y, 0.0)
    model = PRIOR.denoiser(VP())
    for guide, sampler in [
        (Proximal(model, matrix), Heun()),
        (model, Replacement(matrix)),
        (model, DDRM(matrix)),
    ]:
        x = sample(guide, 9, steps=8, sampler=sampler)
        assert float((x @ A.T - Y).abs().max()) < 1e-12


def test_repaint_comes_nearer_to_the_posterior_than_replacement():
    pair = Gaussian(torch.zeros(2, **D), torch.tensor([[1.0, 0.9], [0.9, 1.0]], **D))
    seen = Measurement(Mask(torch.tensor([True, False])), torch.tensor([1.5], **D), 0.0)
    errors = []
    for rounds in (1, 10):
        x = sample(pair.denoiser(VP()), 800, steps=30, sampler=Replacement(seen, rounds=rounds))
        errors.append(abs(float(x[:, 1].mean()) - 0.9 * 1.5))
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.1


def test_ddrm_is_the_posterior_where_its_coordinates_are_independent():
    # White data: with η = η_b = 1 nothing of the walk is kept, and at s = 0 seen directions are y, unseen ones the prior.
    prior = Gaussian(torch.zeros(SIZE, **D), torch.eye(SIZE, **D))
    seen = Measurement(Matrix(A), Y, 0.0)
    n = 4000
    x = sample(prior.denoiser(VP()), n, steps=40, sampler=DDRM(seen, eta=0.85))
    inverse = torch.linalg.pinv(A)
    free = torch.eye(SIZE, **D) - inverse @ A
    torch.testing.assert_close(x @ A.T, Y.expand(n, -1))
    hidden = (x - Y @ inverse.T) @ torch.linalg.eigh(free).eigenvectors[:, -(SIZE - SEEN) :]
    assert (hidden.mean(0).abs() < 5 / math.sqrt(n)).all()
    noisy = sample(prior.denoiser(VP()), 200, steps=40, sampler=DDRM(MEASURED))
    assert bool(noisy.isfinite().all())
    assert float((noisy @ A.T - Y).abs().mean()) < float(
        (prior.sample(200, Streams(0, range(200))) @ A.T - Y).abs().mean()
    )


def test_proximal_is_the_minimiser_that_it_names():
    model = PRIOR.denoiser(VP())
    xt = draws(4, SIZE, seed=3)
    got = Proximal(model, MEASURED, weight=2.0)(xt, LEVELS)
    x = got.clone().requires_grad_()
    pull = 2.0 / (2 * VP().ratio(LEVELS) ** 2)
    cost = ((Y - x @ A.T) ** 2).sum(1) / (2 * STD**2) + pull * ((x - model(xt, LEVELS)) ** 2).sum(1)
    (slope,) = torch.autograd.grad(cost.sum(), x)
    assert float((slope / (1 + pull[:, None])).abs().max()) < 1e-6


def test_refresh_at_zero_is_the_flow():
    model = PRIOR.denoiser(VP())
    torch.testing.assert_close(
        sample(model, 5, steps=9, sampler=Refresh(0.0)), sample(model, 5, steps=9, sampler=Ancestral(0.0))
    )


def test_each_row_may_have_its_own_observation():
    model = PRIOR.denoiser(VP())
    ys = draws(5, SEEN, seed=7)
    for make in (MomentMatching, Reconstruction, Proximal):
        guide = make(model, MEASURED)
        with torch.no_grad():
            together = guide(draws(5, SIZE), torch.tensor(0.3), observation=ys)
            alone = make(model, Measurement(Matrix(A), ys[3], STD))(draws(5, SIZE)[3:4], torch.tensor(0.3))
        torch.testing.assert_close(together[3:4], alone)
    x = sample(MomentMatching(model, MEASURED), 5, steps=10, observation=ys, chunk=2)
    own = sample(MomentMatching(model, Measurement(Matrix(A), ys[3], STD)), 5, steps=10)
    torch.testing.assert_close(x[3], own[3])


def test_non_linear_measurements_choose_among_modes():
    pair = Mixture(torch.ones(2, **D), torch.tensor([[-2.0, 0.5], [2.0, 0.5]], **D), 0.1 * torch.eye(2, **D))
    radius = lambda x: -(((x - torch.tensor([1.0, 0.0], **D)).norm(dim=1) - 1.1) ** 2) / (2 * 0.2**2)  # noqa: E731
    x = sample(Reconstruction(pair.denoiser(VP()), radius, scale=0.2), 200, steps=60)
    assert float((x[:, 0] > 0).double().mean()) > 0.9  # half without the guide; exact by twisted: see test_twisted.py


def test_bad_guides_say_what_is_wanted():
    model = PRIOR.denoiser(VP())
    with pytest.raises(ShapeError, match=r"Mask of events \(3,\) for a model of events \(6,\)"):
        MomentMatching(model, Measurement(Mask(torch.ones(3)), torch.zeros(3), 0.1))
    with pytest.raises(ShapeError, match="one number a row"):
        Reconstruction(model, lambda x: -(x**2))(draws(2, SIZE), torch.tensor(0.5))
    with pytest.raises(DivergedError, match=r"not finite in rows \[0, 1\]"):
        Reconstruction(model, lambda x: (x - x).sum(1).sqrt())(draws(2, SIZE), torch.tensor(0.5))
    with pytest.raises(ShapeError, match="observation of 3 rows for 2"):
        MomentMatching(model, MEASURED)(draws(2, SIZE), torch.tensor(0.5), observation=draws(3, SEEN))
    with pytest.raises(RangeError, match="knows no determinant"):
        MomentMatching(model, MEASURED).twist(draws(2, SIZE), torch.tensor(0.5))
    with pytest.raises(RangeError, match="the measurement has noise"):
        Replacement(MEASURED)
    for make in (
        lambda: Krylov(0),
        lambda: Isotropic(0.0),
        lambda: Reconstruction(model, MEASURED, scale=0.0),
        lambda: Proximal(model, MEASURED, weight=0.0),
        lambda: DPS(MEASURED, zeta=-1.0),
        lambda: DDRM(MEASURED, eta=2.0),
        lambda: Refresh(1.5),
        lambda: Replacement(Measurement(Matrix(A), Y, 0.0), rounds=0),
    ):
        with pytest.raises(RangeError):
            make()


def test_walks_of_samplers_visit_the_grid():
    for sampler in (DPS(MEASURED), DDRM(MEASURED), Refresh(), Replacement(Measurement(Matrix(A), Y, 0.0))):
        states = list(walk(PRIOR.denoiser(VP()), 2, steps=5, sampler=sampler))
        assert len(states) == 6
        assert states[1].denoised is not None
