"""The toys of the plane: the report tells right from wrong, and training gets there."""

import json
import time

import pytest
import torch
from torch import nn

from scorefield import exact
from scorefield.recipes import Finished, find
from scorefield.recipes.toys import circle

NAMES = ["moons", "rings", "checkerboard", "spirals", "mixture"]


def short(name, **more):
    return find(name)(rows=600, steps=12, batch=64, width=16, depth=1, samples=200, sampling_steps=5, **more)


@pytest.mark.parametrize("name", NAMES)
def test_a_short_run_leaves_a_whole_folder(name, tmp_path):
    lines = []
    measures = short(name).run(tmp_path / "run", show=lines.append, about={"recipe": name})
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"run.json", "model.safetensors", "average.safetensors", "state", "log.jsonl"} <= made
    assert {"loss.png", "samples.png", "walk.png", "portrait.png", "report.json"} <= made
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["measures"]["mmd2"]["value"] == measures["mmd2"].value
    assert "sliced w2" in lines[-1]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 13))
    assert ("fisher" in log[-1]) == (name == "mixture")


@pytest.fixture
def mixture():
    return find("mixture")(rows=600, samples=1500, sampling_steps=30)


def judged(experiment, model, tmp_path):
    model.register_parameter("place", nn.Parameter(torch.zeros(())))  # reports ask where a model lives
    return experiment.report(Finished(experiment, model, tmp_path, 0.0, experiment.count))


def test_the_true_score_gets_the_floor_in_every_number(mixture, tmp_path):
    found = judged(mixture, circle(8, 0.1).denoiser(mixture.model.noise), tmp_path)
    assert abs(found["mmd2"].value) < 5 * found["mmd2"].error
    assert found["sliced_w2"].value < 2.5 * found["sliced_w2"].reference
    for level in ("0.1", "0.5", "2"):
        assert found[f"fisher_{level}"].value < 1e-6
    assert abs(found["log_density"].value - found["log_density"].reference) < 0.02


def test_a_wrong_score_is_seen_in_every_number(mixture, tmp_path):
    moved = circle(8, 0.1)
    wrong = exact.Mixture(moved.weights, moved.means + torch.tensor([0.6, 0.0]), moved.covariances)
    found = judged(mixture, wrong.denoiser(mixture.model.noise), tmp_path)
    assert found["mmd2"].value > 5 * found["mmd2"].error
    assert abs(found["sliced_w2"].value - 0.6 / 2**0.5) < 0.1  # a shift of 0.6 seen along random directions
    # At σ/α = 2 both densities are near one Gaussian, whose scores differ by α · shift / variance everywhere.
    t = mixture.model.noise.time(torch.tensor(2.0, dtype=torch.float64))
    alpha, sigma = (float(s) for s in mixture.model.noise.scales(t))
    assert found["fisher_2"].value == pytest.approx(0.5 * (alpha * 0.6 / (alpha**2 + sigma**2)) ** 2, rel=0.3)
    assert found["log_density"].value < found["log_density"].reference - 0.2


def test_training_comes_near_the_data(tmp_path):
    experiment = find("moons")(rows=4000, steps=500, batch=256, width=64, samples=1000)
    before = judged(experiment, experiment.model.eval(), tmp_path)["mmd2"]
    after = experiment.run(tmp_path / "run", show=str)["mmd2"]
    assert before.value > 5 * before.error
    assert after.value + 3 * after.error < before.value


@pytest.mark.slow
def test_moons_as_in_the_readme(tmp_path):
    """3,000 steps of batch 512: within twice the floor of two fresh samples, end to end under a minute."""
    started = time.perf_counter()
    found = find("moons")().run(tmp_path / "run", show=str)
    assert time.perf_counter() - started < 60
    assert found["mmd2"].value <= 2 * found["mmd2"].reference


def test_the_mixture_of_the_recipe_is_the_toy_of_the_data():
    from scorefield.data import mixture

    n = 40_000
    x = mixture(n, generator=torch.Generator().manual_seed(0))
    y = circle(8, 0.1).sample(n, torch.Generator().manual_seed(1))
    for f in (lambda z: z, lambda z: z**2, lambda z: z.norm(dim=1, keepdim=True) ** 4):
        a, b = f(x), f(y)
        assert ((a.mean(0) - b.mean(0)).abs() < 5 * ((a.var(0) + b.var(0)) / n).sqrt()).all()
