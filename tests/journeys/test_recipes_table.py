"""Any table: units, files, and a report that the true law passes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scorefield import exact
from scorefield.recipes import Finished, find
from scorefield.recipes.table import csv

N = 4000


@pytest.fixture
def normal(tmp_path):
    """A correlated Gaussian in three units, as CSV and Parquet: (folder, mean, covariance)."""
    mean, root = np.array([10.0, -3.0, 0.5]), np.array([[2.0, 0, 0], [30.0, 40.0, 0], [0.0, 0.01, 0.02]])
    x = mean + np.random.default_rng(0).normal(size=(N, 3)) @ root.T
    path = tmp_path / "normal.csv"
    np.savetxt(path, x, delimiter=",", header="speed,height,price", comments="")
    import pandas

    pandas.DataFrame(x, columns=["speed", "height", "price"]).to_parquet(tmp_path / "normal.parquet")
    return tmp_path, mean, root @ root.T


def test_a_short_run_writes_new_rows_in_the_units_of_the_table(normal):
    folder, mean, covariance = normal
    short = find("table")(data=str(folder / "normal.csv"), columns=["height", "speed"], steps=60, width=32, samples=500)
    measures = short.run(folder / "run", show=str)
    lines = (folder / "run" / "samples.csv").read_text().splitlines()
    assert lines[0] == "height,speed"
    x = np.array([line.split(",") for line in lines[1:]], dtype=float)
    assert len(x) == 500
    spread = np.sqrt(np.diag(covariance))[[1, 0]]
    # 60 steps teach the mean and the scale, which standardised data have from the start.
    assert np.all(np.abs(x.mean(0) - mean[[1, 0]]) < 0.5 * spread)
    assert np.all((x.std(0) > 0.5 * spread) & (x.std(0) < 2 * spread))
    recorded = json.loads((folder / "run" / "report.json").read_text())["measures"]
    assert (
        recorded["height: mean"]["value"] == measures["height: mean"].value == pytest.approx(x[:, 0].mean(), rel=1e-4)
    )


def test_csv_and_parquet_are_the_same_data(normal):
    folder, *_ = normal
    a, b = (find("table")(data=str(folder / f"normal.{suffix}")).data for suffix in ("csv", "parquet"))
    torch.testing.assert_close(a.train, b.train)
    assert a.columns == b.columns == ("speed", "height", "price")


def test_the_true_law_passes_the_report(normal):
    folder, mean, covariance = normal
    experiment = find("table")(data=str(folder / "normal.csv"), samples=2000, sampling_steps=40)
    scale = torch.tensor(experiment.data.scaling.scale, dtype=torch.float64)
    shift = torch.tensor(experiment.data.scaling.shift, dtype=torch.float64)
    truth = exact.Gaussian(
        ((torch.tensor(mean) - shift) / scale).float(), (torch.tensor(covariance) / scale / scale[:, None]).float()
    )
    model = truth.denoiser(experiment.model.noise)
    model.register_parameter("place", nn.Parameter(torch.zeros(())))
    found = experiment.report(Finished(experiment, model, Path(folder), 0.0, 2000))
    rows = experiment.data.scaling.to_data(experiment.data.held_out).double()[:500]
    law = torch.distributions.MultivariateNormal(torch.tensor(mean), torch.tensor(covariance))
    assert found["log_density"].value == pytest.approx(float(law.log_prob(rows).mean()), abs=0.02)
    assert abs(found["energy"].value) < 5 * found["energy"].error
    assert found["speed: sd"].value == pytest.approx(2.0, abs=5 * 2 / (2 * 2000) ** 0.5)
    assert found["height: mean"].value == pytest.approx(-3.0, abs=5 * 50 / 2000**0.5)
    # cor(speed, height) = 60/(2 · 50) = 0.6
    assert found["correlation_gap"].value < 5 / 2000**0.5 + 5 / (0.9 * N) ** 0.5


def test_rows_are_written_so_that_they_read_back():
    x = torch.tensor([[1.0, -2.5e-7], [1 / 3, 1e9]])
    text = csv(x, ("a", "b")).decode().splitlines()
    assert text[0] == "a,b"
    np.testing.assert_allclose(np.loadtxt(text[1:], delimiter=","), x.numpy(), rtol=1e-5)
    assert csv(x, ()).startswith(b"x1,x2\n")
