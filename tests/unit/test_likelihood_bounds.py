"""The denoising bound and bits per dimension, against closed forms."""

import math

import pytest
import torch

from scorefield.calculus import Hutchinson, orthogonal
from scorefield.data.scaling import Scaling
from scorefield.errors import DataError, RangeError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.likelihood import Dequantised, Flat, Learned, bits_per_dim, cellwise, elbo, log_density
from scorefield.models import Denoiser
from scorefield.noises import EDM, VP
from scorefield.objectives.times import Importance, LogNormal, Uniform
from scorefield.tensors import Streams
from scorefield.training import fit

D = {"dtype": torch.float64}
MIX = Mixture(torch.tensor([1.0, 3.0], **D), torch.tensor([[-1.5, 0.0], [1.5, 0.5]], **D), 0.2 * torch.eye(2, **D))
NORMAL = Gaussian(torch.zeros(2, **D), torch.diag(torch.tensor([0.5, 2.0], **D)))


@pytest.mark.parametrize("noise", [VP(), EDM(80.0)], ids=repr)
@pytest.mark.parametrize("density", [NORMAL, MIX])
def test_with_the_exact_score_the_bound_is_the_log_density(density, noise):
    x = density.sample(60, Streams(0, range(60)))
    found = elbo(density.denoiser(noise), x, draws=128)
    z = (found.value - density.log_density(x)) / found.error
    assert abs(float(z.mean())) < 4 / math.sqrt(60) + 0.1  # the prior's mismatch is a tenth of the error here
    assert 0.75 < float(z.std()) < 1.3
    assert " nats" in str(found)


def test_with_a_wrong_score_it_is_below_by_the_weighted_square_of_the_error():
    """x̂ + b raises ½∫(−dSNR) |x̂ − x|² by ½|b|²(SNR_0 − SNR_1) in the mean over data; b here is 0 but for σ/α in [1, 2]."""

    class Off(Denoiser):
        noise, shape = VP(), (2,)

        def forward(self, xt, t, **cond):
            ratio = self.noise.ratio(t)
            shift = torch.where((ratio > 1) & (ratio < 2), 0.8, 0.0).expand(len(xt))
            return NORMAL.denoiser(self.noise)(xt, t) + shift[:, None]

    n = 400
    x = NORMAL.sample(n, Streams(0, range(n)))
    right, wrong = (
        elbo(model, x, draws=64, generator=Streams(1, range(n))) for model in (NORMAL.denoiser(VP()), Off())
    )
    gap = right.value - wrong.value
    wanted = 0.5 * 2 * 0.8**2 * (1 - 1 / 4)
    assert abs(float(gap.mean()) - wanted) < 4 * float(gap.std()) / math.sqrt(n)
    assert wanted > 8 * float(gap.std()) / math.sqrt(n)


def test_importance_sampled_times_have_the_same_mean_and_less_variance():
    n = 100
    x = NORMAL.sample(n, Streams(0, range(n)))
    even, important = (elbo(NORMAL.denoiser(VP()), x, times=times) for times in (Uniform(), Importance()))
    ratio = float(even.error.square().mean() / important.error.square().mean())
    assert ratio > 3
    gap = even.value - important.value
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(n)


def test_the_bound_is_row_by_row():
    x, model = MIX.sample(4, Streams(0, range(4))), MIX.denoiser(VP())
    whole = elbo(model, x, draws=4, generator=Streams(3, range(4)))
    torch.testing.assert_close(elbo(model, x[1:2], draws=4, generator=Streams(3, [1])).value, whole.value[1:2])


# Integers 0 … 15 of two variables, −1..1 in the model: the cells of N(m, C) with C diagonal have their masses in closed form.
SCALING, CENTRE, SD = Scaling(7.5, 7.5), torch.tensor([0.2, -0.1], **D), torch.tensor([0.25, 0.06], **D)
CELLS = Gaussian(CENTRE, torch.diag(SD**2))
N = torch.tensor([[9, 7], [8, 6], [12, 7], [5, 8]])


def exact_bits(n):
    edges = [(n.double() + side - 7.5) / 7.5 for side in (-0.5, 0.5)]
    low, high = (torch.special.ndtr((edge - CENTRE) / SD) for edge in edges)
    return -(high - low).log().sum(1) / (2 * math.log(2))


def test_bits_bound_the_mass_of_a_cell_and_more_draws_tighten_them():
    model, many = CELLS.denoiser(EDM(80.0)), N.repeat(25, 1)
    few, more = (
        bits_per_dim(model, many, scaling=SCALING, levels=16, draws=k, tolerance=math.inf, steps=20) for k in (2, 12)
    )
    gap_few, gap_more = (found.value - exact_bits(many) for found in (few, more))
    assert float(gap_few.mean()) > 2 * float(gap_few.std()) / 10
    assert float(gap_more.mean()) < 0.4 * float(gap_few.mean())
    assert abs(float(gap_more.mean())) < 3 * float(gap_more.std()) / 10
    assert "bits per dimension" in str(more)
    assert more.mean_error > 0
    # In units of the data: forgetting log scale would be log₂ 7.5 = 2.9 bits off.


def test_the_noise_of_probes_does_not_flatter_the_bits():
    size, n = 6, torch.full((150, 6), 8)
    model = Gaussian(torch.zeros(size, **D), torch.diag(torch.linspace(0.02, 0.6, size, **D))).denoiser(EDM(80.0))
    options = {"scaling": SCALING, "levels": 16, "draws": 4, "tolerance": math.inf, "steps": 20}
    sure, noisy = (bits_per_dim(model, n, divergence=d, **options) for d in (None, Hutchinson(2, orthogonal)))
    error = math.hypot(sure.mean_error, noisy.mean_error)
    assert abs(sure.mean - noisy.mean) < 4 * error + 0.02
    assert noisy.mean_error > 2 * sure.mean_error


def test_a_learned_dequantisation_is_flat_untrained_and_tighter_trained():
    torch.manual_seed(0)
    many, model = N.repeat(16, 1), CELLS.denoiser(EDM(80.0))
    y = SCALING.to_model(many.double()).float()
    learned = Learned(cellwise((2,)))
    with torch.no_grad():
        v, log_q = learned.draw(y, Streams(1, range(len(y))))
    flat, _ = Flat().draw(y, Streams(1, range(len(y))))
    torch.testing.assert_close(v, flat, atol=1e-5, rtol=0)
    assert float(log_q.abs().max()) < 1e-4
    trained = fit(learned, Dequantised(model, SCALING), [y], steps=150, learning_rate=0.02)
    options = {"scaling": SCALING, "levels": 16, "draws": 2, "tolerance": math.inf, "steps": 20}
    before, after = (
        bits_per_dim(model, many, dequantisation=q, generator=Streams(5, range(len(many))), **options)
        for q in (Flat(), trained)
    )
    loose, tight = (float((found.value - exact_bits(many)).mean()) for found in (before, after))
    assert -3 * after.mean_error < tight < 0.5 * loose


def test_the_density_of_a_learned_dequantisation_integrates_to_one():
    torch.manual_seed(0)
    learned = Learned(torch.nn.Sequential(torch.nn.Linear(1, 2))).double()
    y = torch.full((4000, 1), 0.3, **D)
    with torch.no_grad():
        v, log_q = learned.draw(y, Streams(0, range(4000)))
    area = (-log_q).exp()  # E_q[1/q] is the width of the cell
    assert abs(float(area.mean()) - 1) < 4 * float(area.std()) / math.sqrt(4000) + 0.01
    assert bool((v.abs() <= 0.5).all())


def test_bad_calls_say_what_is_wanted():
    model = CELLS.denoiser(EDM(80.0))
    for error, words, call in (
        (DataError, "integers 0 … 255", lambda: bits_per_dim(model, torch.tensor([[0.5, 1.0]]))),
        (DataError, "integers 0 … 15", lambda: bits_per_dim(model, torch.tensor([[16, 1]]), levels=16)),
        (DataError, "other units", lambda: bits_per_dim(model, 20 * N, scaling=Scaling.identity())),
        (RangeError, "at least 2", lambda: bits_per_dim(model, N, draws=1)),
        (ShapeError, "rows of integers", lambda: bits_per_dim(model, N[0])),
        (RangeError, "at least 2", lambda: elbo(model, torch.zeros(1, 2), draws=1)),
        (ShapeError, "events", lambda: elbo(model, torch.zeros(1, 3))),
        (DataError, "finite", lambda: elbo(model, torch.full((1, 2), math.nan))),
        (DataError, "other units", lambda: elbo(model, torch.full((1, 2), 200.0))),
        (DataError, "other units", lambda: log_density(model, torch.full((1, 2), 200.0))),
    ):
        with pytest.raises(error, match=words):
            call()
    with pytest.raises(RangeError, match="cover every noise level"):
        elbo(model, torch.zeros(1, 2), times=LogNormal())
