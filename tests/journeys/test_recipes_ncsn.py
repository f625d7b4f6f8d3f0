"""The recipe ncsn: levels that follow the data, what it logs, and that doctor sees the copied schedule before training."""

import inspect
import json
import math

import pytest
import torch

from scorefield import doctor, exact
from scorefield.doctor import Verdict
from scorefield.errors import RangeError
from scorefield.noises import EDM
from scorefield.objectives import Levels, weights
from scorefield.recipes import find
from scorefield.recipes.ncsn import score_norms
from scorefield.samplers import AnnealedLangevin

COPIED = {"sigma_max": 0.1, "sigma_min": 10**-2.9, "levels": 20}


def ncsn(**more):
    return find("ncsn")(**{"data": "digits8", "width": 2, "steps": 6, "judge_steps": 5, **more})


def test_the_default_follows_the_data_and_the_dimension():
    experiment = ncsn()
    top, levels = experiment.model.noise.sigma_max, experiment.objective.times.levels(experiment.model.noise)
    assert top == doctor.distances(experiment.data.train).largest
    ratios = levels[:-1] / levels[1:]
    assert doctor.overlap(float(ratios.max()), 64) >= 0.5
    assert float(levels[-1]) == pytest.approx(0.01)
    assert torch.allclose(experiment.model.noise.ratio(experiment.drawing.times)[:-1], levels)


def test_the_textbook_is_what_the_options_say():
    experiment = ncsn(levels=20)
    assert experiment.objective.times == Levels(20, 0.01)
    assert experiment.objective.weight is weights.simple
    assert experiment.drawing.sampler == AnnealedLangevin(20, 0.1)
    assert len(experiment.drawing.times) == 21
    defaults = {name: each.default for name, each in inspect.signature(find("ncsn")).parameters.items()}
    assert (defaults["steps"], defaults["batch"], defaults["learning_rate"]) == (40_000, 128, 1e-4)
    assert experiment.training["clip"] == 1.0


def test_the_loss_is_the_weighted_score_matching_of_the_textbook():
    # σ²|s(x + σz, σ) + z/σ|² at a level, by the recipe's objective at that level
    experiment = ncsn(levels=3)
    model, t = experiment.model, experiment.drawing.times[1]
    model.network.last.weight.data.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    x, z = experiment.data.train[:5], torch.Generator().manual_seed(1)
    loss = experiment.objective.at(t, model, x, torch.Generator().manual_seed(1))
    sigma = float(model.noise.scales(t)[1])
    noise = torch.randn(x.shape, generator=z)
    wanted = 0.5 * sigma**2 * (model.score(x + sigma * noise, t) + noise / sigma).flatten(1).square().sum(1)
    assert torch.allclose(loss, wanted, rtol=1e-4)


def test_doctor_refuses_the_copied_levels_before_anyone_trains():
    found = {each.what: each for each in doctor.examine(ncsn(**COPIED))}
    assert found["noise range"].verdict is Verdict.BAD
    assert "N(0, I)" in found["noise range"].words
    assert found["prior"].verdict is Verdict.BAD
    default = {each.what: each.verdict for each in doctor.examine(ncsn())}
    assert set(default.values()) == {Verdict.GOOD}
    levels = ncsn(**COPIED).objective.times.levels(EDM(0.1))
    assert torch.allclose(levels, 10 ** (-1 - 2 * torch.arange(20.0).double() / 20))


def test_a_short_run_logs_the_length_of_the_score_at_every_level(tmp_path):
    out = tmp_path / "run"
    experiment = ncsn(levels=4, langevin_steps=2, samples=100)
    about = {
        "recipe": "ncsn",
        "arguments": {"data": "digits8", "width": 2, "levels": 4, "langevin_steps": 2, "steps": 6},
    }
    measures = experiment.run(out, show=lambda _: None, about=about)
    assert {"confident", "frechet"} <= measures.keys()
    assert (out / "norms.png").stat().st_size > 3000
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 6
    assert len(last["score_norm"]) == 4
    lines = len((out / "log.jsonl").read_text().splitlines())
    experiment.finish(out, lambda _: None)
    assert len((out / "log.jsonl").read_text().splitlines()) == lines
    found = {each.what for each in doctor.examine(out, samples=60)}
    assert {"held-out loss", "gradient field", "step size", "copies"} <= found


def test_score_norms_are_the_root_mean_square_of_the_score():
    known = exact.Gaussian(torch.zeros(50), 4 * torch.eye(50)).denoiser(EDM(3.0))
    x = 2 * torch.randn(2000, 50, generator=torch.Generator().manual_seed(0))
    norms = score_norms(known, x, torch.tensor([1.0, 0.5]).double())
    for level in (3.0, 1.5):  # |s|² (4 + σ²) is χ² with 50 × 2000 degrees of freedom
        wanted = math.sqrt(50 / (4 + level**2))
        assert norms[level] == pytest.approx(wanted, rel=4 * 0.5 * math.sqrt(2 / 100_000))


@pytest.mark.parametrize("options", [{"sigma_min": 0.5, "sigma_max": 0.1}, {"levels": 1}, {"levels": 5000}])
def test_levels_that_make_no_sense_are_refused(options):
    with pytest.raises(RangeError, match=r"sigma_min|levels|count"):
        ncsn(**options)
