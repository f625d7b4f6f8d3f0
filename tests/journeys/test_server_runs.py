"""Over HTTP: a run of a recipe of one's own, whose model is a score without noise levels; each line of a walk as documented."""

import importlib.util
import json
import math
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from serving import bell, serving

import scorefield as sf
from scorefield.cli import main
from scorefield.data import Scaling
from scorefield.server import ServerError

WELL = '''
import torch
from torch import nn

CENTRE, VARIANCE = 0.5, 0.25


class Well(nn.Module):
    """s(x) = -(x - c) / v: the score of N(c, v I), without noise levels."""

    shape = (2,)

    def __init__(self):
        super().__init__()
        self.c, self.v = nn.Parameter(torch.full((2,), CENTRE)), nn.Parameter(torch.tensor(VARIANCE))

    def forward(self, x):
        return -(x - self.c) / self.v


def served_well():
    """The recipe, whose file alone tells what a Well is."""
'''


@pytest.fixture(scope="module")
def well(tmp_path_factory):
    """(folder of a run, file of its recipe): N(0.5, 0.25 I) in the model's units, y = 1 + 2 x in the data's."""
    folder = tmp_path_factory.mktemp("well")
    recipe = folder / "served_well.py"
    recipe.write_text(WELL)
    spec = importlib.util.spec_from_file_location("served_well", recipe)
    module = importlib.util.module_from_spec(spec)
    sys.modules["served_well"] = module
    try:
        spec.loader.exec_module(module)
        about = {"name": "well", "shape": (2,), "columns": []}
        sf.save(module.Well(), folder / "run", data=about, scaling=Scaling(1.0, 2.0))
    finally:
        del sys.modules["served_well"]
    return folder / "run", recipe


def test_a_run_of_ones_own_recipe_is_served_with_its_file_and_refused_without(well, capfd):
    folder, recipe = well
    with pytest.raises(SystemExit) as stop:
        main(["serve", str(folder), "--port", "0"])
    assert stop.value.code == 2
    assert "add --recipe path/to/recipe.py" in capfd.readouterr().err
    with serving(folder, "--recipe", recipe) as server, server.client() as client:
        about = client.model()
        assert (about["kind"], about["shape"], about["largest_level"]) == ("score", [2], None)
        y = np.array([[2.0, 2.0], [3.0, 0.0], [-1.0, 5.0]], dtype=np.float32)
        score = -(y - 2.0) / 1.0  # of N(1 + 2 * 0.5, 4 * 0.25)
        np.testing.assert_allclose(client.scores(y), score, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(client.scores(y[1:2]), client.scores(y)[1:2])
        for asked, words in ((client.denoise, "static score"), (client.log_density, "static score")):
            with pytest.raises(ServerError, match=words) as refused:
                asked(y)
            assert refused.value.status == 409
        with pytest.raises(ServerError) as refused:
            client.scores(y, level=0.5)
        assert refused.value.status == 422
        how = {"sampler": "Langevin(0.05)", "steps": 60}
        x = client.samples(400, seed=3, **how).x
        np.testing.assert_array_equal(client.samples(2, seed=3, first=7, **how).x, x[7:9])
        variance = 4 * 0.25 / (1 - 0.05 / (2 * 0.25))  # Langevin with steps of h rests at v / (1 - h / 2v)
        assert abs(x.mean() - 2.0) < 5 * math.sqrt(variance / x.size)
        assert abs(x.var() - variance) < 5 * variance * math.sqrt(2 / x.size)


def documented(document, name):
    """What the OpenAPI document says of a schema, and of nothing beside it."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


def test_each_line_of_a_walk_is_as_the_document_says(tmp_path):
    with serving(bell(tmp_path / "bell"), "--timeout", 5) as server, server.client() as client:
        document = json.loads(client._read("GET", "/openapi.json"))
        told = document["paths"]["/samples"]["post"]["responses"]["200"]["content"]
        names = [each["$ref"].rpartition("/")[2] for each in told["application/x-ndjson"]["schema"]["anyOf"]]
        assert names == ["Shown", "Sampled", "Failed"]
        kinds = {name: documented(document, name) for name in names}
        event = Draft202012Validator(told["text/event-stream"]["schema"])

        def fitting(line):
            return [name for name in names if kinds[name].is_valid(line)]

        asked = {"n": 3, "steps": 4}
        lines = client._ask("POST", "/samples?format=ndjson", asked).read().splitlines()
        assert [fitting(json.loads(each)) for each in lines] == [["Shown"]] * 5 + [["Sampled"]]
        events = client._ask("POST", "/samples?format=sse", asked).read().decode().removesuffix("\n\n").split("\n\n")
        for each, line in zip(events, lines, strict=True):
            fields = dict(field.split(": ", 1) for field in each.split("\n"))
            event.validate(fields)
            assert json.loads(fields["data"]) == json.loads(line)
        assert [each.partition("\n")[0] for each in events] == ["event: state"] * 5 + ["event: done"]
        late = {"n": 1024, "steps": 1000, "sampler": "Ancestral", "every": 1000}
        last = json.loads(client._ask("POST", "/samples?format=ndjson", late).read().splitlines()[-1])
        assert fitting(last) == ["Failed"]
        assert last["problem"]["status"] == 504
        for wrong in ({**json.loads(lines[0]), "t": "0.5"}, {"step": 1}, {"problem": {"status": 504}}, []):
            assert fitting(wrong) == []


def test_the_probe_of_the_container_tells_a_server_that_lives_from_none(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
    line = next(each for each in page.splitlines() if each.startswith("HEALTHCHECK CMD python"))
    _, _, _, *words = shlex.split(line)

    def probed(address):
        told = [each.replace("http://localhost:8000", address) for each in words]
        return subprocess.run([sys.executable, *told], capture_output=True, check=False).returncode

    with serving(bell(tmp_path / "bell")) as server:
        address = server.address
        assert probed(address) == 0
    assert probed(address) == 1
