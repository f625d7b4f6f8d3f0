"""Log-densities, bounds and bits of distributions whose answers are known, and the errors they report."""

import math

import pytest
import torch

from scorefield.calculus import Difference, Exact, Hutchinson, forms, orthogonal, pulled
from scorefield.errors import DataError, DivergedError, RangeError, RowsError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.guidance import Free
from scorefield.likelihood import flow, log_density, trace
from scorefield.models import Denoiser, Energy, Preconditioned, clean, score
from scorefield.noises import EDM, VP
from scorefield.tensors import Streams

D = {"dtype": torch.float64}
MIX = Mixture(torch.tensor([1.0, 3.0], **D), torch.tensor([[-1.5, 0.0], [1.5, 0.5]], **D), 0.2 * torch.eye(2, **D))
SHARP = Mixture(torch.tensor([1.0, 3.0], **D), torch.tensor([[-1.5, 0.0], [1.5, 0.5]], **D), 0.02 * torch.eye(2, **D))


def correlated(size):
    """N(0, C) with eigenvalues between 0.05 and about 4."""
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0), **D)
    return Gaussian(torch.zeros(size, **D), a @ a.T / size + 0.05 * torch.eye(size, **D))


def spread(found, truth):
    """The root of the mean square of (value − truth)/error: 1 if the errors are what they say."""
    return float(((found.value - truth) / found.error).square().mean().sqrt())


@pytest.mark.parametrize(
    ("density", "noise"), [(MIX, VP()), (SHARP, EDM(80.0)), (Gaussian(torch.ones(2, **D), torch.eye(2, **D)), VP())]
)
def test_the_value_is_the_log_density_within_its_error(density, noise):
    x = density.sample(30, Streams(0, range(30)))
    found = log_density(density.denoiser(noise), x)
    assert 0.7 < spread(found, density.log_density(x)) < 1.5
    assert float((found.value - density.log_density(x)).abs().max()) < 0.1
    assert float(found.solver.max()) <= 1e-3
    assert not found.trace.any()


def test_a_denoiser_for_another_noise_level_is_seen():
    class Off(Denoiser):
        noise, shape = VP(), (2,)

        def forward(self, xt, t, **cond):
            return MIX.denoiser(self.noise)(xt, self.noise.time(0.7 * self.noise.ratio(t)))

    x = MIX.sample(30, Streams(0, range(30)))
    assert spread(log_density(Off(), x), MIX.log_density(x)) > 5


def test_the_default_at_64_dimensions_errs_by_less_than_a_hundredth_of_a_nat_and_says_so():
    known = correlated(64)
    x = known.sample(6, Streams(0, range(6)))
    found = log_density(known.denoiser(VP()), x)
    assert float((found.value - known.log_density(x)).std()) < 0.002
    assert 0.3 < spread(found, known.log_density(x)) < 2


def test_single_precision_is_enough():
    known = correlated(6)
    single = Gaussian(known.mean.float(), known.covariance.float())
    x = known.sample(10, Streams(0, range(10)))
    exact, rough = (log_density(m.denoiser(VP()), v) for m, v in ((known, x), (single, x.float())))
    gap = (rough.value - exact.value).abs()
    assert 0 < float(gap.max()) < 1e-4
    assert bool((gap <= 3 * rough.solver).all())
    assert bool((rough.solver > exact.solver).any())


def z_scores(divergence, size=16, rows=150):
    known = correlated(size)
    x = known.sample(1, Streams(0, range(1))).expand(rows, -1)
    found = log_density(known.denoiser(VP()), x, steps=20, tolerance=math.inf, divergence=divergence)
    truth = log_density(known.denoiser(VP()), x[:1], steps=20, tolerance=math.inf)
    return (found.value - truth.value) / found.trace, found


@pytest.mark.parametrize(
    "divergence",
    [Hutchinson(4), Hutchinson(4, orthogonal), Hutchinson(12, orthogonal)],
    ids=["four", "four orthogonal", "all"],
)
def test_the_error_of_the_trace_is_calibrated_and_its_value_unbiased(divergence):
    z, found = z_scores(divergence)
    assert 0.8 < float(z.std()) < 1.25
    gap = found.value - (found.value - z * found.trace)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / len(z) ** 0.5
    assert float(found.solver.mean()) < 0.3 * float(found.trace.mean())


def test_an_error_that_takes_orthogonal_probes_for_independent_ones_is_seen():
    z, _ = z_scores(Hutchinson(12, lambda x, n, g: orthogonal(x, n, g)))  # hides what they are: no finite correction
    assert float(z.std()) < 0.7


def test_fresh_orthogonal_probes_at_every_step_beat_one_probe_for_the_whole_path():
    """At d = 16 one Rademacher probe for the whole path errs by 6 nats (k-diffusion); 33 nodes of 2 here by a quarter of that."""
    _, found = z_scores(Hutchinson(2, orthogonal))
    assert float(found.value.std()) < 1.5


def test_as_many_probes_as_dimensions_are_exact():
    x = MIX.sample(3, Streams(0, range(3)))
    model = MIX.denoiser(VP())
    few = {"steps": 20, "tolerance": math.inf}
    assert torch.equal(log_density(model, x, divergence=Hutchinson(2), **few).value, log_density(model, x, **few).value)


def test_forms_are_those_of_the_jacobian_batched_or_one_by_one(monkeypatch):
    x, v = torch.randn(3, 4, **D), torch.randn(5, 3, 4, **D)
    matrix = torch.randn(4, 4, **D)
    wanted = torch.einsum("pbi,bij,pbj->pb", v, matrix * (1 - torch.tanh(x @ matrix.T) ** 2)[..., None], v)
    for together in (1, 24, 10**6):
        monkeypatch.setattr(pulled, "TOGETHER", together)
        torch.testing.assert_close(forms(lambda y: torch.tanh(y @ matrix.T), x, v)[1], wanted)
    assert not forms(torch.zeros_like, x, v)[1].any()

    class Alone(torch.autograd.Function):  # without a batching rule
        @staticmethod
        def forward(ctx, y):
            return 2 * y

        @staticmethod
        def backward(ctx, g):
            return 2 * g.detach().clone()

    torch.testing.assert_close(forms(Alone.apply, x, v)[1], 2 * (v**2).sum(2))


def test_rows_do_not_depend_on_the_batch(monkeypatch):
    x, model = SHARP.sample(5, Streams(0, range(5))), SHARP.denoiser(VP())
    monkeypatch.setattr(flow, "REFINEMENTS", 1)
    whole = log_density(model, x, steps=20, tolerance=0.02)  # some rows take more steps than others
    torch.testing.assert_close(log_density(model, x[4:], steps=20, tolerance=0.02).value, whole.value[4:])
    monkeypatch.setattr(flow, "ROWS_AT_ONCE", 4)
    torch.testing.assert_close(log_density(model, x, steps=20, tolerance=0.02).error, whole.error)
    known = correlated(6)
    x = known.sample(5, Streams(0, range(5)))
    few = {"divergence": Hutchinson(2, orthogonal), "steps": 20, "tolerance": math.inf}
    whole = log_density(known.denoiser(VP()), x, generator=Streams(7, range(5)), **few)
    torch.testing.assert_close(
        log_density(known.denoiser(VP()), x[2:4], generator=Streams(7, [2, 3]), **few).value, whole.value[2:4]
    )
    draws = Streams(7, range(5))
    first, second = (log_density(known.denoiser(VP()), x, generator=draws, **few).value for _ in range(2))
    torch.testing.assert_close(first, whole.value)
    assert bool((first != second).all())


def test_the_solver_is_of_order_four_and_its_error_is_told():
    x = MIX.sample(20, Streams(1, range(20)))
    model = MIX.denoiser(VP())
    fine = log_density(model, x, steps=160, tolerance=math.inf).value
    found = [log_density(model, x, steps=k, tolerance=math.inf) for k in (24, 48)]
    coarse, middle = (float((f.value - fine).square().mean().sqrt()) for f in found)
    assert math.log2(coarse / middle) > 3.5
    for f in found:
        assert float((f.value - fine).abs().max()) < 4 * float(f.solver.max())


def test_rows_that_are_hard_get_more_steps():
    x = SHARP.sample(30, Streams(0, range(30)))
    once = log_density(SHARP.denoiser(VP()), x, tolerance=math.inf)
    assert float(once.solver.max()) > 1e-3
    easy = once.solver <= 1e-3
    again = log_density(SHARP.denoiser(VP()), x)
    torch.testing.assert_close(again.value[easy], once.value[easy])
    assert bool((again.solver <= 1e-3).all())


def test_the_mismatch_of_the_prior_is_what_the_end_of_the_flow_differs_by():
    known = Gaussian(torch.tensor([2.0, -1.0], **D), torch.diag(torch.tensor([0.3, 4.0], **D)))
    noise = EDM(20.0)
    x = known.sample(20, Streams(0, range(20)))
    found = log_density(known.denoiser(noise), x, steps=80)
    gap = (found.value - known.log_density(x)).abs()
    assert float(gap.mean()) > 0.05
    torch.testing.assert_close(found.prior, gap, atol=0.02, rtol=0.05)  # cumulants of third order: (3/20)³ |z|³


def test_the_floor_is_what_its_noise_changes():
    known, floor = correlated(3), 0.02
    x = known.sample(20, Streams(0, range(20)))
    found = log_density(known.denoiser(EDM(1000.0)), x, steps=80, floor=floor)
    smooth = known.log_density(x, 1.0, floor)
    torch.testing.assert_close(found.value, smooth, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.floor, (smooth - known.log_density(x)).abs(), atol=2e-5, rtol=0.03)


def test_energies_guided_models_and_conditions_have_densities():
    variance, means = 0.5, torch.tensor([[1.0, -0.5], [-1.0, 0.3]], **D)

    def energy(c_in, c_time, label=None):
        """½|x_t − α m|²/(α² v + σ²) of VP, from its inputs at α² + σ² = 1: c_in = 1, c_time = ¼ log(σ/α)."""
        ratio2 = (8 * c_time).exp()[:, None]
        alpha2 = 1 / (1 + ratio2)
        centre = 0.0 if label is None else means[label]
        return 0.5 * (c_in - alpha2.sqrt() * centre) ** 2 / (alpha2 * variance + 1 - alpha2)

    model = Preconditioned(Energy(energy), VP(), score)
    x = 0.7 * torch.randn(4, 2, generator=torch.Generator().manual_seed(1), **D)
    label = torch.tensor([0, 1, 1, 0])
    for guided in (model, Free(model, 1.0)):
        found = log_density(guided, x, label=label)
        for k in range(4):
            wanted = Gaussian(means[label[k]], variance * torch.eye(2, **D)).log_density(x[k : k + 1])
            assert float(abs(found.value[k] - wanted)) < 3 * float(found.error[k])
    wanted = Gaussian(torch.zeros(2, **D), variance * torch.eye(2, **D)).log_density(x)
    torch.testing.assert_close(log_density(model, x).value, wanted, atol=1e-3, rtol=0)
    # N(m, v) guided with w is the Gaussian of mean w m: shifts add.
    found = log_density(Free(model, 2.0), x, label=label)
    wanted = torch.cat(
        [Gaussian(2 * means[k], variance * torch.eye(2, **D)).log_density(v[None]) for k, v in zip(label.tolist(), x)]
    )
    assert bool(((found.value - wanted).abs() < 3 * found.error).all())


def test_what_is_printed_is_a_row_a_line_with_its_parts():
    x = MIX.sample(10, Streams(0, range(10)))
    found = log_density(MIX.denoiser(VP()), x)
    lines = str(found).splitlines()
    assert len(lines) == 9
    assert lines[-1] == "… and 2 rows more"
    assert " nats (trace 0, solver " in lines[0]
    assert len(found[2:4]) == 2
    torch.testing.assert_close(found.error**2, found.trace**2 + found.solver**2 + found.prior**2 + found.floor**2)


class Exploding(Denoiser):
    noise, shape = VP(), (2,)

    def forward(self, xt, t, **cond):
        return torch.where(t > 0.4, -1e6 * xt**3, 0.0)


def test_bad_calls_say_what_is_wanted():
    known = MIX.denoiser(VP())
    two = torch.ones(2, 2, **D)
    for error, words, call in (
        (ShapeError, "the model is one of events", lambda: log_density(known, torch.zeros(2, 3))),
        (RangeError, "multiple of 4", lambda: log_density(known, two, steps=0)),
        (RangeError, "multiple of 4", lambda: log_density(known, two, steps=30)),
        (RangeError, "tolerance", lambda: log_density(known, two, tolerance=0.0)),
        (RangeError, "floor", lambda: log_density(known, two, floor=1e6)),
        (RangeError, "at least 2", lambda: log_density(known, two, divergence=Hutchinson(1))),
        (DataError, "not finite", lambda: log_density(known, two * math.nan)),
        (DataError, "not finite", lambda: log_density(known, two[:0])),
        (DataError, "numbers of size 180.* draws numbers of size", lambda: log_density(known, 127.5 * two + 52.7)),
        (RowsError, "row 0 changes", lambda: log_density(mixing(), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))),
        (DivergedError, "leave|finite|thousandfold|at step", lambda: log_density(Exploding(), two)),
    ):
        with pytest.raises(error, match=words):
            call()
    with pytest.raises(RangeError, match="cannot be told"):
        log_density(known, two, divergence=Difference())
    assert trace.Trace.of(None, 128).divergence == Exact()
    assert trace.Trace.of(None, 129).divergence == Hutchinson(8, orthogonal)


def mixing():
    return Preconditioned(lambda x, t: x / (1 + x.norm()), VP(), clean)
