"""The recipe mlp: a short run, and arrows of a plane that are the score of the projected density."""

import json
import math

import pytest
import torch

from scorefield import EDM, VP, exact
from scorefield.recipes import find
from scorefield.recipes.mlp import Flat, field_error
from scorefield.recipes.projection import Plane, picture


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_short_run_leaves_a_whole_folder(tmp_path):
    experiment = find("mlp")(data="digits8", steps=8, width=16, samples=100, judge_steps=5, sampling_steps=5)
    measures = experiment.run(tmp_path / "run", show=lambda _: None, about={"recipe": "mlp", "arguments": {}})
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"field.png", "loss.png", "samples.png", "walk.png", "report.json", "average.safetensors"} <= made
    report = json.loads((tmp_path / "run" / "report.json").read_text())["measures"]
    assert report["field_at_5"]["value"] == measures["field_at_5"].value
    assert {"confident", "frechet"} <= measures.keys()


def test_flat_is_the_network_on_vectors():
    flat = Flat((2, 3), width=8)
    flat.network.last.weight.data.normal_(generator=generator())
    x, t = torch.randn(4, 2, 3, generator=generator(1)), torch.rand(4, generator=generator(2))
    assert torch.equal(flat(x, t).flatten(1), flat.network(x.flatten(1), t))


@pytest.fixture
def rows():
    x = torch.randn(300, 12, generator=generator()) * torch.linspace(3, 0.2, 12)
    return (x + 0.5).reshape(300, 3, 4)


@pytest.mark.parametrize("noise", [EDM(9.0), VP()])
@pytest.mark.parametrize("ratio", [0.7, 3.0])
def test_the_mean_of_the_projected_score_is_the_score_of_the_projection(rows, noise, ratio):
    # for the exact denoiser of the rows, both sides are known; draws scatter as 1/√draws
    plane, model = Plane(rows), exact.Empirical(rows.flatten(1)).denoiser(noise)
    flat = Plane(rows.flatten(1))
    u = plane.places[:40] + ratio * torch.randn(40, 2, generator=generator(1))
    t = noise.time(torch.tensor(ratio, dtype=torch.float64))
    truth = flat.true_score(u, ratio)
    errors = []
    for k in range(8):
        errors.append(flat.score(model, t, u, draws=64, generator=generator(10 + k)) - truth)
    mean, scatter = torch.stack(errors).mean(0), torch.stack(errors).std(0)
    # the pooled squared error of a mean of 8 is an eighth of the pooled variance: 80 numbers, relative error √(2/80)
    assert 8 * mean.square().sum() / scatter.square().sum() < 1 + 5 * math.sqrt(2 / 80)
    assert truth.square().mean() > 10 * mean.square().mean()


def test_the_true_score_is_the_gradient_of_the_projected_density(rows):
    plane, ratio = Plane(rows.double()), 1.3
    u = (plane.places[:5] + 0.5).requires_grad_()
    squared = (u[:, None] - plane.places[None]).square().sum(-1)
    log_density = (-squared / (2 * ratio**2)).logsumexp(1)
    (slope,) = torch.autograd.grad(log_density.sum(), u)
    assert torch.allclose(plane.true_score(u.detach(), ratio), slope, atol=1e-9)


def test_field_error_tells_right_from_wrong(rows):
    flat = rows.flatten(1)
    right = exact.Empirical(flat).denoiser(EDM(9.0))
    wrong = exact.Gaussian(flat.mean(0) + 4, torch.eye(12)).denoiser(EDM(9.0))
    assert field_error(right, flat, 1.0) < 0.2
    assert field_error(wrong, flat, 1.0) > 1.0


def test_the_picture_shows_every_class_at_every_level(rows):
    labels = torch.arange(300) % 3
    model = exact.Empirical(rows.flatten(1)).denoiser(EDM(9.0))
    image = picture(model, rows.flatten(1), labels, (0.5, 2.0), shown=90, n=5)
    panels = [ax for ax in image.axes if ax.get_title()]
    assert [ax.get_title()[-3:].strip("= ") for ax in panels] == ["0.5", "2"]
    for ax in panels:
        assert sum(len(points.get_offsets()) for points in ax.collections[:3]) == 90
