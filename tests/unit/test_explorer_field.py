"""The explorer's field and noisy point without a browser: numbers against formulas, code against numbers, refusals, policy."""

import base64
import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from scorefield import checkpoints, exact, networks, noises, plane
from scorefield.cli import main
from scorefield.explorer import application, densities, fields, learned, methods, tables
from scorefield.explorer.app import POLICY
from scorefield.explorer.densities import Chosen, Mode
from scorefield.explorer.held import Held
from scorefield.metrics import fisher_divergence
from scorefield.models import Preconditioned
from scorefield.tensors import Streams

CSV = "height,weight,who\n" + "\n".join(f"{150 + k % 40},{50 + (3 * k) % 45},p{k}" for k in range(200))


@pytest.fixture(scope="module")
def page():
    return TestClient(application(), base_url="http://localhost")


def unpacked(found):
    return torch.from_numpy(np.frombuffer(base64.b64decode(found["float32"]), "<f4").copy()).reshape(found["shape"])


def ran(code, capsys):
    """What a snippet prints, its picture left out."""
    code = re.sub(r"^plots\.save.*$", "", code, flags=re.MULTILINE)
    exec(compile(code, "snippet", "exec"), {})
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["mixture", "moons", "rings", "spirals", "checkerboard"])
def test_the_field_is_the_exact_score_on_the_lattice(page, name):
    found = page.post("/api/field", json={"density": {"name": name}, "sigma": 0.4, "n": 12, "fine": 10}).json()
    law = densities.toy(Chosen(name=name))
    x, fine = fields.lattice(12), fields.lattice(10)
    assert torch.allclose(unpacked(found["score"]), law.score(x, 1.0, 0.4).float(), rtol=1e-5, atol=1e-5)
    assert torch.allclose(unpacked(found["log_density"]), law.log_density(fine, 1.0, 0.4).float(), rtol=1e-5)
    assert found["largest"] == pytest.approx(float(law.score(x, 1.0, 0.4).norm(dim=1).max()), rel=1e-6)
    assert found["fisher"] is None
    assert found["map"] is None


def test_modes_are_the_mixture_they_say(page):
    modes = [{"x": 1, "y": 0, "std": 0.5, "weight": 2}, {"x": -1, "y": 0.5, "std": 0.25, "weight": 1}]
    body = {"density": {"name": "mixture", "modes": modes}, "sigma": 0.1, "n": 5, "fine": 2}
    found = page.post("/api/field", json=body).json()
    law = exact.Mixture(
        torch.tensor([2.0, 1.0]),
        torch.tensor([[1.0, 0.0], [-1.0, 0.5]]),
        torch.tensor([0.25, 0.0625])[:, None, None] * torch.eye(2),
    )
    assert torch.allclose(unpacked(found["score"]), law.score(fields.lattice(5).float(), 1.0, 0.1), rtol=1e-5)


def test_divergence_and_curl_are_those_of_a_gaussian_and_a_rotation(page):
    one = {"name": "mixture", "modes": [{"x": 0, "y": 0, "std": 0.6}]}
    for show, wanted in (("divergence", -2 / (0.36 + 0.64)), ("curl", 0.0)):
        found = page.post("/api/field", json={"density": one, "sigma": 0.8, "show": show, "fine": 4, "n": 2}).json()
        assert torch.allclose(unpacked(found["map"]), torch.full((16,), wanted), atol=1e-5)
    div, curl = fields.derivatives(lambda x: torch.stack([-x[:, 1], x[:, 0]], 1), torch.ones(3, 2))
    assert div.tolist() == [0, 0, 0]
    assert curl.tolist() == [2, 2, 2]


def test_speed_and_error_are_norms(page):
    body = {"density": {"name": "moons"}, "sigma": 0.5, "fine": 6, "n": 2}
    x, law = fields.lattice(6), plane.moons()
    speed = unpacked(page.post("/api/field", json={**body, "show": "speed"}).json()["map"])
    assert torch.allclose(speed, law.score(x, 1.0, 0.5).norm(dim=1).float(), rtol=1e-5)
    found = page.post("/api/field", json={**body, "show": "error", "method": "kernel"}).json()
    kernel = methods.kernel(law, 0.5)
    wanted = (kernel(x) - law.score(x, 1.0, 0.5)).norm(dim=1).float()
    assert torch.allclose(unpacked(found["map"]), wanted, rtol=1e-4)
    assert unpacked(page.post("/api/field", json={**body, "show": "error"}).json()["map"]).abs().max() == 0


def test_the_fisher_divergence_is_that_of_the_library(page):
    body = {"density": {"name": "rings"}, "method": "kernel", "sigma": 0.6, "n": 2, "fine": 2}
    found = page.post("/api/field", json=body).json()["fisher"]
    law = plane.Rings()
    x = methods.noisy(law, 0.6, fields.TESTED, seed=1)
    wanted = fisher_divergence(methods.kernel(law, 0.6), lambda x: law.score(x, 1.0, 0.6), x)
    assert found == {"value": wanted.value, "error": wanted.error, "text": str(wanted)}


def test_a_run_under_another_noise_is_asked_at_the_same_level():
    law = exact.Gaussian(torch.zeros(2), 0.5 * torch.eye(2))
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for noise in (noises.VP(), noises.VE(), noises.Rectified(), noises.EDM(10.0)):
        for sigma in (0.05, 0.7, 3.0):
            s = methods.at_level(law.denoiser(noise), sigma)(x)
            assert torch.allclose(s, -x / (0.5 + sigma**2), rtol=1e-5), (noise, sigma)


def test_runs_of_the_box_are_near_their_truth(page):
    runs = {each["name"]: each for each in page.get("/api/about").json()["runs"]}
    assert runs["moons"]["planar"]
    assert not runs["digits"]["planar"]
    body = {"density": {"name": "moons"}, "method": "run", "run": "moons", "sigma": 0.5, "n": 2, "fine": 2}
    assert page.post("/api/field", json=body).json()["fisher"]["value"] < 0.02
    refused = page.post("/api/field", json={**body, "run": "digits"})
    assert refused.status_code == 422
    assert "shape (2,)" in refused.json()["detail"]
    assert "moons" in page.post("/api/field", json={**body, "run": "nobody"}).json()["detail"]


@pytest.mark.parametrize("kind", ["energy", "network"])
def test_a_network_learns_while_one_waits_and_an_energy_has_no_curl(kind):
    held, chosen = Held(), Chosen(modes=(Mode(x=0.5, y=0.0, std=0.5),))
    assert fields.missing(held, fields.FieldRequest(density=chosen, method=kind)) == "network"
    told = list(learned.learn(held, chosen, kind, steps=60))
    assert [each["step"] for each in told] == [6, 12, 18, 24, 30, 36, 42, 48, 54, 60]
    wanted = fields.FieldRequest(density=chosen, method=kind, sigma=1.0)
    assert fields.missing(held, wanted) is None
    zero = 0.5 * 2 / (0.25 + 1)
    assert fields.fisher(held, wanted).value < 0.3 * zero
    curl = fields.derivatives(methods.score(held, chosen, kind, 1.0), fields.lattice(6))[1]
    assert (curl.abs().max() < 1e-4) == (kind == "energy")


def test_training_is_streamed_and_then_drawn(page, monkeypatch):
    monkeypatch.setattr(learned, "STEPS", 20)
    body = {"density": {"name": "checkerboard"}, "method": "network", "n": 2, "fine": 2}
    untrained = page.post("/api/field", json=body).json()
    assert untrained["missing"] == "network"
    assert unpacked(untrained["log_density"]).shape == (4,)
    answer = page.post("/api/field/train", json={"density": {"name": "checkerboard"}, "kind": "network"})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert json.loads(answer.text.splitlines()[-1])["step"] == 20
    assert page.post("/api/field", json=body).json()["fisher"]["value"] > 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"density": {"name": "spirals"}, "sigma": 0.25},
        {"density": {"name": "moons"}, "method": "kernel", "sigma": 0.5, "width": 2},
        {"density": {"name": "rings"}, "method": "run", "run": "rings", "sigma": 0.3},
    ],
    ids=["mixture", "spirals", "kernel", "run"],
)
def test_the_code_of_a_field_prints_its_numbers(page, body, capsys):
    found = page.post("/api/field", json=body).json()
    shown = page.post("/api/field/code", json=body).json()
    out = ran(shown["code"], capsys)
    assert f"largest arrow {found['largest']:.3g}" in out
    assert (found["fisher"] is None) or f"Fisher divergence {found['fisher']['text']}" in out
    assert shown["formula"]
    assert shown["sources"][0]["paper"]["title"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["energy", "network"])
def test_the_code_of_a_trained_network_prints_its_numbers(page, kind, capsys):
    body = {"density": {"name": "moons"}, "method": kind, "sigma": 0.3}
    page.post("/api/field/train", json={"density": {"name": "moons"}, "kind": kind})
    found = page.post("/api/field", json=body).json()
    out = ran(page.post("/api/field/code", json=body).json()["code"], capsys)
    assert f"Fisher divergence {found['fisher']['text']}" in out


def test_the_code_saves_a_picture(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(page.post("/api/field/code", json={}).json()["code"], {})
    assert (tmp_path / "field.png").stat().st_size > 10_000


def test_a_table_becomes_points_and_its_code_reads_the_same(page, tmp_path, monkeypatch, capsys):
    sent = page.post("/api/tables", json={"text": CSV, "name": "people.csv"}).json()
    assert sent["columns"] == ["height", "weight"]
    assert sent["rows"] == 200
    chosen = {"name": "table", "table": sent["id"], "columns": ["weight", "height"]}
    body = {"density": chosen, "sigma": 0.4}
    found = page.post("/api/field", json=body).json()
    (tmp_path / "your.csv").write_text(CSV)
    monkeypatch.chdir(tmp_path)
    assert f"largest arrow {found['largest']:.3g}" in ran(
        page.post("/api/field/code", json=body).json()["code"], capsys
    )
    x = tables.read(CSV).points("weight", "height")
    assert torch.allclose(x.mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(x.std(0, correction=0), torch.ones(2), atol=1e-6)
    unknown = {**body, "density": {**chosen, "table": "0" * 16}}
    assert page.post("/api/field", json=unknown).json() == {"missing": "table"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("a,b\n1,2\n3,x\n", "column 'b', row 2: 'x' is no finite number"),
        ("a,b\n1,2\n3,nan\n", "'nan' is no finite number"),
        ("a,b\n1,2\n3,\n", "row 2: '' is no finite number"),
        ("a,b\n1,2\n3\n", "row 2 has 1 cells, the header 2"),
        ("a,b\n1,2\n", "1 rows of numbers"),
        ("a,b\nx,y\nz,w\n", "0 columns of numbers"),
        ("a,a\n1,2\n3,4\n", "two columns of one name"),
        ('a,b\n"1,2\n', "this is no CSV"),
    ],
)
def test_a_bad_table_is_refused_in_words(page, text, words):
    refused = page.post("/api/tables", json={"text": text})
    assert refused.status_code == 422
    assert words in refused.json()["detail"]
    assert refused.headers["content-type"] == "application/problem+json"


def test_a_constant_column_and_a_column_that_is_not_there_are_refused(page):
    sent = page.post("/api/tables", json={"text": "a,b,c\n1,2,5\n3,4,5\n5,9,5"}).json()
    for columns, words in ((["a", "c"], "constant"), (["a", "z"], "'z' is not known")):
        body = {"density": {"name": "table", "table": sent["id"], "columns": columns}}
        assert words in page.post("/api/field", json=body).json()["detail"]


def test_a_table_without_a_header_has_numbered_columns():
    assert tables.read("1;2\n3;4\n5;7").columns == ("1", "2")


@pytest.mark.parametrize(
    "body",
    [
        {"density": {"name": "cheese"}},
        {"sigma": -1},
        {"sigma": 0},
        {"sigma": "much"},
        {"n": 10_000},
        {"method": "guess"},
        {"density": {"name": "mixture", "modes": []}},
        {"density": {"name": "mixture", "modes": [{"x": 1e9, "y": 0}]}},
        {"density": {"name": "table"}},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_bad_request_is_a_problem_and_the_server_goes_on(page, body):
    refused = page.post("/api/field", json=body)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["detail"]
    assert page.get("/api/about").status_code == 200


def test_numbers_that_are_not_finite_and_broken_json_are_refused(page):
    for text in ('{"sigma": NaN}', '{"sigma": Infinity}', '{"sigma": ', "[]"):
        refused = page.post("/api/field", content=text, headers={"content-type": "application/json"})
        assert 400 <= refused.status_code < 500, text


def test_every_answer_carries_the_policy_and_strangers_are_refused(page):
    for address in ("/", "/app.js", "/api/about", "/nowhere"):
        answer = page.get(address)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert page.get("/app.js").headers["content-type"].startswith("text/javascript")
    assert page.get("/", headers={"host": "evil.example"}).status_code == 403
    assert page.get("/", headers={"host": "localhost:8750"}).status_code == 200
    assert page.post("/api/field", json={}, headers={"origin": "http://evil.example"}).status_code == 403
    assert page.post("/api/tables", json={"text": "1" * 7_000_000}).status_code == 413
    assert page.post("/api/tables", content=iter([b"{}"])).status_code == 413


def test_no_file_of_the_page_names_another_place_or_styles_inline():
    """The page is its own source: nothing is built, so that what is served is what a contributor reads."""
    from scorefield.explorer.app import STATIC

    for path in sorted(STATIC.rglob("*")):
        if path.suffix in (".js", ".css", ".html"):
            text = path.read_text()
            places = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
            assert not places, f"{path.name}: {places}"
            assert "innerHTML" not in text, path.name
            assert "eval(" not in text, path.name
    html = (STATIC / "index.html").read_text()
    assert "style=" not in html
    assert not re.search(r"<script(?![^>]* src=)", html)


def test_an_explorer_of_a_run_opens_it(tmp_path):
    model = Preconditioned(networks.MLP(2, 8, 1), noises.VP())
    checkpoints.save(model, tmp_path / "mine", data={"shape": [2]})
    app = application(tmp_path / "mine")
    assert app.state.held.opening == "#/field?density=run&method=run"
    page = TestClient(app, base_url="http://localhost")
    assert page.get("/api/about").json()["run"] == str(tmp_path / "mine")
    body = {"density": {"name": "run"}, "method": "run", "n": 4, "fine": 4}
    assert page.post("/api/field", json=body).json()["fisher"]["value"] >= 0


def test_a_run_of_the_box_is_opened_by_its_name():
    app = application(Path("rings"))
    assert app.state.held.opening == "#/field?density=rings&method=run"
    names = [each["name"] for each in app.state.held.about()["runs"]]
    assert names[0] == "rings"
    assert len(names) == len(set(names))
    assert application(Path("digits")).state.held.opening == "#/images"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "this is no run"),
        (["--port", "70000"], "ports are 0 to 65535"),
    ],
)
def test_the_command_says_what_is_wrong(words, told, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["explore", "--no-browser", *words])
    assert stop.value.code == 2
    assert told in capsys.readouterr().err


def test_a_port_in_use_is_told(capsys):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        with pytest.raises(SystemExit) as stop:
            main(["explore", "--no-browser", "--port", str(taken.getsockname()[1])])
    assert stop.value.code == 2
    assert "choose another, or --port 0" in capsys.readouterr().err


# One noisy point


@pytest.mark.parametrize("name", ["mixture", "moons", "checkerboard"])
def test_the_arrows_of_a_point_are_one_another(page, name):
    body = {"density": {"name": name}, "sigma": 0.5, "at": [0.3, -0.2], "sources": 50, "picked": 7}
    found = page.post("/api/point", json=body).json()
    y, w = unpacked(found["sources"]).double(), unpacked(found["weights"]).double()
    x, s = torch.tensor([0.3, -0.2]).double(), torch.tensor(found["average"])
    assert float(w.sum()) == pytest.approx(1, abs=1e-6)
    assert ((w[:, None] * (y - x)).sum(0) / 0.25).tolist() == pytest.approx(s.tolist(), abs=1e-5)
    assert found["target"] == pytest.approx(((y[7] - x) / 0.25).tolist(), abs=1e-5)
    assert found["denoised"] == pytest.approx((x + 0.25 * s).tolist(), abs=1e-6)
    assert found["epsilon"] == pytest.approx((-0.5 * s).tolist(), abs=1e-6)
    assert found["effective"] == pytest.approx(float(1 / (w**2).sum()), rel=1e-4)
    sigma, size, epsilon = (unpacked(found["levels"][each]) for each in ("sigma", "score", "epsilon"))
    assert torch.allclose(epsilon, sigma * size, rtol=1e-5)
    exact_score = densities.toy(Chosen(name=name)).score(x[None], 1.0, 0.5)[0]
    assert found["exact"] == pytest.approx(exact_score.tolist(), rel=1e-6)
    assert found["score"] == pytest.approx(found["exact"], rel=1e-6)  # the method asked for is the exact one


def test_with_more_sources_the_average_becomes_the_score(page):
    """Within five standard errors of the ratio of means that the average is."""
    body = {"density": {"name": "mixture"}, "sigma": 0.6, "at": [0.4, 0.5], "sources": 1000}
    found = page.post("/api/point", json=body).json()
    w, y = unpacked(found["weights"]).double(), unpacked(found["sources"]).double()
    s = torch.tensor(found["average"])
    pull = (y - torch.tensor([0.4, 0.5])) / 0.36
    error = ((w[:, None] * (pull - s)) ** 2).sum(0).sqrt()
    assert bool(((s - torch.tensor(found["exact"])).abs() < 5 * error).all())


def test_the_code_of_a_point_prints_its_numbers(page, capsys):
    body = {"density": {"name": "rings"}, "sigma": 0.4, "at": [0.9, 0.1], "sources": 30, "picked": 4}
    found = page.post("/api/point", json=body).json()
    out = ran(page.post("/api/point/code", json=body).json()["code"], capsys)
    printed = [
        list(map(float, re.findall(r"-?\d+\.\d*(?:e-?\d+)?", line.split("tensor")[1]))) for line in out.splitlines()
    ]
    for name, numbers in zip(("target", "average", "denoised", "epsilon", "exact"), printed):
        assert numbers == pytest.approx(found[name], abs=1e-4), name


def test_the_sources_are_the_first_draws_whatever_else_is_asked(page):
    few = page.post("/api/point", json={"sources": 10}).json()
    many = page.post("/api/point", json={"sources": 100, "sigma": 2.0}).json()
    assert torch.equal(unpacked(few["sources"]), unpacked(many["sources"])[:10])
    assert torch.equal(unpacked(few["sources"]), densities.toy(Chosen()).sample(10, Streams(0, range(10))))
