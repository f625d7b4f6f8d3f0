"""The recipe classifier: a short run, and a classifier of noisy images that guides."""

import json
import math

import pytest
import torch

from scorefield import load
from scorefield.errors import DataError, RangeError
from scorefield.exact import Empirical
from scorefield.guidance import Classifier, CrossEntropy, Encoder, Tilt
from scorefield.noises import EDM
from scorefield.recipes import find
from scorefield.tensors import Streams

TINY = {"data": "digits8", "patch": 1, "width": 8, "bfloat16": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "classifier"
    about = {"recipe": "classifier", "arguments": {}}
    return folder, find("classifier")(**TINY, steps=300, batch=32, learning_rate=1e-2).run(
        folder, show=lambda _: None, about=about
    )


def test_a_short_run_leaves_a_whole_folder_and_tells_digits_apart(run):
    folder, measures = run
    made = {path.name for path in folder.iterdir()}
    assert {"run.json", "average.safetensors", "state", "log.jsonl", "loss.png", "levels.png", "report.json"} <= made
    assert json.loads((folder / "report.json").read_text())["measures"].keys() == measures.keys()
    assert measures["accuracy_at_0.1"].value > 0.85
    assert measures["nats_at_0.1"].value < 0.5
    assert measures["accuracy_at_20"].value < 0.4  # hardly more than chance, and it knows:
    assert abs(measures["nats_at_20"].value - math.log(10)) < 0.15


def test_a_classifier_guides_a_model_that_knows_no_labels(run):
    folder, _ = run
    lesson = find("classifier")(**TINY, steps=1)
    classifier, rows = load(folder), lesson.data
    model = Empirical(rows.train).denoiser(classifier.noise)
    label = torch.arange(10).repeat(10)
    from scorefield import sample

    share = []
    for weight in (0.0, 1.0, 3.0):
        x = sample(Tilt(model, classifier, weight), 100, steps=12, label=label)
        nearest = torch.cdist(x.flatten(1), rows.train.flatten(1)).argmin(1)
        share.append(float((rows.labels[nearest] == label).double().mean()))
    assert share[0] < 0.25
    assert share[1] > share[0] + 0.25
    assert share[2] > 0.6


def test_the_loss_is_a_number_a_row_in_nats_from_its_own_draws():
    model = Classifier(Encoder(size=8, width=4, patch=1), EDM(80.0))
    with torch.no_grad():
        model.network.last.weight.normal_(generator=torch.Generator().manual_seed(0))
    x, label = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(6)
    whole = CrossEntropy()(model, x, Streams(0, range(6)), label=label)
    part = CrossEntropy()(model, x[2:4], Streams(0, range(2, 4)), label=label[2:4])
    torch.testing.assert_close(part, whole[2:4])
    logs = model.all(x, torch.tensor(0.1))
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(6))
    torch.testing.assert_close(model(x, torch.tensor(0.1), label), logs[torch.arange(6), label])


def test_wrong_labels_and_unlabelled_data_are_refused(tmp_path):
    model = Classifier(Encoder(size=8, width=4, patch=1), EDM(80.0))
    with pytest.raises(RangeError, match="label 10 in row 1"):
        model(torch.zeros(2, 1, 8, 8), torch.tensor(0.1), torch.tensor([0, 10]))
    with pytest.raises(RangeError, match="data_std"):
        Classifier(Encoder(size=8, width=4), EDM(80.0), 0.0)
    with pytest.raises(RangeError, match="Encoder"):
        Encoder(width=0)
    import numpy as np

    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(size=(30, 1, 8, 8)))
    with pytest.raises(DataError, match="no labels"):
        find("classifier")(data=str(tmp_path / "x.npy"))


def test_a_classifier_draws_nothing_and_the_command_line_says_so(run, capsys):
    from scorefield.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["sample", str(run[0])])
    assert stop.value.code != 0
    assert "guidance.Tilt" in capsys.readouterr().err
