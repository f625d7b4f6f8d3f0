"""What a worker computes, and what is told of a run: rows that do not depend on their batch, and nothing promised that is not so."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from scorefield.errors import DivergedError, RangeError
from scorefield.server.bodies import bodies
from scorefield.server.engine import Engine, agreeing, require_finite
from scorefield.server.limits import Limits
from scorefield.server.served import Served

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"


@pytest.fixture(scope="module")
def moons():
    return Engine(Served.open("moons"), largest=8)


def rows(n, seed=3, first=0):
    return {"seed": np.full(n, seed), "row": np.arange(first, first + n), "label": np.full(n, -1)}


@pytest.mark.parametrize("options", [{"steps": 3}, {"sampler": "Ancestral(eta=0.5)", "steps": 2}], ids=str)
def test_a_row_of_a_mixed_batch_is_the_row_alone_in_every_bit(moons, options):
    some, other = rows(3), rows(4, seed=2**40, first=10)
    mixed = {name: np.concatenate([some[name], other[name]]) for name in some}
    together = moons.samples(options, mixed)["x"]
    for k in range(7):
        alone = moons.samples(options, {name: each[k : k + 1] for name, each in mixed.items()})["x"]
        np.testing.assert_array_equal(together[k : k + 1], alone)


class Mixing(nn.Module):
    """A wrong model: rows see each other."""

    shape = (2,)

    def forward(self, x):
        return x - x.mean(0)


class Few(nn.Module):
    """A model whose answer for few rows has another last bit, as some matrix products have."""

    shape = (2,)

    def forward(self, x):
        return x * (1 + 2e-7 * (len(x) < 4))


class Plain(nn.Module):
    """A model that acts row by row."""

    shape = (2,)

    def forward(self, x):
        return -x


@pytest.mark.parametrize(("model", "sizes"), [(Plain(), (1, 2, 4, 8)), (Few(), (4, 8)), (Mixing(), ())], ids=str)
def test_sizes_agree_where_the_network_does(model, sizes):
    assert agreeing(Served("model", model, {"versions": {}}), 8) == sizes


def test_batches_are_filled_up_to_sizes_that_agree():
    engine = Engine(Served("few", Few(), {"versions": {}}), 8)
    x = np.ones((1, 2), dtype=np.float32)
    points = {"x": x, "t": np.full(1, -1.0), "level": np.full(1, -1.0), "label": np.full(1, -1)}
    np.testing.assert_array_equal(engine.scores({}, points)["score"], x)


def test_evaluations_are_counted_and_looked_at(moons):
    looked = []
    moons.before = lambda: looked.append(1)
    try:
        before = moons.evaluations
        moons.samples({"sampler": "Heun", "steps": 4}, rows(2))
    finally:
        moons.before = None
    assert moons.evaluations - before == len(looked) == 7


def test_numbers_that_are_not_finite_are_an_error_of_their_rows():
    answer = {"x": np.array([[1.0], [np.nan]])}
    require_finite(answer, slice(0, 1))
    with pytest.raises(DivergedError, match="not finite"):
        require_finite(answer, slice(1, 2))


def test_a_student_says_what_it_cannot_do():
    student = Served.open("digits-fast")
    for what in ("scores", "denoise", "densities", "completion", "guidance", "sampler"):
        assert student.cannot(what)
    assert student.cannot("samples") is None
    assert student.cannot("label") is None
    assert student.description()["kind"] == "student"
    assert [each.__name__ for each in student.samplers] == ["Renoise"]


def test_samplers_walk_the_models_that_they_are_made_for():
    from scorefield.samplers import Heun, Langevin, PredictorCorrector

    moons = Served.open("moons")
    moons.require_walks(PredictorCorrector(predictor=Heun()))
    for wrong in (Langevin(), PredictorCorrector(predictor=Langevin())):
        with pytest.raises(RangeError, match="does not walk"):
            moons.require_walks(wrong)


def test_numbers_are_whole_when_they_are_and_text_is_no_number():
    made = bodies(Served.open("moons"), Limits(rows=8)).Samples
    assert made.model_validate({"n": 3.0}).n == 3
    for wrong in (3.5, "3", True, 0, 9):
        with pytest.raises(ValueError, match=r"body|input|Input"):
            made.model_validate({"n": wrong})


@pytest.mark.parametrize("name", ["rows", "steps", "points", "body", "queue", "timeout", "batch"])
def test_limits_are_positive(name):
    with pytest.raises(RangeError, match=name):
        Limits(**{name: 0.0 if name == "timeout" else 0})


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_of_the_page_is_one(tmp_path):
    text = DEPLOY.read_text().split("```ini\n")[1].split("```")[0]
    unit = tmp_path / "scorefield.service"
    unit.write_text(text.replace("/opt/scorefield/bin/scorefield", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    about = [line for line in done.stderr.splitlines() if unit.name in line]  # it may have words about the machine
    assert (done.returncode, about) == (0, [])
