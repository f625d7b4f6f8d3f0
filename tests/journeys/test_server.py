"""A real server over HTTP: its answers are the library's, whatever they were batched with, and bad requests are told so."""

import base64
import http.client
import io
import json
import math
import os
import signal
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from serving import COVARIANCE, bell, counted, images, serving, until

from scorefield.server import Client, Completion, ServerError
from scorefield.server.served import Served


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return images(tmp_path_factory.mktemp("server") / "images")


@pytest.fixture(scope="module")
def server(run):
    words = ["--workers", 2, "--threads", 1, "--max-rows", 100, "--max-body", 0.25, "--timeout", 10**6]
    with serving(run, *words) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def posted(client, path, body, **headers):
    """(status, headers, body) of a request as it is, without the client's care."""
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    client._line.request("POST", path, data, {"Content-Type": "application/json", **headers})
    answer = client._line.getresponse()
    return answer.status, dict(answer.headers), answer.read()


def test_samples_are_those_of_the_library(client, run):
    served = Served.open(run)
    wanted = served.drawing.sample(served.model, 5, shape=served.shape, seed=4)
    found = client.samples(5, seed=4)
    assert found.x.shape == (5, 1, 8, 8)
    np.testing.assert_allclose(found.x, served.scaling.to_data(wanted).numpy(), rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(found.labels, served.drawing.labels(5, seed=4))
    np.testing.assert_array_equal(client.samples(2, seed=4, first=3).x, found.x[3:])
    np.testing.assert_array_equal(client.samples(3, seed=4, label=1).labels, [1, 1, 1])


def asked(k):
    """The k-th of many requests that differ in all they may differ in."""
    kinds = [
        {"steps": 4}, {"steps": 4, "label": 2}, {"steps": 5, "guidance": 2.0}, {"sampler": "Ancestral(eta=0.5)", "steps": 4},
        {"sampler": "Heun", "steps": 3}, {}, {"steps": 4}, {"steps": 4, "label": 0},
    ]  # fmt: skip
    return {"n": 1 + (k % 7 == 0) * 20 + k % 3, "seed": k % 50, **kinds[k % len(kinds)]}


def test_many_at_once_get_what_each_gets_alone_bit_for_bit(server, client):
    questions = [asked(k) for k in range(240)]
    alone = [client.samples(**each).x for each in questions[:120]]
    shared = counted(client, "scorefield_batch_requests_count")

    def part(k):
        with server.client() as mine:
            return [mine.samples(**each).x for each in questions[k::24]]

    with ThreadPoolExecutor(24) as pool:
        together = list(pool.map(part, range(24)))
    batches = counted(client, "scorefield_batch_requests_count") - shared
    assert batches < 0.8 * len(questions), "requests shared no batches"
    for k, question in enumerate(questions):
        if k < len(alone):
            np.testing.assert_array_equal(together[k % 24][k // 24], alone[k], err_msg=str(question))
    assert client.model()["batches"][-1] == 16


def test_every_form_says_the_same(client):
    body = {"n": 3, "seed": 1}
    x = client.samples(**body).x
    _, _, npy = posted(client, "/samples?format=npy", body)
    np.testing.assert_array_equal(np.load(io.BytesIO(npy)), x)
    bytes_of = np.clip(np.rint(x), 0, 255).astype(np.uint8)
    status, headers, png = posted(client, "/samples", body, Accept="image/png, */*;q=0.1")
    assert (status, headers["content-type"]) == (200, "image/png")
    sheet = np.asarray(Image.open(io.BytesIO(png)))
    np.testing.assert_array_equal(sheet[:8, :8], bytes_of[0, 0])
    np.testing.assert_array_equal(sheet[:8, 10:18], bytes_of[1, 0])
    _, _, packed = posted(client, "/samples?format=zip", body)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == ["0.png", "1.png", "2.png"]
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(archive.read("2.png")))), bytes_of[2, 0])
    states = list(client.walk(**body))
    assert [state.step for state in states] == list(range(7))
    assert states[0].denoised is None
    assert states[0].t == 1.0
    np.testing.assert_array_equal(states[-1].x, x)
    assert [state.step for state in client.walk(**body, every=3)] == [0, 3, 6]
    _, _, events = posted(client, "/samples", body, Accept="text/event-stream")
    assert events.startswith(b"event: state\ndata: {")
    np.testing.assert_array_equal(np.float32(json.loads(events.rsplit(b"data: ", 1)[1])["samples"]), x)


def test_scores_and_means_are_those_of_the_library_in_the_units_of_the_data(client, run):
    served = Served.open(run)
    x = client.samples(3, seed=2).x
    y = served.scaling.to_model(torch.from_numpy(x))
    t, label = torch.tensor(0.3, dtype=torch.float64), torch.tensor([1, 1, 1])
    wanted = served.model.score(y, t, label=label) / 127.5
    np.testing.assert_allclose(client.scores(x, t=0.3, label=1), wanted, rtol=1e-4, atol=1e-5)
    level = float(served.model.noise.ratio(t))
    np.testing.assert_allclose(client.scores(x, level=level, label=1), wanted, rtol=1e-4, atol=1e-5)
    mean = served.scaling.to_data(served.model(y, t))
    np.testing.assert_allclose(client.denoise(x, t=0.3), mean, rtol=1e-4, atol=1e-3)
    lists = posted(client, "/denoise", {"x": x.tolist(), "t": 0.3})
    np.testing.assert_array_equal(np.float32(json.loads(lists[2])["denoised"]), client.denoise(x, t=0.3))


def test_completions_keep_what_is_seen(client):
    image = client.samples(1, seed=9, label=0).x[0]
    mask = np.zeros((1, 8, 8), dtype=bool)
    mask[:, :4] = True
    found = client.samples(2, seed=3, steps=20, completion=Completion(image, mask)).x
    assert np.abs(found - image)[:, mask].mean() < 0.1 * 127.5
    assert np.abs(found[0] - found[1])[~mask].mean() > np.abs(found[0] - found[1])[mask].mean()
    picture = Image.fromarray(np.where(mask[0], 255, 0).astype(np.uint8))
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    given = {"png": base64.b64encode(stream.getvalue()).decode()}
    body = {"n": 2, "seed": 3, "steps": 20, "completion": {"image": image.tolist(), "mask": given}}
    np.testing.assert_array_equal(np.float32(json.loads(posted(client, "/samples", body)[2])["samples"]), found)


NOTHING, ALL, IMAGE = np.zeros((1, 8, 8)).tolist(), np.ones((1, 8, 8)).tolist(), np.zeros((1, 8, 8)).tolist()
HALF = np.repeat([[1.0], [0.0]], [4, 4], 0).repeat(8, 1)[None].tolist()
PICKLE = base64.b64encode(b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n").decode()


def png(width, height):
    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, format="PNG")
    return {"png": base64.b64encode(stream.getvalue()).decode()}


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/samples", "{", 400, "JSON"),
        ("/samples", b"\xff\xfe", 400, "body"),
        ("/samples", [], 422, "body"),
        ("/samples", {"n": 0}, 422, "body.n"),
        ("/samples", {"n": 101}, 422, "100"),
        ("/samples", {"n": "3"}, 422, "integer"),
        ("/samples", {"n": True}, 422, "integer"),
        ("/samples", {"steps": 100_000}, 422, "1000"),
        ("/samples", {"seed": -1}, 422, "body.seed"),
        ("/samples", {"seed": 2**60}, 422, "body.seed"),
        ("/samples", {"label": 3}, 422, "body.label"),
        ("/samples", {"labels": 1}, 422, "body.labels"),
        ("/samples", {"sampler": "Huen"}, 422, "body.sampler"),
        ("/samples", {"sampler": "Langevin"}, 422, "body.sampler"),
        ("/samples", {"sampler": "PredictorCorrector(predictor=Langevin())"}, 422, "does not walk"),
        ("/samples", {"sampler": "Ancestral(eta='a')"}, 422, "eta"),
        ("/samples", {"sampler": "Ancestral(eta=-1)"}, 422, "eta"),
        ("/samples", {"sampler": "Corrected(4)", "steps": 1}, 422, "too few"),
        ("/samples", '{"guidance": NaN}', 422, "body.guidance"),
        ("/samples", {"completion": {"image": IMAGE, "mask": NOTHING}}, 422, "nothing is seen"),
        ("/samples", {"completion": {"image": IMAGE, "mask": ALL}}, 422, "all is seen"),
        ("/samples", {"completion": {"image": IMAGE}}, 422, "body.completion.mask"),
        ("/samples", {"completion": {"image": png(9, 8), "mask": HALF}}, 422, "9 × 8"),
        ("/samples", {"completion": {"image": {"png": "AAAA"}, "mask": HALF}}, 422, "no PNG"),
        ("/samples", {"completion": {"image": {"png": "!"}, "mask": HALF}}, 422, "base64"),
        ("/scores", {"x": [[1.0]], "t": 0.5}, 422, "body"),
        ("/scores", {"x": [IMAGE]}, 422, "t"),
        ("/scores", {"x": [IMAGE], "t": 0}, 422, "t"),
        ("/scores", {"x": [IMAGE], "level": 1e9}, 422, "level"),
        ("/scores", {"x": [IMAGE], "t": 0.5, "level": 1.0}, 422, "t"),
        ("/scores", {"x": [], "t": 0.5}, 422, "x"),
        ("/scores", {"x": {"npy": PICKLE}, "t": 0.5}, 422, "no NPY"),
        ("/scores", {"x": {"npy": "AAAA"}, "t": 0.5}, 422, "no NPY"),
        ("/densities", {"x": [IMAGE], "steps": 30}, 422, "steps"),
        ("/samples?format=gif", {}, 422, "format"),
        ("/nowhere", {}, 404, "Not Found"),
        ("/model", {}, 405, "Method"),
        ("/samples", {"completion": {"image": {"png": "A" * 300_000}, "mask": HALF}}, 413, "262144"),
    ],
    ids=lambda value: None if isinstance(value, str | int) else "body",
)  # fmt: skip
def test_bad_requests_are_told_what_was_wanted(client, path, body, status, words):
    found, headers, told = posted(client, path, body)
    assert (found, headers["content-type"]) == (status, "application/problem+json"), told
    problem = json.loads(told)
    assert problem["status"] == status
    assert problem["instance"] == f"urn:request:{headers['x-request-id']}"
    assert words in told.decode()
    client._line.close()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_does_not_say_that_it_is_json_is_refused(client, kind):
    status, headers, told = posted(client, "/samples", "{}", **{"Content-Type": kind})
    assert (status, headers["content-type"]) == (415, "application/problem+json")
    assert b"application/json wanted" in told


def test_nothing_of_it_hurt_the_server(client, server):
    with pytest.raises(ServerError) as told:
        client.scores(np.full((1, 1, 8, 8), np.nan), t=0.5)
    assert told.value.status == 422
    with pytest.raises(ServerError, match="wanted"):
        client.scores(np.zeros((2, 1, 7, 8)), t=0.5)
    assert client.ready()
    assert client.samples(1).x.shape == (1, 1, 8, 8)
    assert counted(client, "scorefield_worker_restarts") == 0
    status, headers, _ = posted(client, "/samples", {}, **{"x-request-id": "mine-1"})
    assert (status, headers["x-request-id"]) == (200, "mine-1")
    line = server.about("mine-1")
    assert {"route": "/samples", "status": 200, "rows": 1}.items() <= line.items()
    assert line["evaluations"] > 0


def test_a_client_that_goes_stops_its_computation(server, client):
    """One leaves in the middle of its walk, one from the line behind it: a hundred rows of a thousand steps each."""
    with server.client() as other:

        def number(name):
            return counted(other, f"scorefield_{name}")

        cancelled, rows = number("cancelled_batches_total"), number("rows_total")
        walk = client.walk(100, steps=1000, sampler="Ancestral")
        assert next(walk).step == 0
        gone = http.client.HTTPConnection(client._line.host, client._line.port)
        long = json.dumps({"n": 100, "steps": 1000, "sampler": "Ancestral"})
        gone.request("POST", "/samples", long, {"Content-Type": "application/json", "x-request-id": "gone-1"})
        until(lambda: number("waiting_requests"))
        gone.close()
        walk.close()
        assert server.about("gone-1")["status"] == 499
        until(lambda: not number("waiting_requests") and not number("running_batches"))
        assert number("cancelled_batches_total") > cancelled
        assert number("rows_total") - rows < 100, "the computation went on without anybody who waited for it"
        assert other.samples(1, steps=2).x.shape == (1, 1, 8, 8)


def test_a_worker_killed_under_load_loses_nothing(server, client):
    questions = [{"n": 2, "seed": k, "steps": 8} for k in range(48)]
    alone = {k: client.samples(**questions[k]).x for k in (0, 17, 47)}
    found: dict[int, np.ndarray] = {}

    def ready():
        return [line["pid"] for line in server.lines if line.get("event") == "worker ready"]

    restarts = counted(client, "scorefield_worker_restarts")
    until(lambda: len(ready()) == 2 + restarts)
    known = len(server.lines)

    def part(k):
        with server.client(retries=0) as mine:
            for number in range(k, len(questions), 8):
                found[number] = mine.samples(**questions[number]).x

    with ThreadPoolExecutor(8) as pool:
        parts = [pool.submit(part, k) for k in range(8)]
        until(lambda: len(found) >= 8)
        os.kill(ready()[-1], signal.SIGKILL)
        for each in parts:
            each.result()
    assert len(found) == len(questions)
    for number, x in alone.items():
        np.testing.assert_array_equal(found[number], x)
    assert server.event("worker restarts", after=known)["exit"] == -signal.SIGKILL
    assert counted(client, "scorefield_worker_restarts") > restarts


def test_the_busy_refuse_and_the_stopping_answer_what_they_took(run, tmp_path):
    token = tmp_path / "token"
    token.write_text("a-long-enough-token\n")
    words = ["--workers", 1, "--queue", 2, "--timeout", 10**6, "--max-steps", 10**6, "--token-file", token]
    with serving(run, *words) as server:
        with server.client() as nobody, pytest.raises(ServerError) as told:
            nobody.samples()
        assert told.value.status == 401
        with server.client(token="a-long-enough-tokem") as wrong, pytest.raises(ServerError):
            wrong.model()
        mine = {"token": "a-long-enough-token", "retries": 0}

        def ask(n):
            with server.client(**mine) as one:
                try:
                    return one.samples(n, steps=12).x.shape[0]
                except ServerError as error:
                    return error.status

        with server.client(**mine) as first, server.client(**mine) as other, ThreadPoolExecutor(16) as pool:
            walk = first.walk(1, steps=10**6)  # it keeps the worker until it is closed
            assert next(walk).step == 0
            asked = [pool.submit(ask, 4) for _ in range(16)]
            until(lambda: sum(each.done() for each in asked) == 14)
            walk.close()
            assert sorted(each.result() for each in asked) == [4, 4] + [429] * 14
            walk = first.walk(1, steps=10**6)
            assert next(walk).step == 0
            taken = [pool.submit(ask, n) for n in (3, 4)]
            until(lambda: counted(other, "scorefield_waiting_requests") == 2)
            server.process.send_signal(signal.SIGTERM)
            assert server.event("draining")["signal"] == "SIGTERM"
            assert ask(5) == 503
            walk.close()
            assert [each.result() for each in taken] == [3, 4]
    assert server.event("stopped")


def test_the_late_are_told(tmp_path):
    with serving(bell(tmp_path / "bell"), "--timeout", 1, "--max-steps", 10**6) as server, server.client() as client:
        for late in (client.samples, lambda **how: list(client.walk(**how, every=1000))):
            with pytest.raises(ServerError) as told:
                late(steps=10**6)
            assert told.value.status == 504, told.value


def test_a_known_density_is_answered_in_the_units_of_the_data(tmp_path):
    with serving(bell(tmp_path / "bell"), "--batch", 8) as server, server.client() as client:
        x = client.samples(400, seed=1).x
        np.testing.assert_allclose(x.mean(0), [1.0, 1.0], atol=5 * 2 / 20)
        np.testing.assert_allclose(np.cov(x.T), 4 * COVARIANCE, atol=5 * 4 * 1.5 / 20)
        x = x[:3]
        inverse = np.linalg.inv(4 * COVARIANCE.numpy())
        nats = client.log_density(x, steps=20)
        exact = -0.5 * ((x - 1) @ inverse * (x - 1)).sum(1) - math.log(2 * math.pi) - 0.5 * math.log(16 * 0.75)
        assert np.all(np.abs(nats.value - exact) <= 5 * nats.error)
        assert np.all(nats.error < 0.01)
        np.testing.assert_allclose(client.scores(x, level=1e-2), -(x - 1) @ inverse, rtol=0.01, atol=0.01)
        completed = client.samples(3, completion=Completion(x[0], np.array([True, False]))).x
        assert np.abs(completed[:, 0] - x[0, 0]).max() < 0.5
        for body, query, status, words in (
            ({"label": 1}, "", 422, "label"), ({"label": 0}, "", 409, "no labels"), ({"guidance": 2.0}, "", 409, "guidance"),
            ({}, "?format=png", 406, "no picture"),
        ):  # fmt: skip
            found, _, told = posted(client, f"/samples{query}", body)
            assert (found, words in told.decode()) == (status, True), told
        about = client.model()
        assert (about["shape"], about["classes"], about["kind"]) == ([2], None, "denoiser")


def test_a_port_that_is_taken_and_runs_that_are_none_are_told_in_a_sentence(run, tmp_path, capfd):
    import socket

    from scorefield.cli import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        damaged = images(tmp_path / "damaged")
        weights = damaged / "average.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        for words, told in (
            ([str(run), "--port", port], "in use"),
            (["nowhere", "--port", "0"], "this is no run"),
            ([str(damaged), "--port", "0"], "average.safetensors"),
            ([str(run), "--port", "70000"], "65535"),
            ([str(run), "--port", "0", "--workers", "0"], "at least 1"),
            ([str(run), "--port", "0", "--host", "no.such.host.invalid"], "no such host"),
            ([str(run), "--port", "0", "--token-file", "nowhere"], "nowhere"),
            ([str(run), "--port", "0", "--log-level", "loud"], "loud"),
        ):
            with pytest.raises(SystemExit) as stop:
                main(["serve", *words])
            assert stop.value.code == 2, words
            assert told in capfd.readouterr().err


def test_nobody_at_an_address_is_an_error_of_the_system():
    with Client("http://localhost:9", retries=1) as nobody, pytest.raises(OSError, match="refused"):
        nobody.samples()
    assert not Client("http://localhost:9").ready()


@pytest.mark.slow
def test_an_exported_graph_computes_the_same_and_only_for_its_own_run(tmp_path, capfd):
    from scorefield import export
    from scorefield.cli import main

    served = Served.open("digits-fast")
    export.export(
        served.model,
        tmp_path / "out",
        how=served.drawing,
        shape=served.shape,
        scaling=served.scaling,
        run="digits-fast",
    )
    graph = tmp_path / "out" / "denoiser.onnx"
    wanted = served.scaling.to_data(served.drawing.sample(served.model, 4, shape=served.shape, seed=2)).numpy()
    with serving("digits-fast", "--onnx", graph, "--threads", 1) as server, server.client() as client:
        found = client.samples(4, seed=2).x
        np.testing.assert_allclose(found, wanted, atol=0.05)
        np.testing.assert_array_equal(client.samples(1, seed=2, first=3).x, found[3:])
    with pytest.raises(SystemExit) as stop:
        main(["serve", "digits", "--port", "0", "--onnx", str(graph)])
    assert stop.value.code == 2
    assert "other weights" in capfd.readouterr().err
