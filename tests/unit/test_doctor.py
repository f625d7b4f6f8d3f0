"""Doctor's numbers where the truth is known in closed form, and its verdicts where walking shows who is right."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from scorefield import (
    EDM,
    MLP,
    VP,
    AnnealedLangevin,
    Energy,
    Heun,
    Langevin,
    Preconditioned,
    PredictorCorrector,
    data,
    doctor,
    exact,
    sample,
)
from scorefield.doctor import Finding, Verdict
from scorefield.errors import DataError, DivergedError, RangeError
from scorefield.models import Denoiser
from scorefield.objectives import Diffusion, Levels
from scorefield.recipes.drawing import Drawing
from scorefield.tensors import expand

GOOD, LOOK, BAD = Verdict


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(matrix):
    """The score x ↦ M x, whose Jacobian is M everywhere."""
    m = torch.tensor(matrix, dtype=torch.float64)
    return lambda x: (x.double() @ m.T).to(x.dtype)


# --- noise levels ----------------------------------------------------------------------------------------------------


def test_distances_of_a_known_triangle():
    found = doctor.distances(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]))
    assert tuple(found) == pytest.approx((5.0, 4.0, 3.0), rel=1e-12)


def test_overlap_is_the_normal_probability_of_the_paper():
    normal_cdf = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0).cdf
    for ratio, dim in ((1.05, 784), (1.3, 12), (2.0, 2)):
        centre, reach = math.sqrt(2 * dim) * (ratio - 1), 3 * ratio
        wanted = normal_cdf(torch.tensor(centre + reach)) - normal_cdf(torch.tensor(centre - reach))
        assert doctor.overlap(ratio, dim) == pytest.approx(float(wanted), abs=1e-7)


@pytest.mark.parametrize("dim", [50, 784, 3072])
def test_best_ratio_solves_the_equation_of_technique_2(dim):
    assert doctor.overlap(doctor.best_ratio(dim), dim) == pytest.approx(0.5, abs=1e-9)


def test_rungs_are_just_enough():
    top, floor, dim = 30.0, 0.01, 784
    count = doctor.rungs(top, floor, dim)
    step = (top / floor) ** (1 / (count - 1))
    fewer = (top / floor) ** (1 / (count - 2))
    assert step <= doctor.best_ratio(dim) < fewer


def test_the_copied_schedule_is_bad_and_the_default_is_not():
    x = data.digits8().train
    copied = Levels(20, 10**-2.9).levels(EDM(0.1))
    assert float(copied[0]) == pytest.approx(0.1)
    assert float(copied[7]) == pytest.approx(10 ** (-1 - 2 * 7 / 20))
    finding = doctor.noise_range(x, EDM(0.1), float(copied[-1]))
    assert finding.verdict is BAD
    assert "N(0, I)" in finding.words
    assert "modes do not mix" in finding.words
    found = doctor.distances(x)
    good = doctor.noise_range(x, EDM(found.largest), 0.01)
    assert good.verdict is GOOD
    assert good.numbers["mixing"] == pytest.approx(0.5 * math.exp(-(found.median**2) / 8 / found.largest**2))
    assert doctor.noise_range(x, EDM(found.median / 2), 0.01).verdict is LOOK
    assert doctor.noise_range(x, EDM(found.largest), found.median).verdict is BAD


def test_start_measures_how_far_from_the_data_a_walk_begins():
    # All rows close to one point at distance 10 of the origin: prior draws are √(10² + σ²d) away, noise reaches σ√d.
    dim, sigma = 400, 0.5
    x = torch.zeros(50, dim)
    x[:, 0] = 10.0 + 1e-3 * torch.arange(50.0)
    start = doctor.noise_range(x, EDM(sigma), 1e-5).numbers["start"]
    # median over 64 draws; one draw of |z|²/d has relative standard deviation √(2/d), and −2·10·z₁ adds 20σ/(100 + σ²d)
    spread = 0.5 * math.sqrt(2 / dim) + 0.5 * 20 * sigma / (100 + sigma**2 * dim)
    assert start == pytest.approx(math.sqrt(100 + sigma**2 * dim) / (sigma * dim**0.5), rel=4 * 1.25 * spread / 8)


def test_level_gaps_name_the_widest():
    finding = doctor.level_gaps(torch.tensor([1.0, 0.9, 0.45, 0.44]), 784)
    assert finding.numbers["widest ratio"] == pytest.approx(2.0)
    assert finding.verdict is LOOK
    assert doctor.level_gaps(Levels(103, 0.01).levels(EDM(29.6)), 784).verdict is GOOD
    with pytest.raises(RangeError, match="at least 2"):
        doctor.level_gaps(torch.tensor([1.0]), 2)


@pytest.mark.parametrize("noise", [VP(0.1, 3.0), EDM(2.0)])
def test_prior_mismatch_is_the_kl_of_gaussians(noise):
    x = torch.randn(500, 4, generator=generator(), dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5, 1.0]) + 0.7
    alpha, sigma = noise.scales(torch.ones((), dtype=torch.float64))
    mean, cov = x.mean(0), torch.cov(x.T, correction=0)
    ours = torch.distributions.MultivariateNormal(alpha * mean, alpha**2 * cov + sigma**2 * torch.eye(4).double())
    prior = torch.distributions.MultivariateNormal(torch.zeros(4).double(), sigma**2 * torch.eye(4).double())
    wanted = float(torch.distributions.kl_divergence(ours, prior))
    assert doctor.prior_mismatch(x, noise).numbers["nats"] == pytest.approx(wanted, rel=1e-9)


def test_prior_mismatch_needs_no_full_rank():
    x = torch.randn(20, 1, generator=generator()) @ torch.ones(1, 100)  # one direction among a hundred
    variance = 100 * float(x[:, 0].double().var(correction=0))
    shift = 100 * float(x[:, 0].double().mean()) ** 2
    wanted = 0.5 * (variance - math.log1p(variance)) + 0.5 * shift
    assert doctor.prior_mismatch(x, EDM(1.0)).numbers["nats"] == pytest.approx(wanted, rel=1e-5)


# --- fields ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [0.0, 0.5, 3.0])
def test_asymmetry_of_a_rotation_added_to_a_gradient(turn):
    # J = −I + turn·R with R = −Rᵀ: |J − Jᵀ|²/2|J|² = 4 turn² / 2(1 + turn²), whatever the probe
    x = torch.randn(8, 2, generator=generator(), dtype=torch.float64)
    found = doctor.asymmetry(linear([[-1.0, turn], [-turn, -1.0]]), x, probes=1, generator=generator())
    assert found.value == pytest.approx(2 * turn**2 / (1 + turn**2), abs=1e-12)
    assert found.error == pytest.approx(0.0, abs=1e-12)


def test_asymmetry_and_its_error_where_probes_differ():
    # A general matrix: probes scatter, the estimate must lie within its own error of the Frobenius ratio.
    m = torch.randn(12, 12, generator=generator(), dtype=torch.float64)
    wanted = float((m - m.T).square().sum() / (2 * m.square().sum()))
    x = torch.zeros(400, 12, dtype=torch.float64)
    found = doctor.asymmetry(lambda y: y @ m.T, x, probes=2, generator=generator(1))
    assert 0 < found.error < 0.05 * wanted
    assert abs(found.value - wanted) < 4 * found.error


def test_an_energy_is_a_gradient_field_and_a_swirl_is_not():
    network = MLP(2, width=16, out=1)
    nn.init.normal_(network.last.weight, generator=generator())
    x = torch.randn(8, 2, generator=generator())
    energy, swirl = Energy(network).requires_grad_(False), linear([[0.0, 1.0], [-1.0, 0.0]])
    assert doctor.asymmetry(energy, x, generator=generator()).value < 1e-9
    finding = doctor.gradient_field({"rest": (energy, x), "swirl": (swirl, x.double())}, generator=generator())
    assert finding.verdict is BAD
    assert "at swirl" in finding.words
    assert finding.numbers["at swirl"] == pytest.approx(2.0)


@pytest.mark.parametrize("eigenvalues", [(3.0, 1.0, 0.1), (0.5, -8.0, 0.2), (-1.0, -2.0, -5.0)])
def test_steepness_is_the_largest_eigenvalue_of_minus_the_jacobian(eigenvalues):
    basis = torch.linalg.qr(torch.randn(3, 3, generator=generator(), dtype=torch.float64)).Q
    m = -(basis * torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T
    found = doctor.steepness(lambda x: x @ m.T, torch.zeros(2, 3).double(), iterations=60, generator=generator())
    assert found.tolist() == pytest.approx([max(eigenvalues)] * 2, rel=1e-3)


def test_steepness_is_one_over_sigma_squared_for_a_point():
    point = exact.Gaussian(torch.zeros(3), 1e-8 * torch.eye(3)).denoiser(EDM(2.0))
    t = torch.tensor(0.25)
    found = doctor.steepness(lambda x: point.score(x, t), torch.randn(4, 3, generator=generator()))
    assert found.tolist() == pytest.approx([1 / 0.5**2] * 4, rel=1e-4)


def test_langevin_called_unstable_diverges_and_called_stable_does_not():
    score, x = linear([[-50.0, 0.0], [0.0, -1.0]]), torch.ones(4, 2, dtype=torch.float64)
    for size, verdict in ((2.2 / 50, BAD), (1.2 / 50, LOOK), (0.5 / 50, GOOD)):
        sampler = Langevin(size)
        finding = doctor.stability(sampler, score, {0.0: x}, iterations=40, generator=generator())
        assert finding.verdict is verdict
        assert finding.numbers["at the data"] == pytest.approx(25 * size, rel=1e-6)
        if verdict is BAD:
            with pytest.raises(DivergedError):
                sample(score, 4, steps=500, sampler=sampler, shape=(2,))
        else:
            assert sample(score, 4, steps=500, sampler=sampler, shape=(2,)).abs().max() < 10


class Steep(Denoiser):
    """A denoiser whose score is ``times`` too steep at every level: what an overshooting network does."""

    def __init__(self, noise, times):
        super().__init__()
        self.noise, self.times = noise, times

    def forward(self, xt, t, **cond):
        return xt - self.times * xt


@pytest.mark.parametrize(
    ("sampler", "limit"), [(AnnealedLangevin(60, 0.1), 20.0), (PredictorCorrector(Heun(), 60, 0.2), 25.0)]
)
def test_annealed_steps_called_unstable_diverge(sampler, limit):
    # h = ε σ² (2 snr² σ²) and λ = times/σ²: stable iff ε·times < 2
    for times, verdict in ((1.3 * limit, BAD), (0.4 * limit, GOOD)):
        model = Steep(EDM(5.0), times)
        grid = torch.tensor([1.0, 0.9, 0.8, 0.7]).double()
        x = model.noise.prior(torch.empty(4, 3), generator())
        finding = doctor.stability(sampler, model, {0.9: x}, generator=generator())
        assert finding.numbers["at sigma/alpha 4.5"] == pytest.approx(times / limit, rel=1e-3)
        assert finding.verdict is verdict
        if isinstance(sampler, AnnealedLangevin):
            walk = sampler.walk(model, x, grid, generator())
            if verdict is BAD:
                with pytest.raises(DivergedError):
                    list(walk)
            else:
                assert list(walk)[-1].x.abs().max() < 100


def test_samplers_without_langevin_steps_need_no_check():
    finding = doctor.stability(Heun(), Steep(EDM(5.0), 99.0), {0.9: torch.ones(2, 2)})
    assert finding.verdict is GOOD
    assert "Not needed" in finding.words


def test_row_dependence_names_the_layer():
    mixing = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    finding = doctor.row_dependence(mixing, torch.ones(2, 2))
    assert finding.verdict is BAD
    assert "BatchNorm1d" in finding.words
    assert doctor.row_dependence(nn.Linear(2, 2), torch.ones(2, 2)).verdict is GOOD


# --- trained models --------------------------------------------------------------------------------------------------


class Scaled(Denoiser):
    """The exact denoiser of N(0, I) for every level but one, where ε̂ has the wrong sign."""

    def __init__(self, noise, wrong):
        super().__init__()
        self.noise, self.wrong = noise, wrong

    def forward(self, xt, t, **cond):
        alpha, sigma = self.noise.at(t, xt)
        epsilon = sigma * xt / (alpha**2 + sigma**2)
        flip = (self.noise.ratio(torch.as_tensor(t)).double() - self.wrong).abs() < 1e-6 * self.wrong
        return (xt - sigma * torch.where(expand(flip, xt), -epsilon, epsilon)) / alpha


def test_a_level_worse_than_zero_is_named():
    noise, x = EDM(100.0), torch.randn(256, 5, generator=generator())
    finding = doctor.better_than_zero(Scaled(noise, 100.0), x)
    assert finding.verdict is BAD
    assert "At noise level 1e+02 the model is worse" in finding.words
    # E|ε̂ − z|²/E|z|²: ε̂ = −σx_t/(1 + σ²) gives (1 + σ²/(1 + σ²))² + σ²/(1 + σ²)² ≈ 4
    assert finding.numbers["at 1e+02"] == pytest.approx(4.0, rel=1e-2)
    right = doctor.better_than_zero(Scaled(noise, -1.0), x)
    assert right.verdict is LOOK  # at σ = 0.01 a Gaussian hides nothing: the best model equals zero within a percent
    assert right.numbers["at 1e+02"] < 1e-3


def test_better_than_zero_everywhere_where_the_data_have_fine_detail():
    point = exact.Gaussian(torch.zeros(3), 1e-8 * torch.eye(3)).denoiser(EDM(50.0))
    assert doctor.better_than_zero(point, 1e-4 * torch.randn(64, 3, generator=generator())).verdict is GOOD


def test_planted_copies_are_found_and_fresh_rows_are_not():
    train, held, fresh = (torch.randn(300, 16, generator=generator(k)) for k in range(3))
    assert doctor.copied(fresh, train, held).verdict is GOOD
    planted = torch.cat([train[:60] + 0.01 * fresh[:60], fresh[60:]])
    finding = doctor.copied(planted, train, held)
    assert finding.verdict is BAD
    assert finding.numbers["copies"] == pytest.approx(0.2 + finding.numbers["held-out rows"], abs=4 * 0.03)
    near = doctor.copied(0.5 * fresh + 0.5 * train, train, held)
    assert near.verdict is not GOOD


# --- everything together ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """What doctor needs of an experiment."""

    model: object
    data: object
    objective: object = field(default_factory=Diffusion)
    drawing: Drawing = field(default_factory=lambda: Drawing(steps=8))


@dataclass(frozen=True)
class Trained:
    """What doctor needs of a run."""

    experiment: Parts
    model: object

    def sample(self, n):
        return self.experiment.data.train[:n]


def verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    return {finding.what: finding.verdict for finding in findings}


def test_data_alone_get_advice_that_the_noise_check_accepts():
    x = data.digits8()
    (finding,) = doctor.examine(x)
    assert finding.verdict is GOOD
    twins = torch.arange(4.0)[:, None].repeat(2, 1)
    assert doctor.examine(twins)[0].verdict is BAD


def test_a_recipe_is_judged_before_anyone_trains_it():
    x = data.digits8()
    copied = Preconditioned(lambda x, t: x, EDM(0.1))
    drawing = Drawing(AnnealedLangevin(), times=torch.tensor([1.0, 0.02, 0.0]))
    found = verdicts(doctor.examine(Parts(copied, x, Diffusion(Levels(20, 10**-2.9)), drawing)))
    assert found == {"distances": GOOD, "noise range": BAD, "level gaps": GOOD, "prior": BAD, "rows": GOOD}
    sane = verdicts(doctor.examine(Parts(Preconditioned(lambda x, t: x, VP()), x)))
    assert sane == {"distances": GOOD, "noise range": GOOD, "prior": GOOD, "rows": GOOD}


def test_a_run_is_judged_with_its_trained_model():
    x = torch.randn(400, 16, generator=generator())
    rows = data.Dataset(x[:300], x[300:], data.Scaling.identity())
    known = exact.Gaussian(torch.zeros(16), torch.eye(16)).denoiser(VP())
    run = Trained(Parts(known, rows, drawing=Drawing(PredictorCorrector(), 8)), known)
    found = verdicts(doctor.examine(run))
    assert found["gradient field"] is GOOD
    assert found["step size"] is GOOD
    assert found["copies"] is BAD  # this run's samples are its training rows
    assert verdicts(doctor.examine(run, samples=0)).keys() == found.keys() - {"copies"}


def test_a_static_score_is_tried_at_the_data():
    x = torch.randn(40, 2, generator=generator())
    rows = data.Dataset(x[:30], x[30:], data.Scaling.identity())
    score = nn.Linear(2, 2, bias=False)
    score.weight.data = torch.tensor([[-1.0, 0.0], [0.0, -30.0]])
    found = {
        f.what: f for f in doctor.examine(Trained(Parts(score, rows, None, Drawing(Langevin(0.1))), score), samples=0)
    }
    assert found.keys() == {"distances", "rows", "gradient field", "step size"}
    assert found["step size"].verdict is BAD
    assert found["step size"].numbers["at the data"] == pytest.approx(0.5 * 0.1 * 30, rel=1e-3)


def test_what_cannot_be_examined_is_refused():
    with pytest.raises(DataError, match="doctor of int"):
        doctor.examine(3)


def test_findings_print_as_one_line():
    finding = Finding("prior", LOOK, {"nats": 0.51234}, "Half a nat from the prior.")
    assert str(finding) == "[look] prior: Half a nat from the prior. (nats 0.5123)"
