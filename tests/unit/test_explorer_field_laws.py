"""The laws that the explorer hands to the page: the same numbers again, and nothing for what has no nodes."""

import base64

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from scorefield import exact, plane
from scorefield.explorer import application, fields, laws
from scorefield.explorer.densities import Chosen

CSV = "a,b\n" + "\n".join(f"{(37 * k) % 101 / 10},{(k * k) % 97}" for k in range(60))


@pytest.fixture(scope="module")
def page():
    return TestClient(application(), base_url="http://localhost")


def unpacked(found):
    return torch.from_numpy(np.frombuffer(base64.b64decode(found["float32"]), "<f4").copy()).reshape(found["shape"])


@pytest.mark.parametrize("name", ["moons", "spirals"])
def test_a_curve_made_of_its_nodes_has_the_same_score(page, name):
    found = page.post("/api/field/law", json={"density": {"name": name}}).json()
    again = plane.Cloud(unpacked(found["weights"]), unpacked(found["means"]), found["std"])
    x, law = fields.lattice(12), getattr(plane, name)()
    for sigma in (0.02, 0.4):
        s = law.score(x, 1.0, sigma)
        assert (again.score(x, 1.0, sigma) - s).norm(dim=1).max() < 1e-4 * s.norm(dim=1).max()


def test_a_table_is_its_rows(page):
    sent = page.post("/api/tables", json={"text": CSV, "name": "own.csv"}).json()
    chosen = Chosen(name="table", table=sent["id"], columns=("a", "b"))
    found = page.post("/api/field/law", json={"density": chosen.model_dump()}).json()
    assert (found["weights"], found["std"]) == (None, 0.0)
    rows = torch.tensor([[float(each) for each in line.split(",")] for line in CSV.split()[1:]])
    away = rows - rows.mean(0)
    scale = unpacked(found["means"]).std(0) / rows.std(0)
    torch.testing.assert_close(unpacked(found["means"]), scale * away, atol=1e-5, rtol=1e-5)


def test_the_nodes_over_a_ring_are_enough_at_every_noise_level():
    """p(ρ) from the numbers handed over, by their formula, beside the library's own at the least noise of the slider and above."""
    law, found = plane.Rings(), laws.plain(plane.Rings())
    z, w = (unpacked(found[each]).double() for each in ("nodes", "weights"))
    rho = torch.linspace(0.0, 4.0, 81, dtype=torch.float64)[:, None, None]
    radii, s = unpacked(found["radii"]).double()[:, None], found["std"]
    for sigma in (0.02, 0.1, 1.0, 5.0):
        total = sigma**2 + s**2
        r = (radii * sigma**2 + rho * s**2) / total + s * sigma / total**0.5 * z
        log = (torch.special.i0e(rho * r / sigma**2) * w).sum(-1).log() - (rho[..., 0] - radii[:, 0]) ** 2 / (2 * total)
        log = log.logsumexp(1) - torch.log(torch.tensor(2 * torch.pi * total**0.5 * sigma * len(radii)))
        x = torch.cat([rho[:, 0], 0 * rho[:, 0]], 1)
        assert torch.allclose(log, law.log_density(x, 1.0, sigma), rtol=1e-5, atol=1e-5), sigma


def test_a_board_is_its_edges():
    found = laws.plain(plane.Checkerboard())
    x = plane.Checkerboard().sample(2000, torch.Generator().manual_seed(0))
    low, side = torch.tensor(found["low"]), found["side"]
    column, row = (((x[:, k, None] - low) / side).floor().eq(0).int().argmax(1) for k in (0, 1))
    assert bool(((column + row) % 2 == 0).all())
    assert float(x.abs().max()) <= low[-1] + side


def test_a_mixture_and_an_unknown_table_are_refused_in_words(page):
    refused = page.post("/api/field/law", json={"density": {"name": "mixture"}})
    assert refused.status_code == 422
    assert "Mixture: it has no nodes" in refused.json()["detail"]
    refused = page.post("/api/field/law", json={"density": {"name": "table", "table": "0" * 16}})
    assert 400 <= refused.status_code < 500
    assert "choose the CSV file again" in refused.json()["detail"]


def test_what_a_run_draws_is_handed_over_as_rows():
    found = laws.plain(exact.Empirical(torch.tensor([[0.0, 1.0], [2.0, 3.0]])))
    assert unpacked(found["means"]).tolist() == [[0.0, 1.0], [2.0, 3.0]]
