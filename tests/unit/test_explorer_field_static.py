"""A run that is a static score in the explorer: its field at its own noise level, its walks, its lines of Python, and refusals."""

import json

import pytest
import torch
from fastapi.testclient import TestClient
from test_explorer_field import ran, unpacked
from torch import nn

from scorefield import checkpoints, data, exact, networks, plane
from scorefield.explorer import application, fields, methods
from scorefield.explorer import held as holding
from scorefield.metrics import fisher_divergence
from scorefield.models import Energy
from scorefield.objectives import Denoising
from scorefield.recipes.drawing import Drawing
from scorefield.recipes.experiment import Experiment
from scorefield.samplers import Langevin
from scorefield.sampling import sample
from scorefield.tensors import seeded


def made(network):
    """A network with something to say: its last layer is not zero."""
    with seeded(0):
        nn.init.normal_(network.last.weight, std=0.5)
    return network


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An energy without noise that does not say how it draws, and a field at σ = 0.5 that does."""
    place = tmp_path_factory.mktemp("static")
    with seeded(1):
        energy, field = Energy(made(networks.MLP(2, 8, 1, out=1))), made(networks.MLP(2, 8, 1))
    checkpoints.save(energy, place / "energy", data={"shape": [2]})
    how = Drawing(sampler=Langevin(0.01), steps=20)
    checkpoints.save(field, place / "field", data={"shape": [2]}, sigma=0.5, sampling=how)
    return {name: place / name for name in ("energy", "field")}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Fewer steps than a reader gets, and fewer points."""
    monkeypatch.setattr(holding, "ROWS", 60)
    monkeypatch.setattr(holding, "STEPS", 20)


def page_of(run):
    app = application(run)
    return TestClient(app, base_url="http://localhost"), app.state.held


@pytest.mark.parametrize(("name", "level"), [("energy", 0.0), ("field", 0.5)])
def test_the_field_is_the_models_own_at_its_own_level(runs, name, level):
    page, held = page_of(runs[name])
    assert held.opening == "#/field?density=run&method=run"
    assert held.about()["runs"][0]["level"] == level
    assert held.about()["runs"][1]["level"] is None
    body = {"density": {"name": "moons"}, "method": "run", "sigma": 3.0, "n": 6, "fine": 4}
    found = page.post("/api/field", json=body).json()
    model, x = checkpoints.load(runs[name]), fields.lattice(6)
    assert found["sigma"] == level
    assert torch.allclose(unpacked(found["score"]), model(x.float()).detach(), rtol=1e-5, atol=1e-6)
    law = plane.moons()
    rows = methods.noisy(law, level, fields.TESTED, seed=1)
    wanted = fisher_divergence(lambda x: model(x.float()).to(x), lambda x: law.score(x, 1.0, level), rows)
    assert found["fisher"]["value"] == pytest.approx(wanted.value, rel=1e-4)
    ground = law.log_density(fields.lattice(4), 1.0, level).float()
    assert torch.allclose(unpacked(found["log_density"]), ground, rtol=1e-5)


def test_an_energy_has_no_curl_and_its_divergence_is_that_of_its_slope(runs):
    page, held = page_of(runs["energy"])
    body = {"density": {"name": "moons"}, "method": "run", "n": 2, "fine": 5}
    curl = unpacked(page.post("/api/field", json={**body, "show": "curl"}).json()["map"])
    div = unpacked(page.post("/api/field", json={**body, "show": "divergence"}).json()["map"])
    assert curl.abs().max() < 1e-4 * div.abs().max()


def test_what_it_draws_is_shown_and_nothing_is_measured_against_itself(runs):
    page, held = page_of(runs["energy"])
    body = {"density": {"name": "run"}, "method": "run", "n": 2, "fine": 6}
    found = page.post("/api/field", json=body).json()
    drawn = sample(checkpoints.load(runs["energy"]), 60, sampler=Langevin(0.002), steps=20, shape=(2,))
    ground = exact.Empirical(drawn).log_density(fields.lattice(6), 1.0, fields.GROUND)
    assert torch.allclose(unpacked(found["log_density"]), ground.float(), rtol=1e-4)
    assert found["fisher"] is None
    assert "choose the density that it learned" in found["unmeasured"]
    refused = page.post("/api/field", json={**body, "show": "error"})
    assert refused.status_code == 422
    assert "choose the density that it learned" in refused.json()["detail"]
    board = page.post("/api/field", json={**body, "density": {"name": "checkerboard"}}).json()
    assert board["fisher"] is None
    assert "no score without noise" in board["unmeasured"]


@pytest.mark.parametrize("name", ["energy", "field"])
@pytest.mark.parametrize("density", ["moons", "run"])
def test_its_lines_print_its_numbers(runs, name, density, capsys):
    page, _ = page_of(runs[name])
    body = {"density": {"name": density}, "method": "run", "run": str(runs[name])}
    found = page.post("/api/field", json=body).json()
    out = ran(page.post("/api/field/code", json=body).json()["code"], capsys)
    assert f"largest arrow {found['largest']:.3g}" in out
    assert ("Fisher" in out) == (density == "moons")
    assert density == "run" or f"Fisher divergence {found['fisher']['text']}" in out


def last(answer):
    return json.loads(answer.text.strip().splitlines()[-1])


@pytest.mark.parametrize("density", ["moons", "run"])
def test_langevin_walks_in_it_and_its_lines_print_the_distance(runs, density, capsys):
    page, _ = page_of(runs["field"])
    body = {"density": {"name": density}, "method": "run", "run": str(runs["field"]), "sampler": "Langevin(size=0.01)"}
    body |= {"n": 20, "evaluations": 5}
    end = last(page.post("/api/walk", json=body))
    assert end["kind"] == "end"
    out = ran(page.post("/api/walk/code", json={"walk": body}).json()["code"], capsys)
    value = float(out.split("Langevin ")[1].split(" ")[0])
    assert value == pytest.approx(end["distance"]["value"], rel=0.06)


def test_refusals_need_an_energy_and_an_energy_has_one(runs):
    body = {"density": {"name": "moons"}, "method": "run", "sampler": "MALA(size=0.05)", "n": 10, "evaluations": 6}
    assert last(page_of(runs["energy"])[0].post("/api/walk", json=body))["kind"] == "end"
    end = last(page_of(runs["field"])[0].post("/api/walk", json=body))
    assert end["kind"] == "failed"
    assert "has no energy" in end["message"]


def test_samplers_that_come_down_noise_levels_are_refused_in_words(runs):
    page, _ = page_of(runs["field"])
    refused = page.post("/api/walk", json={"density": {"name": "moons"}, "method": "run", "sampler": "Heun()"})
    assert refused.status_code == 422
    assert "one static score, at sigma = 0.5; choose Langevin, MALA or Underdamped" in refused.json()["detail"]


def test_a_point_is_looked_at_through_it_at_its_own_level_alone(runs):
    page, _ = page_of(runs["field"])
    body = {"density": {"name": "moons"}, "method": "run", "at": [0.3, -0.2]}
    found = page.post("/api/point", json={**body, "sigma": 0.5}).json()
    wanted = checkpoints.load(runs["field"])(torch.tensor([[0.3, -0.2]]))[0]
    assert found["score"] == pytest.approx(wanted.tolist(), rel=1e-5)
    refused = page.post("/api/point", json={**body, "sigma": 0.6})
    assert refused.status_code == 422
    assert "a static score, at sigma = 0.5 alone" in refused.json()["detail"]


def test_a_module_that_is_no_score_is_not_shown_as_one(tmp_path):
    checkpoints.save(networks.MLP(2, 8, 1, out=5), tmp_path / "five", data={"shape": [2]})
    page, held = page_of(tmp_path / "five")
    assert not held.given.planar
    assert held.opening == ""
    refused = page.post("/api/field", json={"method": "run", "run": str(tmp_path / "five")})
    assert refused.status_code == 422
    assert "scores of the plane" in refused.json()["detail"]


def test_an_experiment_records_the_level_that_its_objective_learns(tmp_path):
    points = data.prepare(data.moons(200), name="moons", scaling=data.Scaling.identity())
    with seeded(0):
        model = networks.MLP(2, 8, 1)
    drawing = Drawing(sampler=Langevin(0.01), steps=5)
    Experiment(model, Denoising(0.3), points, steps=2, drawing=drawing, count=100).run(
        tmp_path / "run", show=lambda words: None
    )
    assert page_of(tmp_path / "run")[1].given.level == 0.3
