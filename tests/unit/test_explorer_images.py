"""Images of the explorer: what is streamed is what the library draws, what is known stays, and drawings survive a link."""

import ast
import base64
import contextlib
import io
import json

import pytest
import torch

from scorefield import box, load, save
from scorefield.checkpoints import facts
from scorefield.errors import DataError, RangeError, ShapeError
from scorefield.explorer import application, canvas, imaging
from scorefield.explorer.held import Held
from scorefield.models import Preconditioned
from scorefield.networks import UNet
from scorefield.noises import EDM

app = application()
client = pytest.importorskip("fastapi.testclient").TestClient(app, base_url="http://localhost")


def events(address, **body):
    answer = client.post(f"/api/images/{address}", json=body)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def grey(packed):
    """Bytes as the page gets them, as a tensor of levels 0 … 255."""
    return torch.frombuffer(bytearray(base64.b64decode(packed["uint8"])), dtype=torch.uint8).reshape(packed["shape"])


def printed(address, body):
    out = io.StringIO()
    code = client.post(f"/api/images/{address}/code", json=body).json()["code"]
    with contextlib.redirect_stdout(out):
        exec(compile(code, address, "exec"), {})
    assert code.count("\n") <= 13
    return ast.literal_eval(out.getvalue())


def test_what_forms_is_what_the_run_draws_with_that_seed_and_has_nearest_images():
    seen = events("forming", n=2, seed=3)
    assert [each["kind"] for each in seen] == ["plan", *["state"] * 20, "end"]
    drawn = facts("digits")["sampling"].sample(load("digits"), 2, shape=(1, 28, 28), seed=3)
    assert (grey(seen[-1]["images"]).int() - grey(canvas.bytes_of(drawn)).int()).abs().max() <= 1
    train = imaging._loaded("digits").train
    far = (drawn.flatten(1)[:, None] - train.flatten(1)).norm(dim=2)
    assert seen[-1]["distances"] == pytest.approx(far.amin(1).tolist(), rel=1e-3)
    assert torch.equal(grey(seen[-1]["nearest"]), grey(canvas.bytes_of(train[far.argmin(1)])))
    sigmas = [each["sigma"] for each in seen[:-1]]
    assert sigmas == sorted(sigmas, reverse=True)
    assert (sigmas[0], sigmas[-1]) == (80.0, 0.0)


def test_an_image_does_not_depend_on_how_many_are_drawn_beside_it():
    one, three = (grey(events("forming", n=n, steps=4, run="digits-fast")[-1]["images"]) for n in (1, 3))
    assert (one[0].int() - three[0].int()).abs().max() <= 1


def test_classes_and_their_weight_are_obeyed():
    seen = events("forming", n=3, steps=3, label=7)
    assert seen[0]["labels"] == [7, 7, 7]
    assert events("forming", n=1, steps=3, label=-1)[0]["labels"] is None
    a, b = (grey(events("forming", n=1, steps=6, label=2, weight=w)[-1]["images"]) for w in (1.0, 4.0))
    assert not torch.equal(a, b)


@pytest.mark.parametrize("method", ["moments", "replacement"])
def test_completions_keep_what_is_known_and_differ_elsewhere(method):
    seen = events("completion", n=2, steps=6, method=method, region="left", share=0.4, example=6)
    known = torch.tensor(seen[0]["seen"], dtype=torch.bool).reshape(28, 28)
    assert torch.equal(known, (torch.arange(28) < 11).expand(28, 28))
    x = grey(seen[-1]["images"])[:, 0].float() / 127.5 - 1
    model = imaging.pictured(Held(), "digits")
    truth = canvas.read(canvas.written(imaging.examples(model, 20)[0][6]), (1, 28, 28))[0]
    missed = (x - truth)[:, known].square().mean(1).sqrt()
    assert missed.max() < (0.3 if method == "moments" else 0.006)
    assert (x[0] - x[1])[~known].square().mean() > 20 * (x[0] - x[1])[known].square().mean()


def test_a_way_there_and_back_ends_where_it_began_and_more_steps_end_nearer():
    rough, fine = (events("path", start=2, stop=18, frames=3, steps=steps) for steps in (10, 40))
    assert fine[2]["error"] < 0.02 < rough[2]["error"]
    ends, images = grey(fine[0]["ends"]).int(), grey(fine[2]["images"]).int()
    assert (images[[0, -1]] - ends).abs().float().mean() < 2
    mixed = grey(fine[2]["mixed"]).int()
    assert (mixed[1] - (ends[0] + ends[1]) / 2).abs().max() <= 1
    assert (images[1] - mixed[1]).abs().float().mean() > 10, "the way through the noise is no mixture of pixels"


def test_a_great_circle_keeps_the_size_of_noise_and_turns_evenly():
    ends = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ends = ends / ends.flatten(1).norm(dim=1)[:, None, None, None]
    way = imaging.circle(ends, 5).flatten(1)
    assert torch.allclose(way.norm(dim=1), torch.ones(5), atol=1e-5)
    turns = (way[1:] * way[:-1]).sum(1)
    assert torch.allclose(turns, turns[:1].expand(4), atol=1e-5)
    assert torch.allclose(way[[0, -1]], ends.flatten(1), atol=1e-5)
    assert torch.allclose(imaging.circle(ends[[0, 0]], 3)[1], ends[0])


@pytest.mark.parametrize(
    ("address", "body", "said"),
    [
        ("forming", {"n": 2, "steps": 5, "label": 3, "weight": 2.0, "sampler": "Heun()"}, "distances"),
        ("forming", {"n": 1, "run": "digits-fast", "steps": 2, "weight": 1.0, "label": -1}, "distances"),
        ("completion", {"n": 1, "steps": 4, "label": 4, "region": "bottom"}, "missed"),
        ("completion", {"n": 1, "steps": 3, "method": "resampling", "example": 9}, "missed"),
    ],
    ids=["forming", "few-steps", "moments", "resampling"],
)
def test_the_code_prints_what_the_page_shows(address, body, said):
    assert printed(address, body) == pytest.approx(events(address, **body)[-1][said], rel=0.02, abs=2e-3)


def test_the_code_of_a_way_prints_its_error():
    body = {"start": 0, "stop": 3, "frames": 3, "steps": 10}
    assert printed("path", body) == pytest.approx(events("path", **body)[2]["error"], rel=0.02)


def test_a_drawing_survives_its_link_to_a_sixteenth():
    image = torch.rand(1, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    again = canvas.read(canvas.written(image), (1, 5, 7))
    assert (again - image).abs().max() <= 1 / 15 + 1e-6
    assert canvas.written(again) == canvas.written(image)


@pytest.mark.parametrize(
    ("region", "share", "expected"),
    [("top", 0.25, (0, 1)), ("bottom", 0.25, (3, 4)), ("left", 0.75, (0, 3)), ("right", 0.5, (2, 4))],
)
def test_a_side_is_known_to_its_share(region, share, expected):
    seen = canvas.known(torch.zeros(1, 4, 4), region, share)[0]
    line = seen[:, 0] if region in ("top", "bottom") else seen[0]
    assert line.nonzero().flatten().tolist() == list(range(*expected))


def test_ink_is_known_with_the_pixels_about_it():
    image = torch.full((1, 5, 5), -1.0)
    image[0, 2, 2] = 1.0
    assert canvas.known(image, "ink", 0.5)[0].int().sum() == 9


def test_what_cannot_be_drawn_or_known_is_told():
    with pytest.raises(ShapeError, match="28 × 28 pixels of four bits are 392"):
        canvas.read("AAAA", (1, 28, 28))
    with pytest.raises(ShapeError, match="only grey images"):
        canvas.read("AAAA", (3, 2, 2))
    with pytest.raises(DataError, match="no base64url"):
        canvas.read("%%%%", (1, 2, 2))
    with pytest.raises(DataError, match="it is empty"):
        canvas.known(torch.full((1, 4, 4), -1.0), "ink", 0.5)
    with pytest.raises(RangeError, match="something known"):
        canvas.known(torch.zeros(1, 4, 4), "top", 0.01)


@pytest.mark.parametrize(
    ("address", "body", "said"),
    [
        ("forming", {"run": "moons"}, "images are drawn by denoisers of images"),
        ("forming", {"run": "nobody"}, "this explorer holds"),
        ("forming", {"label": 10}, "labels are 0 to 9"),
        ("forming", {"steps": 0}, "greater than or equal to 1"),
        ("forming", {"n": 99}, "less than or equal to 16"),
        ("forming", {"sampler": "Hein()"}, "did you mean 'Heun'"),
        ("forming", {"sampler": "Langevin()"}, "down the noise levels"),
        ("forming/code", {"sampler": "Langevin()"}, "down the noise levels"),
        ("forming", {"weight": -1}, "greater than or equal to 0"),
        ("completion", {"drawing": "AA"}, "are 392"),
        ("completion", {"region": "middle"}, "'top'"),
        ("completion", {"share": 1.0}, "less than 1"),
        ("completion", {"drawing": "A" * 523, "region": "ink"}, "it is empty"),
        ("path", {"start": 3, "stop": 3}, "choose two"),
        ("path", {"start": 77}, "less than 20"),
    ],
)
def test_wrong_requests_are_refused_with_a_sentence(address, body, said):
    answer = client.post(f"/api/images/{address}", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_a_walk_whose_reader_leaves_is_not_walked_on(monkeypatch):
    steps = []
    true = imaging.noisy_bytes
    monkeypatch.setattr(imaging, "noisy_bytes", lambda *given: steps.append(1) or true(*given))
    model = imaging.pictured(Held(), "digits")
    walking = imaging.forming(model, n=1, seed=0, steps=20, sampler="", label=None, weight=1.0)
    next(walking), next(walking)
    walking.close()
    assert len(steps) == 2


def test_a_run_of_other_images_is_completed_from_its_own_samples_and_says_that_its_data_are_not_here(tmp_path):
    torch.manual_seed(0)
    network = UNet(3, 8, width=8, multipliers=(1,), blocks=1)
    save(Preconditioned(network, EDM(10.0)), tmp_path / "mine", data={"name": "mine", "shape": [3, 8, 8]})
    with pytest.importorskip("fastapi.testclient").TestClient(
        application(tmp_path / "mine"), base_url="http://localhost"
    ) as own:
        found = own.get("/api/images/model").json()
        assert (found["shape"], found["classes"], found["drawings"]) == ([3, 8, 8], None, None)
        assert "not at hand: mine" in found["why"]
        end = json.loads(own.post("/api/images/forming", json={"n": 1, "steps": 2}).text.splitlines()[-1])
        assert end["nearest"] is None
        assert end["images"]["shape"] == [1, 3, 8, 8]


def test_data_with_another_fingerprint_are_not_taken_for_the_training_data():
    run = Held().opened("digits")
    about = {**run.about, "data": {**run.about["data"], "fingerprint": "0" * 16}}
    found, why = imaging.training_data(type(run)(run.name, run.model, about, box.place("digits")))
    assert found is None
    assert "other rows" in why
