"""The study of noise levels: parts are runs, finished parts are kept, and errors are those of seeds."""

import json
import math

import pytest
import torch

from scorefield.checkpoints import load
from scorefield.errors import RangeError, RunError
from scorefield.objectives import EvenLevels, Levels
from scorefield.recipes import find
from scorefield.recipes.schedules import picture, schedules, summary


def short(**more):
    return find("schedules")(steps=6, width=8, samples=100, seeds=2, levels=4, **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out, lines = tmp_path_factory.mktemp("study") / "out", []
    measures = short().run(out, show=lines.append, about={"recipe": "schedules", "arguments": {}})
    return out, measures, lines


def test_both_spacings_share_all_but_the_levels():
    study = short()
    geometric, even = study.experiments["geometric"][0], study.experiments["even"][0]
    assert geometric.model.noise == even.model.noise
    assert (geometric.steps, geometric.batch) == (even.steps, even.batch)
    first, second = geometric.model.state_dict(), even.model.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    for experiment, kind in ((geometric, Levels), (even, EvenLevels)):
        ladder = experiment.objective.times
        assert isinstance(ladder, kind)
        levels = ladder.levels(experiment.model.noise)
        walked = experiment.model.noise.ratio(experiment.drawing.times)
        assert torch.allclose(walked[:-1], levels)
        assert walked[-1] == 0
        assert len(levels) == 4
        steps = levels.log().diff() if kind is Levels else levels.diff()
        assert torch.allclose(steps, steps[0].expand(3), rtol=1e-9)


def test_the_study_leaves_runs_a_picture_and_a_table(made):
    out, measures, lines = made
    for name in ("geometric-0", "geometric-1", "even-0", "even-1"):
        assert load(out / name).shape == (1, 8, 8)
        assert (out / name / "loss.png").exists()
    assert (out / "schedules.png").stat().st_size > 5000
    parts = [json.loads((out / f"even-{k}" / "report.json").read_text())["measures"]["mmd2"]["value"] for k in (0, 1)]
    assert parts[0] != parts[1]
    assert measures["even: mmd2"].value == pytest.approx(sum(parts) / 2)
    assert measures["even: mmd2"].error == pytest.approx(abs(parts[0] - parts[1]) / 2)
    assert "even: mmd2" in lines[-1]


def test_finished_parts_are_not_run_again_and_missing_ones_are(made):
    out, measures, _ = made
    kept = (out / "even-0" / "average.safetensors").stat().st_mtime_ns
    (out / "even-1" / "report.json").unlink()
    again = short().run(out, resume=True, show=lambda _: None)
    assert (out / "even-0" / "average.safetensors").stat().st_mtime_ns == kept
    assert again["even: mmd2"].value == measures["even: mmd2"].value


def test_a_folder_that_holds_a_study_is_refused(made):
    out, _, _ = made
    with pytest.raises(RunError, match="holds a run already"):
        short().run(out, show=lambda _: None)
    with pytest.raises(RunError, match="other rows"):
        short(data="digits").run(out, resume=True, show=lambda _: None)


def test_one_seed_has_no_error_bar():
    with pytest.raises(RangeError, match="seeds=1"):
        schedules(seeds=1)


def test_errors_are_those_of_the_mean_over_seeds():
    values = [1.0, 2.0, 6.0]
    parts = [{"mmd2": {"value": v, "reference": 0.5}, "held_out_at_1": {"value": v}} for v in values]
    found = summary({"even": parts})["even"]
    assert found.keys() == {"mmd2"}
    assert found["mmd2"].value == 3.0
    assert found["mmd2"].error == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))
    left, right = picture({"even": parts}).axes
    assert left.patches[0].get_height() == 3.0
    assert right.get_lines()[0].get_ydata().tolist() == [3.0]
