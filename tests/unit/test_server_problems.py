"""Every error of an application is problem+json, says what was wanted, and gives nothing away."""

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field

from scorefield import errors
from scorefield.errors import RangeError, ScorefieldError
from scorefield.server import problems
from scorefield.server.problems import MEDIA, STATUS, Problem, Refused, status_of


class Body(BaseModel, extra="forbid"):
    n: int = Field(ge=1, le=5)
    x: float = Field(0.0, allow_inf_nan=False)


@pytest.fixture(scope="module")
def app():
    app = FastAPI()
    problems.install(app)

    @app.post("/things", responses=problems.responses(400, 422))
    def things(body: Body) -> dict[str, int]:
        if body.n == 2:
            raise RangeError("things(n=2): n must not be 2.")
        if body.n == 3:
            raise KeyError("a secret")
        if body.n == 4:
            raise Refused(429, "Busy", "come back", headers={"Retry-After": "7"})
        return {"n": body.n}

    return app


@pytest.fixture(scope="module")
def client(app):
    from fastapi.testclient import TestClient

    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ('{"n": 0}', 422, "Invalid"),
        ('{"n": 2}', 422, "RangeError"),
        ('{"n": 3}', 500, "Failure"),
        ('{"n": 4}', 429, "Busy"),
        ('{"n": 1, "z": 2}', 422, "Invalid"),
        ('{"n": 1, "x": NaN}', 422, "Invalid"),
        ('{"n": 1, "x": 1e999}', 422, "Invalid"),
        ("{", 400, "Unreadable"),
        ("[" * 100_000, 400, "HTTP"),
        (b"\xff", 400, "HTTP"),
    ],
    ids=["range", "ours", "unforeseen", "busy", "extra", "nan", "infinite", "malformed", "deep", "bytes"],
)
def test_errors_are_problems_of_their_kind(client, body, status, kind):
    answer = client.post("/things", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == MEDIA
    told = Problem.model_validate_json(answer.content)
    assert (told.status, told.type) == (status, f"urn:scorefield:{kind}")
    assert told.detail
    assert "a secret" not in answer.text
    assert kind != "Busy" or answer.headers["retry-after"] == "7"


def test_a_place_that_is_wrong_is_named(client):
    told = Problem.model_validate_json(client.post("/things", json={"n": 9}).content)
    assert [each.where for each in told.errors] == ["body.n"]
    assert "5" in told.errors[0].what


def test_addresses_and_methods_that_are_not_there_are_problems_too(client):
    for answer, status in ((client.get("/nowhere"), 404), (client.get("/things"), 405)):
        assert answer.status_code == status
        assert answer.headers["content-type"] == MEDIA


def test_the_document_declares_problems_and_only_them(app):
    answers = app.openapi()["paths"]["/things"]["post"]["responses"]
    assert set(answers["422"]["content"]) == {MEDIA}
    assert set(answers["200"]["content"]) == {"application/json"}


def test_every_error_of_ours_has_a_status():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ScorefieldError)]
    assert {status_of(kind("")) for kind in kinds if kind is not ScorefieldError} == set(STATUS.values())
    assert status_of(ScorefieldError("")) == 500
