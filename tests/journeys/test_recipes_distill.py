"""Distil: a tiny teacher, its walks, and a student that the command line can sample in one, two and four steps."""

import json

import pytest

from scorefield.checkpoints import save
from scorefield.cli import main
from scorefield.errors import RangeError, RunError
from scorefield.models import Preconditioned
from scorefield.networks import MLP
from scorefield.noises import VP
from scorefield.recipes import find
from scorefield.recipes.distill import evaluations

TEACHER = {
    "data": "digits8",
    "patch": 1,
    "width": 8,
    "blocks": 1,
    "steps": 30,
    "batch": 32,
    "samples": 0,
    "sampling_steps": 10,
}
TINY = {"walks": 64, "steps": 6, "batch": 16, "critic_width": 4, "samples": 100, "judge_steps": 20}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    how = {**TEACHER, "bfloat16": False}
    experiment = find("digits")(**how)
    object.__setattr__(experiment, "report", None)
    experiment.run(folder, show=str, about={"recipe": "digits", "arguments": how})
    return str(folder)


def test_a_student_is_trained_judged_and_drawn_in_one_two_and_four_steps(teacher, tmp_path):
    out, lines = tmp_path / "run", []
    about = {"recipe": "distill", "arguments": {"teacher": teacher, **TINY}}
    found = find("distill")(teacher=teacher, **TINY).run(out, show=lines.append, about=about)
    assert {"student_1", "student_2", "student_4", "teacher_10", "teacher_20", "training_seconds"} == set(found)
    assert any("64 walks of the teacher, 10 steps each" in line for line in lines)
    report = json.loads((out / "report.json").read_text())["measures"]
    assert report["student_4"]["meaning"].endswith("; 4 evaluations")
    assert {"run.json", "average.safetensors", "loss.png", "samples.png", "sheet.png"} <= {
        p.name for p in out.iterdir()
    }
    for steps in ("1", "2", "4"):
        with pytest.raises(SystemExit) as stop:
            main(["sample", str(out), "--n", "4", "--steps", steps, "--out", str(tmp_path / f"{steps}.npy")])
        assert not stop.value.code
    with pytest.raises(SystemExit) as stop:
        main(["sample", str(out), "--n", "4", "--steps", "5"])
    assert stop.value.code == 2


def test_a_stopped_student_continues_as_if_it_had_not_been(teacher, tmp_path):
    whole = find("distill")(teacher=teacher, **TINY)
    object.__setattr__(whole, "report", None)
    whole.run(tmp_path / "whole", show=str)

    class Stopped(Exception):
        pass

    def run(folder, **how):
        experiment = find("distill")(teacher=teacher, **TINY)
        object.__setattr__(experiment, "report", None)
        return experiment, lambda: experiment.run(folder, show=str, **how)

    first, go = run(tmp_path / "parts")
    states, critic = [], first.objective.critic

    def interrupt(*args):
        states.append(1)
        if len(states) == 3 * 8:  # asked several times a step
            raise Stopped

    critic.register_forward_hook(interrupt)
    with pytest.raises(Stopped):
        go()
    _, go = run(tmp_path / "parts", resume=True)
    go()
    for name in ("model.safetensors", "average.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_the_evaluations_of_guidance_are_counted(teacher):
    experiment = find("digits")(**TEACHER, bfloat16=False)
    ratios = experiment.model.noise.ratio(experiment.drawing.times)
    guided = int(((ratios >= 0.2) & (ratios <= 3.0)).sum())
    assert guided > 0
    assert evaluations(experiment.model, experiment.drawing, (1, 8, 8)) == 10 + guided


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"first": 1.0}, RangeError, "first is a part"),
        ({"walks": 8}, RangeError, "at least one batch"),
        ({"levels": (80.0, 79.0)}, RangeError, "must descend"),
        ({"teacher": "nowhere"}, RunError, "this is no run"),
    ],
)
def test_bad_wishes_are_refused(teacher, wrong, error, words):
    with pytest.raises(error, match=words):
        find("distill")(**{"teacher": teacher, **TINY, **wrong})


def test_a_teacher_that_draws_no_images_is_refused(tmp_path):
    save(Preconditioned(MLP(2), VP()), tmp_path / "moons", recipe="moons", arguments={"rows": 100})
    with pytest.raises(RunError, match="for images"):
        find("distill")(teacher=str(tmp_path / "moons"))
