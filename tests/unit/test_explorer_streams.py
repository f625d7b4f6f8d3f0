"""The routes of walks and trainings on a real server: lines, refusals, code that prints the page's numbers, readers who leave."""

import base64
import contextlib
import http.client
import io
import json
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scorefield import VP, plane, sample
from scorefield.explorer import application, training_code, walks_code
from scorefield.explorer.contest import Contest, Setting
from scorefield.explorer.densities import Chosen, toy
from scorefield.explorer.requests import WalkRequest
from scorefield.explorer.training_code import Stand
from scorefield.metrics import Estimate
from scorefield.samplers import Heun

uvicorn = pytest.importorskip("uvicorn")
SMALL = {"n": 30, "evaluations": 8, "frames": 3}
PATIENCE = 300  # seconds after which what must come is taken to have failed, on the slowest machine
LEARN = {"page": "here", "rows": 200, "batch": 16, "width": 8, "depth": 1}


@pytest.fixture(scope="module")
def explorer():
    """A server in a thread of this process, so that what it holds can be looked at."""
    app = application()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield SimpleNamespace(app=app, port=listening.getsockname()[1])
    server.should_exit = True
    thread.join(PATIENCE)
    assert not thread.is_alive()


@contextlib.contextmanager
def asked(explorer, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", explorer.port, timeout=PATIENCE)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def lines(explorer, path, body):
    with asked(explorer, path, body) as answer:
        assert answer.status == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("application/x-ndjson")
        return [json.loads(line) for line in answer]


def refusal(explorer, path, body):
    with asked(explorer, path, body) as answer:
        assert answer.headers["Content-Type"] == "application/problem+json"
        return answer.status, json.loads(answer.read())["detail"]


def unpacked(packed):
    values = np.frombuffer(base64.b64decode(packed["float32"]), "<f4").copy()
    return torch.from_numpy(values).reshape(packed["shape"])


def printed(code):
    """What the lines print, as {first word: the rest}."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "snippet", "exec"), {})
    return dict(line.split(" ", 1) for line in out.getvalue().strip().splitlines())


def test_a_walk_comes_as_lines_and_ends_where_the_library_ends(explorer):
    told = lines(explorer, "/api/walk", {"density": {"name": "moons"}, "sampler": "Heun()", "seed": 2, **SMALL})
    assert [line["kind"] for line in told] == ["plan", "state", "state", "state", "end"]
    expected = sample(plane.moons().denoiser(VP()), 30, sampler=Heun(), steps=4, seed=2)
    torch.testing.assert_close(unpacked(told[-2]["x"]), expected, rtol=1e-4, atol=1e-5)
    behind = unpacked(told[-2]["backdrop"])
    assert behind.shape == (48, 48)
    assert bool(behind.isfinite().all())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sampler": "Nobody()"}, "Nobody"),
        ({"sampler": "__import__('os')"}, "sampler"),
        ({"sampler": "Langevin(size=-1.0)"}, "size"),
        ({"sampler": "Multistep(points=4)", "evaluations": 2}, "at least 4"),
        ({"sampler": "Heun()", "method": "kernel"}, "one noise level"),
        ({"sampler": "Heun()", "method": "network"}, "not been trained"),
        ({"n": 1}, "n"),
        ({"evaluations": 10**9}, "evaluations"),
        ({"start": [0.0, 1e9]}, "start"),
        ({"sigma": "NaN"}, "sigma"),
        ({"colour": "red"}, "colour"),
        ({"method": "run", "run": "nobody"}, "nobody"),
        ({"method": "run", "run": "digits", "sampler": "Heun()"}, "digits"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_what_cannot_be_walked_is_refused_in_words(explorer, change, words):
    status, detail = refusal(explorer, "/api/walk", {**SMALL, **change})
    assert status == 422
    assert words in detail


def test_a_walk_in_one_score_has_no_ladder(explorer):
    status, detail = refusal(explorer, "/api/walk/ladder", {**SMALL, "sampler": "Langevin()"})
    assert (status, "one length" in detail) == (422, True)
    rungs = lines(explorer, "/api/walk/ladder", {**SMALL, "sampler": "Heun()"})
    assert [rung["evaluations"] for rung in rungs] == [1, 3, 7]


def test_an_exploding_walk_is_told_and_the_server_goes_on(explorer):
    told = lines(explorer, "/api/walk", {**SMALL, "evaluations": 200, "sampler": "Langevin(size=0.9)"})
    assert told[0]["stability"]["stable"] is False
    assert told[-1]["kind"] == "exploded"
    assert "left the data" in told[-1]["message"]
    assert lines(explorer, "/api/walk", {**SMALL, "sampler": "Langevin(size=0.01)"})[-1]["kind"] == "end"


@pytest.mark.parametrize(
    ("body", "second"),
    [
        ({"sampler": "Heun()"}, "Langevin(size=0.02)"),
        ({"sampler": "MALA(size=0.05)", "seed": 3}, ""),
        (
            {
                "sampler": "PredictorCorrector(predictor=Heun(), snr=0.2)",
                "density": {"name": "rings"},
                "start": [0.5, 1.0],
            },
            "",
        ),
        ({"sampler": "Langevin(size=0.01)", "method": "kernel"}, ""),
        (
            {"sampler": "Multistep(points=2)", "method": "run", "run": "moons", "density": {"name": "moons"}},
            "Langevin(size=0.003)",
        ),
    ],
    ids=["two", "mala", "point", "kernel", "run"],
)
def test_the_code_of_a_walk_prints_the_distances_of_the_page(explorer, body, second):
    body = {**body, **SMALL}
    code = walks_code.walk(WalkRequest(**body), [body["sampler"], second] if second else None).code
    found = printed(code)
    for sampler in [body["sampler"], second] if second else [body["sampler"]]:
        end = lines(explorer, "/api/walk", {**body, "sampler": sampler})[-1]
        assert found[sampler.partition("(")[0]] == str(Estimate(**end["distance"]))


def test_every_sampler_can_be_written_and_cited():
    from scorefield.explorer.sources import Citation
    from scorefield.samplers.named import known

    assert set(walks_code.WRITTEN) == set(known().values())
    for formula, citation in walks_code.WRITTEN.values():
        assert formula
        assert isinstance(citation, Citation)


def test_the_code_of_a_training_prints_the_divergences_of_the_page(explorer):
    body = {**LEARN, "page": "code", "methods": ["sliced", "denoising"], "cost": "steps", "seed": 4}
    with asked(explorer, "/api/train", body) as answer:
        reports = [json.loads(answer.readline()) for _ in range(3)]
        with asked(explorer, "/api/train/code", {"train": body, "stands": [{"name": "sliced", "steps": 3}]}) as code:
            assert "sf.Sliced()" in json.loads(code.read())["code"]
    assert gone(explorer)  # its steps seed the generator that the lines seed, too
    for report in reports[1:]:  # the first is of untrained networks
        assert_printed(report["runs"])


@pytest.mark.parametrize("steps", [(0, 0), (1, 0), (3, 2)], ids=["nobody has begun", "one has begun", "one is ahead"])
@pytest.mark.parametrize("turn", [None, 0, 1], ids=["as set", "turned before the first step", "turned later"])
def test_the_code_of_a_training_is_right_wherever_a_slow_machine_stands(steps, turn):
    density = toy(Chosen())
    setting = Setting(rows=200, batch=16, width=8, depth=1, seed=4)
    contest = Contest(
        ["sliced", "denoising"],
        setting,
        lambda n, g: density.sample(n, g).float(),
        truth=lambda x, sigma: density.score(x, torch.ones(()), sigma),
    )
    if turn == 0:
        contest.turn(1.5)
    for each, wanted in zip(contest.contestants, steps):
        for _ in range(wanted):
            each.advance()
            if turn == each.steps:
                contest.turn(1.5)
    runs = [{"name": c.name, "steps": c.steps, "turns": c.turns, **contest.measure(c)} for c in contest.contestants]
    contest.close()
    assert_printed(runs)


def assert_printed(runs):
    """That the code of where these runs stand prints their divergences."""
    stands = [Stand(name=run["name"], steps=run["steps"], turns=run["turns"]) for run in runs]
    setting = Setting(rows=200, batch=16, width=8, depth=1, seed=4)
    found = {}
    code = training_code.train(Chosen(), "", setting, stands).code
    exec(compile(code, "snippet", "exec"), {"print": found.__setitem__})  # print(name, estimate), before it is rounded
    for run in runs:
        assert found.pop(run["name"]).value == pytest.approx(run["fisher"]["value"], rel=1e-5)
    assert not found


def test_a_training_is_turned_paused_and_stopped_by_its_page(explorer):
    with asked(explorer, "/api/train", {**LEARN, "page": "turned"}) as answer:

        def report():
            while (line := json.loads(answer.readline()))["kind"] != "report":
                pass
            return line

        report()
        with asked(explorer, "/api/train/turned", {"paused": True, "sigma": 0.7}) as change:
            assert json.loads(change.read()) == {"sigma": 0.7, "paused": True}
        line = report()
        while line["sigma"] != 0.7:  # the report under way when it was told still has the old one
            line = report()
        assert line["paused"]
        assert [run["turns"] for run in line["runs"]] == [[[run["steps"], 0.7]] for run in line["runs"]]
        for wrong in ({"sigma": 99.0}, {"speed": 1}):
            assert refusal(explorer, "/api/train/turned", wrong)[0] == 422
        with asked(explorer, "/api/train/turned", {"stopped": True}) as change:
            assert change.status == 200
        *_, last = answer
        assert json.loads(last) == {"kind": "end", "reason": "Stopped."}
    assert refusal(explorer, "/api/train/turned", {"paused": True}) == (
        404,
        "page 'turned': it has no training; start one.",
    )


def gone(explorer, seconds=PATIENCE):
    """Waits until no training is held, and says whether that came."""
    end = time.monotonic() + seconds
    while len(explorer.app.state.sessions) and time.monotonic() < end:
        time.sleep(0.02)
    return len(explorer.app.state.sessions) == 0


def test_a_page_that_is_left_ends_its_training(explorer):
    with asked(explorer, "/api/train", {**LEARN, "page": "left"}) as answer:
        for _ in range(3):
            answer.readline()
        session = explorer.app.state.sessions.find("left")
        assert session is not None
    assert gone(explorer)
    steps = [each.steps for each in session.contest.contestants]
    time.sleep(0.3)
    assert [each.steps for each in session.contest.contestants] == steps
    for each in session.contest.contestants:
        assert next(each.progress, None) is None  # its training is closed, and nothing would go on


def test_a_page_has_one_training(explorer):
    with asked(explorer, "/api/train", {**LEARN, "page": "twice"}) as first:
        first.readline()
        with asked(explorer, "/api/train", {**LEARN, "page": "twice"}) as second:
            second.readline()
            *_, last = first
            assert json.loads(last)["reason"] == "Stopped."
    assert gone(explorer)


@pytest.mark.parametrize(
    "wrong",
    [
        {"page": ""},
        {"page": "../x"},
        {"methods": []},
        {"methods": ["exact", "exact"]},
        {"methods": ["other"]},
        {"sigma": 0.0},
        {"rows": 1},
        {"density": {"name": "table"}},
        {"until": [3]},
    ],
    ids=["page", "path", "none", "twice", "unknown", "sigma", "rows", "table", "until"],
)
def test_what_cannot_be_trained_is_refused_and_held_nowhere(explorer, wrong):
    status, detail = refusal(explorer, "/api/train", {**LEARN, **wrong})
    assert status == 422
    assert detail
    assert gone(explorer)
