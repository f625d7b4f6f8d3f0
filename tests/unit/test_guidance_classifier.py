"""Guidance by the gradient of any log-probability, and by a weaker model, against closed forms."""

import math

import pytest
import torch
from torch import nn

from scorefield.errors import DivergedError, RangeError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.guidance import Auto, Free, Given, Tilt
from scorefield.laws import denoiser as law
from scorefield.laws import require_zero
from scorefield.models import Denoiser, Preconditioned, clean
from scorefield.noises import EDM, VP
from scorefield.sampling import sample
from scorefield.tensors import Streams

D = {"dtype": torch.float64}
NOISE = VP()
PARTS = [
    Gaussian(torch.tensor([-1.0, 0.0], **D), torch.tensor([[0.5, 0.2], [0.2, 0.3]], **D)),
    Gaussian(torch.tensor([1.5, 0.5], **D), 0.3 * torch.eye(2, **D)),
]
MIX = Mixture(torch.ones(2, **D), torch.stack([p.mean for p in PARTS]), torch.stack([p.covariance for p in PARTS]))
PLAIN = MIX.denoiser(NOISE)
X = torch.tensor([[0.2, 0.3], [1.0, -1.0], [-0.5, 0.4], [0.0, 0.1]], **D)
T, LABEL = torch.tensor([0.2, 0.4, 0.6, 0.9], **D), torch.tensor([0, 1, 1, 0])


def classifier(xt, t, label):
    """log p(label | x_t) of the mixture, exactly, at every noise level."""
    joint = torch.stack([-part.denoiser(NOISE).energy(xt, t) for part in PARTS], 1)
    return joint.log_softmax(1)[torch.arange(len(xt)), label]


def conditional(x, t, label):
    return torch.stack([part.denoiser(NOISE)(x, t) for part in PARTS])[label, torch.arange(len(x))]


def test_bayes_rule_holds_at_every_level():
    torch.testing.assert_close(Tilt(PLAIN, classifier)(X, T, label=LABEL), conditional(X, T, LABEL))


def test_the_weight_is_the_power_of_what_was_seen():
    step = conditional(X, T, LABEL) - PLAIN(X, T)
    torch.testing.assert_close(Tilt(PLAIN, classifier, 2.5)(X, T, label=LABEL), PLAIN(X, T) + 2.5 * step)
    torch.testing.assert_close(Tilt(PLAIN, classifier, 0.0)(X, T, label=LABEL), PLAIN(X, T))


def test_a_tilted_energy_has_the_tilted_score():
    tilted, x = Tilt(PLAIN, classifier, 1.7), X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(tilted.energy(x, T, label=LABEL).sum(), x)
    torch.testing.assert_close(tilted.score(X, T, label=LABEL), -slope)
    assert Tilt(Preconditioned(nn.Identity(), NOISE), classifier).energy is None


def test_it_works_without_gradients_and_differentiates_with_them():
    tilted = Tilt(PLAIN, classifier)
    with torch.no_grad():
        assert not tilted(X, T, label=LABEL).requires_grad
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(tilted(x, T, label=LABEL)[:, 0].sum(), x)
    h = 1e-5 * torch.tensor([1.0, 0.0], **D)
    difference = (tilted(X + h, T, label=LABEL) - tilted(X - h, T, label=LABEL)) / 2e-5
    torch.testing.assert_close(slope[:, 0], difference[:, 0], atol=1e-7, rtol=1e-6)


def test_a_seen_value_is_a_condition_like_any_other():
    seen = lambda x, t, y: -0.5 * ((y - x) ** 2).sum(1)  # noqa: E731
    alpha, sigma = NOISE.at(T, X)
    wanted = PLAIN(X, T) + sigma**2 / alpha * (1 - X)
    torch.testing.assert_close(Tilt(PLAIN, seen, names=("y",))(X, T, y=torch.ones_like(X)), wanted)
    bound = Tilt(PLAIN, lambda x, t: seen(x, t, 1.0), names=())
    torch.testing.assert_close(bound(X, T), wanted)


def test_the_model_is_not_told_what_the_classifier_is_told():
    class Told(Denoiser):
        noise = NOISE

        def forward(self, xt, t, **cond):
            assert set(cond) == {"place"}
            return PLAIN(xt, t)

    Tilt(Told(), classifier)(X, T, label=LABEL, place=T)


class Fixed(Denoiser):
    """A tilted model with its labels bound, row by row of x: for the law."""

    noise, shape = NOISE, (2,)

    def __init__(self, weight):
        super().__init__()
        self.model = Given(Tilt(PLAIN, classifier, weight), {"label": 1})

    def forward(self, xt, t, **cond):
        return self.model(xt, t)


@pytest.mark.parametrize("model", [Fixed(1.7), Auto(PLAIN, PARTS[0].denoiser(NOISE), 1.7, 0.1, 2.0)])
def test_guided_denoisers_are_denoisers(model):
    law(model, X)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Tilt(PLAIN, classifier, math.nan), RangeError, "finite"),
        (lambda: Tilt(PLAIN, classifier)(X, T), RangeError, "'label' is missing"),
        (lambda: Tilt(PLAIN, lambda x, t: x.sum(), names=())(X, T), ShapeError, "one number per row"),
        (lambda: Tilt(PLAIN, lambda x, t: x.detach().sum(1), names=())(X, T), RangeError, "no gradient"),
        (lambda: Auto(PLAIN, MIX.denoiser(EDM(80.0))), RangeError, "equal noise"),
        (lambda: Auto(PLAIN, PLAIN, -1.0), RangeError, "weight"),
        (lambda: Auto(PLAIN, PLAIN, 2.0, 2.0, 1.0), RangeError, "low must be below high"),
        (lambda: Free(PLAIN, rescale=1.5), RangeError, "rescale"),
    ],
)
def test_impossible_guidance_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_classifier_of_another_noise_is_refused():
    class Other(nn.Module):
        noise = EDM(80.0)

    with pytest.raises(RangeError, match="trained on"):
        Tilt(PLAIN, Other())


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def component(x, part):
    """Mean and covariance of x within five standard errors of the component's."""
    away = x - part.mean
    require_zero("samples", "mean", away)
    require_zero("samples", "covariance", away[:, :, None] * away[:, None, :] - part.covariance)


def test_samples_guided_by_the_exact_classifier_have_the_moments_of_the_component(double):
    n = 3000
    label = torch.arange(n) % 2
    x = sample(Tilt(PLAIN, classifier), n, steps=40, label=label)
    for k in range(2):
        component(x[label == k], PARTS[k])
    twice = sample(Tilt(PLAIN, classifier, 2.0), n, steps=40, label=label)
    with pytest.raises(AssertionError):
        component(twice[label == 0], PARTS[0])


def test_autoguidance_goes_away_from_the_weak_model_row_by_row_in_its_interval():
    weak = PARTS[0].denoiser(NOISE)
    ratio = NOISE.ratio(T)
    got = Auto(PLAIN, weak, 1.8, float(ratio[0]) * 1.1, float(ratio[2]) * 1.1)(X, T)
    better, line = PLAIN(X, T), weak(X, T) + 1.8 * (PLAIN(X, T) - weak(X, T))
    torch.testing.assert_close(got[[0, 3]], better[[0, 3]])
    torch.testing.assert_close(got[1:3], line[1:3])
    torch.testing.assert_close(Auto(PLAIN, weak, 1.0)(X, T), better)


def test_autoguidance_sharpens_a_model_that_is_too_wide(double):
    # Good: variance 1.1, weak: variance 1.3, truth: 1. At weight 1 + v_good⁻¹… the precision 1 is reached exactly at t = 0.
    good, weak = (Gaussian(torch.zeros(2), v * torch.eye(2)).denoiser(EDM(80.0)) for v in (1.1, 1.3))
    weight = (1 - 1 / 1.3) / (1 / 1.1 - 1 / 1.3)
    t = torch.tensor(1e-4)
    torch.testing.assert_close(Auto(good, weak, weight).score(X, t), -X, atol=1e-3, rtol=1e-3)


class Pictures(Denoiser):
    """Estimates of given mean and spread, with a label and without."""

    noise = NOISE

    def forward(self, xt, t, label=None):
        shape = torch.linspace(-1, 1, xt[0].numel(), **D).reshape(xt.shape[1:])
        return (0.2 + 0.5 * shape if label is None else 0.5 + shape).expand(xt.shape)


def test_rescaling_gives_each_row_the_spread_of_its_conditional_estimate():
    x, label = torch.zeros(4, 1, 3, 3, **D), torch.zeros(4)
    plain, wanted = Free(Pictures(), 3.0)(x, T, label=label), Pictures()(x, T, label=label)
    whole = Free(Pictures(), 3.0, rescale=1.0)(x, T, label=label)
    torch.testing.assert_close(whole.flatten(1).std(1), wanted.flatten(1).std(1))
    torch.testing.assert_close(whole / plain, (whole / plain)[:1, :1, :1, :1].expand_as(plain))
    torch.testing.assert_close(Free(Pictures(), 3.0, rescale=0.7)(x, T, label=label), 0.3 * plain + 0.7 * whole)
    torch.testing.assert_close(whole[:1], Free(Pictures(), 3.0, rescale=1.0)(x[:1], T[:1], label=label[:1]))


def test_rescaling_a_constant_estimate_leaves_it():
    net = lambda x, t, label=None: torch.zeros_like(x) if label is None else torch.ones_like(x)  # noqa: E731
    got = Free(Preconditioned(net, NOISE, clean), 2.0, rescale=1.0)(X, T, label=LABEL)
    torch.testing.assert_close(got, torch.full_like(X, 2.0))


def test_a_weight_that_makes_the_walk_diverge_is_named():
    far = lambda x, t, label: 1e9 * label * x[:, 0]  # noqa: E731
    with pytest.raises(DivergedError, match=r"smaller guidance weight than Tilt\(weight=3\)"):
        sample(Tilt(PLAIN, far, 3.0), 4, steps=5, label=torch.ones(4))

    class Labelled(Denoiser):
        noise, shape = NOISE, (2,)

        def forward(self, xt, t, label=None):
            return PLAIN(xt, t) if label is None else PLAIN(xt, t) + 1

    with pytest.raises(DivergedError, match=r"nearer 1 than Free\(weight=1e\+09\)"):
        sample(Free(Labelled(), 1e9), 4, steps=5, label=torch.ones(4))


def test_guided_rows_do_not_know_their_batch():
    tilted, n = Tilt(PLAIN, classifier, 1.3), 100
    x = MIX.sample(n, Streams(0, range(n)))
    label, t = torch.arange(n) % 2, torch.linspace(0.1, 0.9, n, **D)
    whole = tilted(x, t, label=label)
    for size in (1, 7):
        torch.testing.assert_close(tilted(x[:size], t[:size], label=label[:size]), whole[:size])
