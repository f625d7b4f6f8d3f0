"""Discrete models against enumeration: objectives are stationary at the truth under exact expectations, and fits say their errors."""

import math
from dataclasses import dataclass

import pytest
import torch

from scorefield.discrete import (
    ConditionalContrast,
    Contrast,
    Discrete,
    Flow,
    Gibbs,
    Independent,
    Ising,
    Likelihood,
    Normalised,
    Potts,
    PseudoLikelihood,
    RatioMatching,
    draw,
    fit,
    log_normaliser,
    sample,
    states,
)
from scorefield.errors import DataError, DivergedError, RangeError, ShapeError
from scorefield.objectives import Objective
from scorefield.tensors import Streams


def random(model, scale=0.4, seed=0):
    """The model with parameters of N(0, scale²)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(scale * torch.randn(weight.shape, generator=generator))
    return model


MODELS = [random(Ising(4)), random(Potts(3, 3))]
EXACT = [Likelihood(), PseudoLikelihood(), RatioMatching(), Flow()]


def name(thing):
    return type(thing).__name__


def weighted(model, objective, mass, seed=0):
    """The gradient of Σ_x mass(x) ℓ(θ; x) over all states."""
    every = states(model.dim, model.states)
    losses = objective(model, every, Streams(seed, range(len(every))))
    return torch.cat([g.flatten() for g in torch.autograd.grad((mass * losses).sum(), list(model.parameters()))])


def probability(model):
    with torch.no_grad():
        return model.log_density(states(model.dim, model.states)).softmax(0)


def stationary(model, objective):
    """The law: at the truth the gradient of the exact expectation vanishes, and elsewhere it does not."""
    here = weighted(model, objective, probability(model))
    there = weighted(model, objective, probability(random(type(model)(*sizes(model)), seed=9)))
    return float(here.abs().max()) < 1e-12 and float(there.abs().max()) > 1e-3


def sizes(model):
    return (model.dim,) if isinstance(model, Ising) else (model.dim, model.states)


@pytest.mark.parametrize("model", MODELS, ids=name)
@pytest.mark.parametrize("objective", EXACT, ids=name)
def test_stationary_at_the_truth_under_the_exact_expectation(model, objective):
    assert stationary(model, objective)


@pytest.mark.parametrize("model", MODELS, ids=name)
@pytest.mark.parametrize("objective", EXACT, ids=name)
def test_least_at_the_truth(model, objective):
    every, mass = states(model.dim, model.states), probability(model)
    with torch.no_grad():
        best = (mass * objective(model, every)).sum()
        for seed in range(5):
            other = random(type(model)(*sizes(model)), seed=seed + 1)
            assert (mass * objective(other, every)).sum() > best + 1e-4


@dataclass(frozen=True)
class WholeFlow(Objective):
    """A flow without its root."""

    def __call__(self, model, x, generator=None, **cond):
        return model.ratios(x).exp().sum((1, 2))


@dataclass(frozen=True)
class PlainRatios(Objective):
    """Ratio matching without its square."""

    def __call__(self, model, x, generator=None, **cond):
        return torch.sigmoid(model.ratios(x)).sum((1, 2))


@dataclass(frozen=True)
class Backwards(Objective):
    """Pseudo-likelihood with the ratios upside down."""

    def __call__(self, model, x, generator=None, **cond):
        return (-model.ratios(x)).logsumexp(2).sum(1)


@pytest.mark.parametrize("mutant", [WholeFlow(), PlainRatios(), Backwards()], ids=name)
def test_mutants_are_not_stationary(mutant):
    assert not stationary(MODELS[0], mutant)


class Undone(Ising):
    """An Ising model that counts every pair twice in its ratios."""

    def ratios(self, x):
        s = 2 * x.to(self.fields) - 1
        pull = 2 * s @ self.matrix + self.fields
        return torch.stack([-(s + 1) * pull, (1 - s) * pull], 2)


def test_wrong_ratios_are_seen():
    wrong = random(Undone(4))
    assert not stationary(wrong, PseudoLikelihood())


@pytest.mark.parametrize("model", [*MODELS, Normalised(MODELS[0])], ids=name)
def test_ratios_are_those_of_the_density(model):
    x = states(model.dim, model.states)
    torch.testing.assert_close(model.ratios(x), Discrete.ratios(model, x))
    for site in range(model.dim):
        torch.testing.assert_close(model.ratios_at(x, site), model.ratios(x)[:, site])
    assert len(model.names) == sum(weight.numel() for weight in model.parameters())


def test_potts_of_two_states_is_ising():
    potts, ising = random(Potts(3, 2)), Ising(3)
    j = torch.zeros(3, 3, dtype=torch.float64)
    j[potts.pairs[0], potts.pairs[1]] = potts.couplings.detach().flatten() / 4
    j = j + j.T
    ising.set(j, potts.fields.detach().flatten() / 2 + j.sum(1))
    torch.testing.assert_close(probability(ising), probability(potts))


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_contrast_is_stationary_where_the_log_normaliser_is_true(model):
    every, mass = states(model.dim, model.states), probability(model)
    noise = Independent.of(every[:5], model.states)
    true = float(log_normaliser(model).detach())
    for times in (1, 3):
        for start, wanted in ((true, True), (true - math.log(3), False)):
            whole = Normalised(model, start)
            log_p, log_noise = whole.log_density(every), noise.log_density(every) + math.log(times)
            tell = torch.nn.functional.softplus
            exact = (mass * tell(log_noise - log_p)).sum() + times * (
                noise.log_density(every).exp() * tell(log_p - log_noise)
            ).sum()
            slopes = torch.cat([g.flatten() for g in torch.autograd.grad(exact, list(whole.parameters()))])
            assert (float(slopes.abs().max()) < 1e-12) == wanted
            n = 20_000
            draws = draw(model, n, Streams(0, range(n)))
            seen = Contrast(noise, times)(whole, draws, Streams(1, range(n))).detach()
            assert abs(float(seen.mean() - exact.detach())) < 4 * float(seen.std()) / n**0.5


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_conditional_contrast_in_the_mean(model):
    n, objective = 40_000, ConditionalContrast(0.5, 1)
    x = draw(model, n, Streams(0, range(n)))
    weights = list(model.parameters())
    losses = objective(model, x, Streams(1, range(n)))
    slopes = []
    for chunk in losses.split(n // 40):
        slopes.append(torch.cat([g.flatten() for g in torch.autograd.grad(chunk.mean(), weights, retain_graph=True)]))
    slopes = torch.stack(slopes)
    assert float((slopes.mean(0) / (slopes.std(0) / 40**0.5)).abs().max()) < 4.5
    wrong = torch.autograd.grad(
        objective(model, states(model.dim, model.states)[:9], Streams(1, range(9))).mean(), weights
    )
    assert max(float(g.abs().max()) for g in wrong) > 0.05


@pytest.mark.parametrize("objective", [*EXACT, ConditionalContrast()], ids=name)
def test_row_by_row(objective):
    x = states(4)
    whole = objective(MODELS[0], x, Streams(0, range(16)))
    torch.testing.assert_close(objective(MODELS[0], x[5:9], Streams(0, range(5, 9))), whole[5:9])


def expected(model, x):
    """Frequencies against probabilities, as a chi-square with its degrees of freedom."""
    codes = (x * model.states ** torch.arange(model.dim - 1, -1, -1)).sum(1)
    mass = probability(model) * len(x)
    return float(((torch.bincount(codes, minlength=len(mass)) - mass) ** 2 / mass).sum()), len(mass) - 1


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_draws_have_the_frequencies_of_the_model(model):
    for x in (draw(model, 5000, Streams(0, range(5000))), sample(model, 5000, sweeps=20)):
        chi, freedom = expected(model, x)
        assert abs(chi - freedom) < 4.5 * math.sqrt(2 * freedom)


def test_one_sweep_leaves_the_model_invariant_and_a_wrong_model_does_not():
    model = MODELS[0]
    x = draw(model, 20_000, Streams(0, range(20_000)))
    for other, kept in ((model, True), (Undone(4), False)):
        other.load_state_dict(model.state_dict())
        other.fields.data[0] += 0.0 if kept else 0.3
        *_, y = Gibbs().walk(other, x, 2, Streams(1, range(20_000)))
        chi, freedom = expected(model, y)
        assert (abs(chi - freedom) < 4.5 * math.sqrt(2 * freedom)) == kept


def test_rows_of_samples_are_their_own():
    assert torch.equal(sample(MODELS[1], 3, sweeps=4), sample(MODELS[1], 7, sweeps=4)[:3])


@pytest.mark.parametrize("objective", [*EXACT, ConditionalContrast()], ids=name)
def test_fits_are_within_their_errors(objective):
    truth = MODELS[0]
    x = draw(truth, 4000, Streams(3, range(4000)))
    fitted = Ising(4)
    found = fit(fitted, objective, x)
    z = (found.theta - torch.cat([truth.couplings, truth.fields]).detach()) / found.standard_errors
    assert float(z.abs().max()) < 3.5
    assert float(z.square().mean()) > 0.1
    assert torch.equal(torch.cat([fitted.couplings, fitted.fields]).detach(), found.theta)
    slope = torch.autograd.grad(objective(fitted, x, Streams(0, range(4000))).mean(), list(fitted.parameters()))
    assert max(float(g.abs().max()) for g in slope) < 1e-6


def test_the_errors_of_maximum_likelihood_are_those_of_its_information():
    truth = MODELS[0]
    x = draw(truth, 4000, Streams(3, range(4000)))
    found = fit(model := Ising(4), Likelihood(), x)
    s = 2.0 * states(4).double() - 1
    i, j = model.pairs
    statistics, mass = torch.cat([s[:, i] * s[:, j], s], 1), probability(model)
    centred = statistics - mass @ statistics
    information = (centred * mass[:, None]).T @ centred
    wanted = (torch.linalg.inv(information).diagonal() / 4000).sqrt()
    torch.testing.assert_close(found.standard_errors, wanted, rtol=0.05, atol=0.0)


def test_contrast_finds_the_log_normaliser():
    x = draw(MODELS[0], 4000, Streams(3, range(4000)))
    found = fit(Normalised(Ising(4)), Contrast(Independent.of(x, 2), 5), x)
    assert abs(found["log Z"] - float(log_normaliser(MODELS[0]).detach())) < 3.5 * found.error("log Z")


def test_what_is_refused():
    x = draw(MODELS[0], 50, Streams(0, range(50)))
    for wrong in (lambda: Ising(0), lambda: Potts(2, 1), lambda: Contrast(Independent(torch.zeros(1, 2)), 0)):
        with pytest.raises(RangeError):
            wrong()
    for wrong in (lambda: ConditionalContrast(0.0), lambda: ConditionalContrast(times=0), lambda: states(40)):
        with pytest.raises(RangeError):
            wrong()
    with pytest.raises(RangeError, match="sweeps"):
        sample(MODELS[0], 2, sweeps=0)
    with pytest.raises(ShapeError, match="integers"):
        fit(Ising(4), PseudoLikelihood(), x.double())
    with pytest.raises(DataError, match=r"rows 0, 1.*spins"):
        fit(Ising(4), PseudoLikelihood(), 2 * torch.zeros(3, 4, dtype=torch.long) - torch.tensor([[1], [1], [0]]))
    constant = x.clone()
    constant[:, 1] = 1
    with pytest.raises((DataError, DivergedError)):
        fit(Ising(4), PseudoLikelihood(), constant)
    with pytest.raises(DataError, match="no rows"):
        Independent.of(x[:0], 2)
