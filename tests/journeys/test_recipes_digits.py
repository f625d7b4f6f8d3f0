"""Digits: the folder a run leaves, and a judgement that tells copies and noise from digits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from scorefield import exact
from scorefield.errors import DivergedError
from scorefield.recipes import Finished, find
from scorefield.recipes.drawing import Drawing

TINY = {"data": "digits8", "patch": 1, "width": 8, "steps": 6, "batch": 16, "samples": 100, "judge_steps": 150}


def test_a_short_run_leaves_a_whole_folder(tmp_path):
    lines = []
    find("digits")(**TINY, sampling_steps=4).run(tmp_path / "run", show=lines.append)
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"run.json", "model.safetensors", "average.safetensors", "state", "log.jsonl"} <= made
    assert {"loss.png", "samples.png", "sheet.png", "walk.png", "report.json"} <= made
    from PIL import Image

    with Image.open(tmp_path / "run" / "sheet.png") as sheet:
        assert sheet.size == (16 * 20 - 4, 16 * 20 - 4)  # 256 images of 8 pixels and a gap of 2, twice as large
    assert "confident" in lines[-1]


def test_a_run_at_full_size_of_a_few_steps(tmp_path):
    small = {"width": 16, "multipliers": (1, 1), "blocks": 1, "batch": 8, "bfloat16": False, "sampling_steps": 2}
    found = find("digits")(**small, steps=2, samples=100, judge_steps=5).run(tmp_path / "run", show=str)
    assert found["frechet"].value > 10 * found["frechet"].reference


@pytest.fixture
def digits8():
    return replace(find("digits")(**TINY), drawing=Drawing(steps=30), count=150)


def judged(experiment, model, tmp_path):
    model.register_parameter("place", nn.Parameter(torch.zeros(())))
    return experiment.report(Finished(experiment, model, tmp_path, 0.0, experiment.count))


def test_a_model_that_memorises_is_caught_copying(digits8, tmp_path):
    model = exact.Empirical(digits8.data.train).denoiser(digits8.model.noise)
    found = judged(digits8, model, tmp_path)
    assert found["copies"].value > 0.95
    assert found["copying_z"].value < -3
    assert found["entropy"].value > 0.9
    assert abs(found["confident"].value - found["confident"].reference) < 0.25
    assert found["frechet"].value < 3 * found["frechet"].reference


def test_noise_is_caught_being_no_digits(digits8, tmp_path):
    # Untrained, the network is zero and the model that of independent normal pixels.
    found = digits8.report(Finished(digits8, digits8.model.eval(), tmp_path, 0.0, digits8.count))
    assert found["copies"].value == 0
    assert found["frechet"].value > 3 * found["frechet"].reference
    assert found["coverage"].value < found["coverage"].reference / 2


def test_images_without_labels_are_compared_by_distances(tmp_path):
    from PIL import Image

    generator = np.random.default_rng(0)
    (tmp_path / "faces").mkdir()
    for k in range(60):
        Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "faces" / f"{k}.png")
    tiny = {**TINY, "data": str(tmp_path / "faces"), "batch": 8, "sampling_steps": 3}
    found = find("digits")(**tiny).run(tmp_path / "run", show=str)
    assert set(found) == {"mmd2", "sliced_w2", "training_seconds"}


def test_a_training_that_explodes_stops_with_the_step(tmp_path):
    wild = find("digits")(**{**TINY, "learning_rate": 1e30, "steps": 60, "warmup": 0.0})
    with pytest.raises(DivergedError, match=r"at step \d+"):
        wild.run(tmp_path / "run", show=str)
