"""How a run draws: labels that are a function of seed and number, guidance, and training that is given the labels."""

import math

import pytest
import torch

from scorefield.data import Dataset, Scaling
from scorefield.describe import build, describe
from scorefield.errors import RangeError
from scorefield.exact import Gaussian
from scorefield.models import Denoiser
from scorefield.noises import VP
from scorefield.objectives import Diffusion
from scorefield.recipes.drawing import Drawing
from scorefield.recipes.experiment import Experiment
from scorefield.samplers import Heun

MEANS = torch.tensor([[-2.0, 0.0], [2.0, 1.0]])


class Labelled(Denoiser):
    """The exact denoiser of one of two Gaussians, with one weight so that it can be trained."""

    shape = (2,)

    def __init__(self):
        super().__init__()
        self.noise = VP()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, xt, t, label=None, **cond):
        parts = torch.stack([Gaussian(mean, 0.1 * torch.eye(2)).denoiser(self.noise)(xt, t) for mean in MEANS])
        if label is None:
            return self.weight * parts.mean(0)
        self.seen.append(label.clone())
        return self.weight * parts[label.clamp(max=1), torch.arange(len(xt))]


def test_labels_are_even_and_a_function_of_seed_and_number():
    drawing, n = Drawing(classes=10), 20_000
    labels = drawing.labels(n, seed=3)
    assert torch.equal(labels[:7], drawing.labels(7, seed=3))
    assert not torch.equal(labels[:50], drawing.labels(50, seed=4))
    counts = labels.bincount(minlength=10)
    assert len(counts) == 10
    assert ((counts - n / 10).abs() < 5 * math.sqrt(n * 0.09)).all()
    assert drawing.labels(3, label=7).tolist() == [7, 7, 7]


def test_labels_of_no_class_are_refused():
    with pytest.raises(RangeError, match="labels are 0 to 9"):
        Drawing(classes=10).labels(3, label=10)
    with pytest.raises(RangeError, match="the run has no labels"):
        Drawing().sample(Labelled(), 3, shape=(2,), label=1)
    with pytest.raises(RangeError, match="at least 1 step"):
        Drawing(steps=0)


def test_samples_follow_their_labels():
    drawing, n = Drawing(steps=30, classes=2), 600
    x = drawing.sample(Labelled(), n, shape=(2,), seed=5)
    labels = drawing.labels(n, seed=5)
    for k in range(2):
        mine = x[labels == k]
        assert ((mine.mean(0) - MEANS[k]).abs() < 5 * math.sqrt(0.1 / len(mine)) + 0.02).all()
    one = drawing.sample(Labelled(), 50, shape=(2,), label=1)
    assert ((one.mean(0) - MEANS[1]).abs() < 5 * math.sqrt(0.1 / 50) + 0.02).all()
    *_, last = drawing.walk(Labelled(), 50, shape=(2,), seed=5)
    torch.testing.assert_close(last.x, x[:50])


def test_guidance_moves_samples_away_from_the_other_class():
    plain, guided = (
        Drawing(steps=30, classes=2, weight=w).sample(Labelled(), 200, shape=(2,), label=1) for w in (1.0, 1.5)
    )
    assert float((guided - plain)[:, 0].min()) > 0.5  # x̂ + ½(x̂_c − x̂) with |x̂_c − x̂| = 2 in the first coordinate


def test_a_drawing_is_described():
    drawing = Drawing(Heun(), 7, torch.tensor([1.0, 0.5, 0.0]), 10, 1.2, 0.2, 3.0)
    again = build(describe(drawing))
    assert describe(again) == describe(drawing)
    assert again.sampler == Heun()
    assert torch.equal(again.times, drawing.times)


@pytest.mark.parametrize("classes", [2, None])
def test_training_is_given_the_labels_of_its_rows(tmp_path, classes):
    labels = torch.arange(40) % 2
    x = MEANS[labels] + 0.1 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    data = Dataset(x[:32], x[32:], Scaling.identity(), labels=labels[:32], held_out_labels=labels[32:])
    model = Labelled()
    Experiment(model, Diffusion(), data, steps=3, batch=8, drawing=Drawing(steps=3, classes=classes), count=0).run(
        tmp_path / "run"
    )
    trained = [label for label in model.seen if len(label) == 8]
    assert bool(trained) == (classes is not None)
    for label in trained:
        assert set(label.tolist()) <= {0, 1}
