"""What goes from bytes to its type in one step is what the type of the OpenAPI document takes, and refusals say where."""

import json

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from scorefield.server.bodies import bodies
from scorefield.server.direct import fitting, require_json
from scorefield.server.limits import Limits
from scorefield.server.problems import Refused, problem
from scorefield.server.served import Served

BODIES = {
    "Samples": [
        {}, {"n": 2}, {"n": 2.0}, {"n": 2.5}, {"n": "2"}, {"n": True}, {"n": None}, {"n": 10**400}, {"seed": 2**53 - 1},
        {"seed": 2**53}, {"guidance": 1}, {"guidance": "1"}, {"sampler": "Heun"}, {"sampler": 3}, {"more": 1}, [], None, 3,
        {"completion": {"image": [0, 1.5], "mask": [True, 0]}}, {"completion": {"image": [0], "mask": [1, 0]}},
        {"completion": {"image": {"npy": "AA=="}, "mask": {"npy": 3}}}, {"completion": {"image": {"png": "AA=="}, "mask": [1, 0]}},
    ],
    "Scores": [
        {"x": [[0, 1]], "t": 1}, {"x": [[0, 1]], "level": 0.5}, {"x": [[0, 1]], "level": 0.5, "t": 0.5}, {"x": [[0, 1]]},
        {"x": [[0, 1], [2]], "t": 0.5}, {"x": [["0", 1]], "t": 0.5}, {"x": {"npy": "AA=="}, "t": 0.5}, {"x": [[1e7, 0]], "t": 0.5},
        {"x": [[True, 0]], "t": 0.5}, {"x": [[float("nan"), 0]], "t": 0.5}, {"x": [[0, 1]], "t": float("inf")},
    ],
    "Densities": [{"x": [[0, 1]], "steps": 40.0}, {"x": [[0, 1]], "steps": 41}, {"x": []}, {"x": [[0, 1]], "label": 0.0}],
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_bytes_are_taken_exactly_when_the_type_takes_their_objects(name):
    read = TypeAdapter(getattr(bodies(Served.open("moons"), Limits()), name))
    taken = 0
    for body in BODIES[name]:
        try:
            wanted = read.validate_python(body)
        except ValidationError:
            with pytest.raises(RequestValidationError):
                fitting(read.validate_json, json.dumps(body).encode(), "body")
        else:
            assert fitting(read.validate_json, json.dumps(body).encode(), "body") == wanted
            taken += 1
    assert 0 < taken < len(BODIES[name])


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b"\xff", 400, "body"),
        (b"[" * 100_000, 400, "body"),
        (b'{"n": 0}', 422, "body.n"),
        (b'{"completion": {"image": [0, "a"], "mask": [1, 0]}}', 422, "body.completion.image.list.1"),
    ],
    ids=["empty", "half", "bytes", "deep", "number", "inside"],
)
def test_a_refusal_says_where(body, status, where):
    read = TypeAdapter(bodies(Served.open("moons"), Limits()).Samples)
    with pytest.raises(RequestValidationError) as refused:
        fitting(read.validate_json, body, "body")
    told = problem(refused.value)
    assert (told.status, told.errors[0].where) == (status, where)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"])
def test_json_may_be_called_so(kind):
    require_json(kind)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "json", "text/json+json"])
def test_other_types_are_refused(kind):
    with pytest.raises(Refused, match="application/json wanted") as refused:
        require_json(kind)
    assert refused.value.status == 415
