"""Classifier-free guidance against the closed form of a labelled Gaussian mixture."""

import math

import pytest
import torch

from scorefield.errors import RangeError
from scorefield.exact import Gaussian, Mixture
from scorefield.guidance import Free
from scorefield.laws import denoiser as law
from scorefield.models import Denoiser
from scorefield.noises import EDM, VP
from scorefield.objectives import Diffusion, Dropout
from scorefield.sampling import sample
from scorefield.tensors import Streams

D = {"dtype": torch.float64}
MEANS = torch.tensor([[-1.0, 0.0], [1.5, 0.5]], **D)
MIX = Mixture(torch.tensor([1.0, 1.0], **D), MEANS, 0.3 * torch.eye(2, **D))


class Labelled(Denoiser):
    """The exact denoiser of the mixture, and of one component where a label 0 or 1 is given; label 2 is none."""

    noise = VP()
    shape = (2,)

    def forward(self, xt, t, label=None, **cond):
        plain = MIX.denoiser(self.noise)(xt, t)
        if label is None:
            return plain
        parts = torch.stack([Gaussian(m, 0.3 * torch.eye(2, **D)).denoiser(self.noise)(xt, t) for m in MEANS])
        return torch.where((label == 2)[:, None], plain, parts[label.clamp(max=1), torch.arange(len(xt))])


X = torch.tensor([[0.2, 0.3], [1.0, -1.0], [-0.5, 0.4]], **D)
T, LABEL = torch.tensor([0.2, 0.5, 0.8], **D), torch.tensor([0, 1, 1])


def test_the_guided_score_is_the_marginal_score_plus_w_times_the_gradient_of_the_class_log_probability():
    x, weight = X.clone().requires_grad_(), 2.5
    alpha, sigma = VP().scales(T)
    joint = torch.stack([Gaussian(m, 0.3 * torch.eye(2, **D)).log_density(x, alpha, sigma) for m in MEANS], 1)
    log_class = joint.log_softmax(1)[torch.arange(3), LABEL]
    (gradient,) = torch.autograd.grad(log_class.sum(), x)
    wanted = MIX.score(X, alpha, sigma) + weight * gradient
    torch.testing.assert_close(Free(Labelled(), weight).score(X, T, label=LABEL), wanted)


def test_weight_zero_forgets_and_weight_one_is_the_conditional_model():
    model = Labelled()
    torch.testing.assert_close(Free(model, 0.0)(X, T, label=LABEL), model(X, T))
    torch.testing.assert_close(Free(model, 1.0)(X, T, label=LABEL), model(X, T, label=LABEL))
    torch.testing.assert_close(Free(model, 3.0)(X, T), model(X, T))


def test_outside_its_interval_each_row_is_the_conditional_model():
    model, ratio = Labelled(), VP().ratio(T)
    guided = Free(model, 2.0, float(ratio[0]) * 1.1, float(ratio[2]) * 0.9)(X, T, label=LABEL)
    conditional, free = model(X, T, label=LABEL), Free(model, 2.0)(X, T, label=LABEL)
    torch.testing.assert_close(guided[[0, 2]], conditional[[0, 2]])
    torch.testing.assert_close(guided[1], free[1])
    assert not torch.allclose(free[1], conditional[1])
    nowhere = Free(model, 2.0, 1e3, 1e4)
    torch.testing.assert_close(nowhere(X, T, label=LABEL), conditional)


def test_conditional_samples_have_the_moments_of_their_component():
    n = 2000
    label = torch.arange(n) % 2
    torch.set_default_dtype(torch.float64)
    try:
        x = sample(Free(Labelled(), 1.0), n, steps=40, label=label, chunk=300)
    finally:
        torch.set_default_dtype(torch.float32)
    for k in range(2):
        mine = x[label == k]
        assert ((mine.mean(0) - MEANS[k]).abs() < 5 * math.sqrt(0.3 / len(mine)) + 0.01).all()
        assert ((mine.var(0) - 0.3).abs() < 5 * 0.3 * math.sqrt(2 / len(mine)) + 0.01).all()


def test_a_guided_denoiser_is_a_denoiser():
    law(Free(Labelled(), 1.7, 0.1, 2.0), X.repeat(2, 1)[:4])


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"weight": math.inf}, {"low": 2.0, "high": 1.0}])
def test_impossible_guidance_is_refused(wrong):
    with pytest.raises(RangeError, match="Free"):
        Free(Labelled(), **wrong)


def test_dropout_forgets_its_part_of_the_labels_row_by_row():
    seen = []

    class Listening(Denoiser):
        noise = EDM(10.0)

        def forward(self, xt, t, label=None, **cond):
            seen.append(label.clone())
            return xt

    n = 20_000
    label = torch.arange(n) % 10
    Dropout(Diffusion(), 0.2, null=10)(Listening(), torch.zeros(n, 2), Streams(0, range(n)), label=label)
    forgotten = seen[0] == 10
    assert torch.equal(seen[0][~forgotten], label[~forgotten])
    assert abs(float(forgotten.double().mean()) - 0.2) < 5 * math.sqrt(0.16 / n)
    Dropout(Diffusion(), 0.2, null=10)(Listening(), torch.zeros(5, 2), Streams(0, range(5)), label=label[:5])
    assert torch.equal(seen[1], seen[0][:5])
    with pytest.raises(RangeError, match="probability"):
        Dropout(part=1.5)


def test_labels_outside_the_training_set_are_refused_by_row():
    from scorefield.models import Preconditioned
    from scorefield.networks import UNet

    model = Preconditioned(UNet(size=4, width=4, multipliers=(1,), blocks=1, classes=3), EDM(10.0))
    for guided in (model, Free(model, 2.0)):
        assert sample(guided, 2, steps=2, label=torch.tensor([0, 3])).isfinite().all()
        with pytest.raises(RangeError, match="label 4 in row 1, 3: it was trained on labels 0 to 2"):
            sample(guided, 4, steps=2, chunk=1000, label=torch.tensor([0, 4, 1, -1]))
        with pytest.raises(RangeError, match="in row 3"):
            sample(guided, 4, steps=2, chunk=2, label=torch.tensor([0, 1, 1, 9]))
