"""Kernel scores: derivatives against autograd, regularisers against filters, estimators against their equations and the truth."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch

from scorefield.closed import (
    IMQ,
    RBF,
    CurlFree,
    CutOff,
    Diagonal,
    Fourier,
    KernelExponentialFamily,
    KernelScore,
    Landweber,
    Matern,
    NuMethod,
    Nystrom,
    Shrunk,
    Tikhonov,
    choose,
    evenly,
    leverage,
    pivoted,
    widths,
)
from scorefield.closed.features import Centres
from scorefield.closed.kernels import laplacian, squared_distances
from scorefield.errors import DataError, DivergedError, MemoryLimitError, RangeError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.metrics import log_normaliser

KERNELS = [RBF(1.3), IMQ(0.8), Matern(1.7)]
DOUBLE = torch.float64


def draws(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def gradient(f, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(f(x).sum(), x)[0]


def divergence(f, x):
    jacobian = torch.autograd.functional.jacobian(lambda y: f(y).sum(0), x)
    return jacobian.diagonal(dim1=0, dim2=2).sum(-1)


# Kernels


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_derivatives_of_a_profile_are_its_derivatives(kernel):
    s = torch.linspace(0.1, 4, 7, dtype=DOUBLE).requires_grad_()
    found = kernel.derivatives(s[:, None], 4)
    for low, high in pairwise(found):
        (slope,) = torch.autograd.grad(low.sum(), s, retain_graph=True)
        torch.testing.assert_close(slope, high[:, 0], rtol=1e-9, atol=1e-12)
    assert kernel.derivatives(torch.zeros(1, 1, dtype=DOUBLE), 0)[0].item() == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_random_frequencies_have_the_spectrum_of_their_kernel(kernel):
    w = kernel.frequencies(torch.empty(40_000, 2, dtype=DOUBLE), torch.Generator().manual_seed(0))
    u = torch.tensor([[0.7, -0.4], [1.5, 1.0], [0.1, 0.2]], dtype=DOUBLE)
    waves = (w @ u.T).cos()
    z = (waves.mean(0) - kernel(u, torch.zeros(1, 2, dtype=DOUBLE))[:, 0]) / (waves.std(0) / len(w) ** 0.5)
    assert z.abs().max() < 4


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_fields_and_their_divergences_are_those_of_autograd(kernel):
    x, y, c = draws(4, 3, 1), draws(5, 3, 2), draws(5, 3, 3)

    def potential(x):
        s = squared_distances(x, y)
        k = kernel.derivatives(s, 2)
        return (0.7 * laplacian(k, s, 3)[0] - 2 * k[1] * ((x[:, None] - y) * c).sum(-1)).sum(1)

    def diagonal(x):
        slopes = torch.stack([gradient(lambda v, i=i: kernel(x[i : i + 1].detach(), v), y) for i in range(len(x))])
        return 0.7 * slopes.sum(1) + kernel(x, y) @ c

    curl = CurlFree(kernel)
    torch.testing.assert_close(curl.potential(x, y, 0.7, c), potential(x))
    torch.testing.assert_close(curl.field(x, y, 0.7, c), gradient(potential, x))
    torch.testing.assert_close(
        curl.divergence(x, y, 0.7, c), divergence(lambda v: curl.field(v, y, 0.7, c), x), rtol=1e-6, atol=1e-8
    )
    plain = Diagonal(kernel)
    torch.testing.assert_close(plain.field(x, y, 0.7, c), diagonal(x))
    torch.testing.assert_close(plain.divergence(x, y, 0.7, c), divergence(lambda v: plain.field(v, y, 0.7, c), x))


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_divergence_at_a_source_itself_is_finite_and_the_limit(kernel):
    y, c = draws(3, 2), draws(3, 2, 1)
    near = y + 1e-4
    for field in (CurlFree(kernel), Diagonal(kernel)):
        here, there = field.divergence(y, y, 1.0, c), field.divergence(near, y, 1.0, c)
        torch.testing.assert_close(here, there, rtol=0.02, atol=0.02)


def test_the_gram_matrix_is_the_operator():
    y, c = draws(5, 3), draws(5, 3, 1)
    for field in (CurlFree(IMQ(1.5)), Diagonal(IMQ(1.5))):
        gram = field.gram(y)
        image = (gram @ c.reshape(len(gram), -1)).reshape(c.shape)
        torch.testing.assert_close(image, field.field(y, y, 0.0, c))
        assert float(torch.linalg.eigvalsh(gram)[0]) > -1e-12


def test_blocks_of_rows_change_nothing(monkeypatch):
    x, c = draws(50, 2), draws(50, 2, 1)
    field, features = CurlFree(RBF(1.0)), Centres(RBF(1.0), x[:7])
    whole = field.field(x, x, 0.3, c), field.divergence(x, x, 0.3, c), *features.moments(x, [c])
    monkeypatch.setattr("scorefield.closed.kernels._BLOCK", 90)
    parts = field.field(x, x, 0.3, c), field.divergence(x, x, 0.3, c), *features.moments(x, [c])
    for one, other in zip(whole, parts):
        torch.testing.assert_close(one, other)


# Regularisers


@pytest.mark.parametrize("field", [CurlFree(IMQ(2.0)), Diagonal(RBF(1.0))], ids=str)
@pytest.mark.parametrize(
    "regularise", [Tikhonov(1e-2), Landweber(7), NuMethod(7), NuMethod(4, 2.0), CutOff(5)], ids=str
)
def test_iterations_are_their_filters(regularise, field, monkeypatch):
    x = draws(20, 2)
    n, top = len(x), 0.9
    monkeypatch.setattr("scorefield.closed.spectral.norm", lambda operator, z: top)
    gram = field.gram(x) / n
    z = field.field(x, x, 1 / n, torch.zeros_like(x))
    zero, w = regularise.solve(lambda c: field.field(x, x, 0.0, c) / n, z, lambda: gram)
    values, vectors = torch.linalg.eigh(gram)
    # S g(L) ζ = g(M) S ζ, and by its parts g(0) z + M w
    wanted = vectors @ (regularise.filter(values, top)[:, None] * (vectors.T @ z.reshape(len(gram), -1)))
    torch.testing.assert_close(zero * z + field.field(x, x, 0.0, w) / n, wanted.reshape(z.shape), rtol=1e-5, atol=1e-7)


def test_the_nu_method_resolves_what_landweber_needs_the_square_of_its_steps_for():
    small = torch.tensor([1 / 400.0], dtype=DOUBLE)
    left = [abs(1 - float(small * rule.filter(small, 1.0))) for rule in (NuMethod(40), Landweber(40), Landweber(1600))]
    assert left[0] < 0.1 < 0.8 < left[1]
    assert left[2] < 0.1


def test_the_preconditioner_changes_the_steps_and_not_the_answer():
    x = draws(120, 3)
    calls = {}

    @dataclass(frozen=True)
    class Counting(CurlFree):
        def field(self, x, y, a, c):
            calls["now"] = calls.get("now", 0) + 1
            return super().field(x, y, a, c)

    fits, counts = [], []
    for rank in (0, 60):
        calls.clear()
        fits.append(KernelScore(Counting(RBF(2.0)), Tikhonov(1e-4, rank=rank)).fit(x))
        counts.append(calls["now"] - rank)
    torch.testing.assert_close(fits[0](x), fits[1](x), rtol=1e-4, atol=1e-5)
    assert counts[1] < counts[0] / 2


# Estimators


@pytest.mark.parametrize("field", [CurlFree(IMQ(1.5)), Diagonal(RBF(1.5))], ids=str)
def test_tikhonov_is_stationary_in_every_direction_of_its_space(field):
    """⟨∇J, K(·, v)w⟩ = E[s·K w + div K w] + λ g(v)·w = 0: the gradient in the space of fields, at any v and w."""
    x, base = draws(30, 2), Gaussian(torch.ones(2, dtype=DOUBLE), 2 * torch.eye(2, dtype=DOUBLE))
    fitted = KernelScore(field, Tikhonov(0.05, tolerance=1e-12), base).fit(x)

    def slope(model, ridge):
        found = []
        for seed in range(4):
            v, w = draws(1, 2, 10 + seed), draws(1, 2, 20 + seed)
            along = field.field(x, v, 0.0, w)
            loss = ((model(x) * along).sum(1) + field.divergence(x, v, 0.0, w)).mean()
            found.append(abs(float(loss + ridge * ((model(v) - base(v)) * w).sum())))
        return max(found)

    assert slope(fitted, 0.05) < 1e-9
    assert slope(fitted, 0.1) > 1e-3  # the ½ of the penalty
    assert slope(lambda x: 2 * base(x) - fitted(x), 0.05) > 1e-3  # the sign of the correction


def test_the_stein_estimator_is_tikhonov_with_a_diagonal_kernel():
    x, h, eta = draws(25, 3), 1.7, 0.4
    s = KernelScore(Diagonal(RBF(h)), Tikhonov(eta / 25, tolerance=1e-13), lambda x: torch.zeros_like(x)).fit(x)
    k = torch.exp(-squared_distances(x, x) / (2 * h**2))
    forces = ((x[:, None] - x[None]) / h**2 * k[..., None]).sum(1)  # Σ_j ∇_{x_j} k(x_i, x_j)
    wanted = -torch.linalg.solve(k + eta * torch.eye(25), forces)
    torch.testing.assert_close(s(x), wanted, rtol=1e-6, atol=1e-8)


def test_ssge_is_the_cut_off_with_a_diagonal_kernel():
    x, new, h, keep = draws(25, 3), draws(6, 3, 1), 1.7, 6
    s = KernelScore(Diagonal(RBF(h)), CutOff(keep), lambda x: torch.zeros_like(x)).fit(x)
    kernel = RBF(h)
    values, vectors = torch.linalg.eigh(kernel(x, x))
    values, vectors = values[-keep:], vectors[:, -keep:]

    def eigenfunctions(y):
        return math.sqrt(25) * kernel(y, x) @ vectors / values

    jacobian = torch.autograd.functional.jacobian(lambda y: eigenfunctions(y).sum(0), x)  # (keep, n, d)
    torch.testing.assert_close(s(new), eigenfunctions(new) @ -jacobian.mean(1), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("field", [CurlFree(IMQ(4.0)), CurlFree(Matern(6.0)), Diagonal(RBF(3.0))], ids=str)
def test_scores_of_a_gaussian_without_a_base_are_learnt(field):
    x, new = draws(250, 2), draws(200, 2, 1)
    s = KernelScore(field, NuMethod(20), lambda x: torch.zeros_like(x)).fit(x)
    assert float(((s(new) + new) ** 2).sum(1).mean()) < 0.4  # of E‖∇ log p‖² = 2


def test_a_right_base_is_hardly_corrected_and_a_wrong_one_is():
    x, new = draws(400, 2) + 1, draws(300, 2, 1) + 1
    error = {}
    for name, mean in {"right": 1.0, "wrong": 0.0}.items():
        base = Gaussian(torch.full((2,), mean, dtype=DOUBLE), torch.eye(2, dtype=DOUBLE))
        s = KernelScore(CurlFree(IMQ(4.0)), NuMethod(8), base).fit(x)
        error[name] = float(((s(new) + new - 1) ** 2).sum(1).mean())
    assert error["right"] < 0.1
    assert error["wrong"] < 0.3  # of 2 before


def test_the_energy_of_a_curl_free_field_is_its_potential_and_others_have_none():
    x = draws(40, 2)
    s = KernelScore(CurlFree(RBF(2.0)), NuMethod(5)).fit(x)
    torch.testing.assert_close(s(x), -gradient(s.energy, x))
    torch.testing.assert_close(s.losses(x), 0.5 * s(x).square().sum(1) + divergence(s, x), rtol=1e-6, atol=1e-8)
    with pytest.raises(ShapeError, match="no potential; use CurlFree"):
        KernelScore(Diagonal(RBF(2.0)), NuMethod(5)).fit(x).energy(x)


def test_choosing_needs_no_truth_and_finds_a_width_that_works():
    x, new = draws(100, 2), draws(200, 2, 1)
    zero = lambda x: torch.zeros_like(x)  # noqa: E731
    candidates = [
        KernelScore(CurlFree(k), NuMethod(t), zero) for k in widths(IMQ(), x, (0.1, 1.0, 4.0)) for t in (3, 20)
    ]
    errors = [float(((c.fit(x)(new) + new) ** 2).sum(1).mean()) for c in candidates]
    best = float(((choose(candidates, x)(new) + new) ** 2).sum(1).mean())
    assert best < 1.5 * min(errors) + 0.05 < max(errors)


# The kernel exponential family


@pytest.mark.parametrize(
    "basis",
    [Nystrom(9), Nystrom(9, pivoted), Nystrom(9, leverage), Fourier(9)],
    ids=["evenly", "pivoted", "leverage", "fourier"],
)
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_moments_are_those_of_the_gradients_by_autograd(basis, kernel):
    x, b = draws(12, 3), draws(12, 3, 1)
    features = basis.features(kernel, x, torch.Generator().manual_seed(0))
    p = features.count

    def each(y, j):
        return features.values(y, torch.eye(p, dtype=DOUBLE)[j])

    jacobian = torch.stack([gradient(lambda y, j=j: each(y, j), x) for j in range(p)])  # (p, n, d)
    laplace = torch.stack(
        [divergence(lambda y, j=j: features.slope(y, torch.eye(p, dtype=DOUBLE)[j]), x + 1e-3) for j in range(p)]
    )
    h, force = features.moments(x, [b])
    torch.testing.assert_close(h, torch.einsum("pnd,qnd->pq", jacobian, jacobian), rtol=1e-6, atol=1e-8)
    theta = draws(1, p, 2)[0]
    torch.testing.assert_close(
        features.slope(x, theta), torch.einsum("p,pnd->nd", theta, jacobian), rtol=1e-6, atol=1e-8
    )
    torch.testing.assert_close(features.laplacian(x + 1e-3, theta), theta @ laplace, rtol=1e-6, atol=1e-8)
    wanted = torch.einsum("pnd,nd->p", jacobian, b) + torch.stack(
        [features.laplacian(x, row).sum() for row in torch.eye(p, dtype=DOUBLE)]
    )
    torch.testing.assert_close(force[:, 0], wanted, rtol=1e-6, atol=1e-8)


def test_the_family_minimises_the_score_matching_loss_with_its_penalty():
    x = torch.cat([draws(150, 3) - 2, draws(150, 3, 1) + 2])
    ridge = 1e-2
    family = KernelExponentialFamily(RBF(2.0), Nystrom(20), (Shrunk(0.0),), None, (ridge,), caution=0.0)
    fitted = family.fit(x)
    assert fitted.choice.kernel is not None
    theta = fitted.theta.clone().requires_grad_()
    features, base = fitted.features, fitted.base
    g = features.slope(x, theta)
    loss = (0.5 * g.square().sum(1) + (g * base(x)).sum(1) + features.laplacian(x, theta)).mean()
    penalty = features.penalty()
    h = features.moments(x, [base(x)])[0] / len(x)
    unit = float(torch.linalg.solve(penalty, h).trace()) / len(h)
    (slope,) = torch.autograd.grad(loss + 0.5 * ridge * unit * theta @ penalty @ theta, theta)
    (alone,) = torch.autograd.grad(0.5 * ridge * unit * theta @ penalty @ theta, theta)
    assert slope.norm() < 1e-5 * alone.norm()


def test_held_out_rows_keep_a_gaussian_gaussian_and_correct_a_mixture():
    gaussian = KernelExponentialFamily(basis=Nystrom(60)).fit(draws(256, 8))
    assert gaussian.choice.kernel is None
    assert gaussian.choice.base == Shrunk(1.0)
    truth = Mixture(
        torch.ones(2, dtype=DOUBLE), torch.tensor([[-2.0, 0], [2.0, 0]], dtype=DOUBLE), 0.5 * torch.eye(2).double()
    )
    x, new = (truth.sample(n, torch.Generator().manual_seed(n)) for n in (500, 400))
    fitted = KernelExponentialFamily(basis=Nystrom(100)).fit(x)
    error = float(((fitted(new) - truth(new)) ** 2).sum(1).mean())
    alone = float(((Shrunk(0.0).fit(x)(new) - truth(new)) ** 2).sum(1).mean())
    assert fitted.choice.gain > 4 * fitted.choice.error
    assert error < 0.3 * alone
    # what was promised by the held-out loss is what the truth says: gain = ½ E‖base − s*‖² − ½ E‖fit − s*‖²
    iso = float(((Shrunk(1.0).fit(x)(new) - truth(new)) ** 2).sum(1).mean())
    assert abs(fitted.choice.gain - 0.5 * (iso - error)) < 5 * fitted.choice.error


def test_a_ring_is_normalised_and_near_the_truth():
    generator = torch.Generator().manual_seed(0)
    angle = 2 * math.pi * torch.rand(3000, generator=generator, dtype=DOUBLE)
    radius = 5 + 0.2 * torch.randn(3000, generator=generator, dtype=DOUBLE)
    x = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    family = KernelExponentialFamily(RBF(1.4), Nystrom(150), (Shrunk(1.0),), None, (1e-3, 1e-2), most=2000)
    fitted = family.fit(x[:2000]).normalised(30_000, generator=generator)
    r = x[2000:].norm(dim=1)
    truth = -0.5 * ((r - 5) / 0.2) ** 2 - math.log(0.2 * math.sqrt(2 * math.pi)) - (2 * math.pi * r).log()
    gap = truth - fitted.log_density(x[2000:])
    assert -5 * float(gap.std()) / 1000**0.5 < float(gap.mean()) + 4 * fitted.log_normaliser_error
    assert float(gap.mean()) < 0.06
    grid = torch.linspace(-8, 8, 241, dtype=DOUBLE)
    points = torch.cartesian_prod(grid, grid)
    mass = float(fitted.log_density(points).exp().sum()) * float(grid[1] - grid[0]) ** 2
    assert abs(mass - 1) < 4 * fitted.log_normaliser_error + 1e-3


def test_annealing_and_importance_sampling_agree_on_log_z():
    truth = Mixture(
        torch.ones(2, dtype=DOUBLE), torch.tensor([[-1.0], [1.0]], dtype=DOUBLE), torch.tensor([[0.2]]).double()
    )
    x = truth.sample(300, torch.Generator().manual_seed(0))
    fitted = (
        KernelExponentialFamily(basis=Nystrom(40), folds=3)
        .fit(x)
        .normalised(20_000, generator=torch.Generator().manual_seed(1))
    )
    assert fitted.choice.kernel is not None
    annealed = log_normaliser(fitted, fitted.base, n=200, levels=6, generator=torch.Generator().manual_seed(2))
    assert abs(annealed.value - fitted.log_normaliser) < 4 * math.hypot(annealed.error, fitted.log_normaliser_error)


@pytest.mark.parametrize("pick", [pivoted, leverage, evenly])
def test_points_are_different_rows(pick):
    chosen = pick(RBF(1.0), draws(60, 2), 20, torch.Generator().manual_seed(0))
    assert len(set(chosen.tolist())) == 20


def test_pivoted_points_explain_more_than_random_ones():
    x, kernel = draws(200, 2), RBF(1.5)

    def left(pick):
        z = x[pick(kernel, x, 25, torch.Generator().manual_seed(0))]
        inside = kernel(x, z)
        return float((1 - (inside * torch.linalg.solve(kernel(z, z), inside.T).T).sum(1)).sum())

    assert left(pivoted) < 0.5 * left(evenly)


# Rows, and bad input


@pytest.mark.parametrize(
    "kind", [KernelScore(CurlFree(IMQ(2.0)), NuMethod(5)), KernelExponentialFamily(basis=Nystrom(20))]
)
def test_a_row_does_not_depend_on_the_others_and_keeps_its_dtype(kind):
    s = kind.fit(draws(80, 2))
    x = draws(5, 2, 1).float()
    assert s(x).dtype == torch.float32
    torch.testing.assert_close(s(x)[2:3], s(x[2:3]))
    torch.testing.assert_close(s.losses(x)[2:3], s.losses(x[2:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [KernelScore(), KernelExponentialFamily(), Shrunk()])
def test_rows_that_cannot_be_fitted_are_named(kind):
    x = draws(10, 2)
    bad = x.clone()
    bad[3, 1] = math.nan
    with pytest.raises(DataError, match="row 3: remove"):
        kind.fit(bad)
    twin = x.clone()
    twin[7] = twin[2]
    with pytest.raises(DataError, match=r"row 7 is equal to row 2 \(1 of 10 are duplicates\)"):
        kind.fit(twin)
    with pytest.raises(DataError, match="at least"):
        kind.fit(x[:1])
    with pytest.raises(ShapeError, match="flatten the events"):
        kind.fit(x[None])


def test_singular_systems_are_errors_and_never_numbers():
    line = draws(20, 1).expand(20, 2) * torch.tensor([1.0, 2.0])
    with pytest.raises(DataError, match=r"column 0 .*column 1 is constant in all 20 rows"):
        Shrunk(0.0).fit(line)
    constant = torch.cat([draws(20, 1), torch.ones(20, 1)], 1)
    with pytest.raises(DataError, match="column 1 is 1 in all rows"):
        Shrunk(0.0).fit(constant)
    with pytest.raises(RangeError, match=r"has rank .* keep at most that"):
        KernelScore(Diagonal(RBF(50.0)), CutOff(20)).fit(draws(20, 1))
    with pytest.raises(MemoryLimitError, match="Use Diagonal, or NuMethod"):
        KernelScore(CurlFree(), CutOff(5)).fit(draws(1001, 8))
    with pytest.raises(DivergedError, match="relative residual"):
        KernelScore(CurlFree(RBF(3.0)), Tikhonov(1e-12, most=5, rank=0)).fit(draws(40, 2))


def test_numbers_out_of_range_are_refused():
    for wrong in (
        lambda: RBF(0.0),
        lambda: Tikhonov(0.0),
        lambda: Landweber(0),
        lambda: NuMethod(0),
        lambda: CutOff(0),
        lambda: Nystrom(0),
        lambda: Fourier(0),
        lambda: Shrunk(2.0),
        lambda: KernelExponentialFamily(bases=()),
        lambda: KernelExponentialFamily(ridges=(0.0,)),
        lambda: choose([], draws(9, 1)),
    ):
        with pytest.raises(RangeError):
            wrong()
    fitted = KernelExponentialFamily(basis=Nystrom(5)).fit(draws(20, 1))
    with pytest.raises(RangeError, match="call normalised"):
        fitted.log_density(draws(2, 1))
    with pytest.raises(ShapeError, match="2 variables"):
        KernelScore(regularise=NuMethod(2)).fit(draws(9, 2))(draws(3, 1))


def test_a_width_is_a_length():
    """Data, width and score scale together: s(c x)/c⁻¹."""
    x, new = draws(60, 2), draws(7, 2, 1)
    one = KernelScore(CurlFree(IMQ(2.0)), NuMethod(6)).fit(x)
    ten = KernelScore(CurlFree(replace(IMQ(2.0), width=20.0)), NuMethod(6)).fit(10 * x)
    torch.testing.assert_close(10 * ten(10 * new), one(new))
    small, large = (KernelExponentialFamily(basis=Nystrom(30), caution=0.0).fit(c * x) for c in (1, 10))
    torch.testing.assert_close(10 * large(10 * new), small(new), rtol=1e-4, atol=1e-6)
