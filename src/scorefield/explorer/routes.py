"""The addresses of the field, the noisy point and the reader's tables."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from . import fields, fields_code, laws, learned, points, points_code
from .densities import Chosen
from .fields import FieldRequest
from .held import Held
from .learned import Kind
from .lines import lines
from .points import PointRequest
from .tables import read
from .wire import Wire

router = APIRouter(prefix="/api")


class TableRequest(Wire):
    """The text of a CSV."""

    text: str
    name: Annotated[str, Field(max_length=200)] = "table"


class LawRequest(Wire):
    """A density whose law is handed over."""

    density: Chosen = Chosen(name="moons")
    run: str = ""


class LearnRequest(Wire):
    """A network to train on a density."""

    density: Chosen = Chosen()
    kind: Kind = "network"
    run: str = ""


def held(request: Request) -> Held:
    """What this explorer holds."""
    return request.app.state.held


@router.get("/about")
def about(request: Request) -> dict[str, Any]:
    """The version, and the runs there are."""
    return held(request).about()


@router.post("/tables")
def tables(sent: TableRequest, request: Request) -> dict[str, Any]:
    """Reads a CSV and keeps it, while the server runs: its id and its numeric columns."""
    table = read(sent.text, sent.name)
    held(request).keep(table)
    return {"id": table.id, "name": table.name, "columns": table.columns, "rows": len(table.values)}


@router.post("/field")
def field(wanted: FieldRequest, request: Request) -> dict[str, Any]:
    """The field, the density under it, and a map; or what is missing: a network to train, a table to send."""
    missing = fields.missing(held(request), wanted)
    if missing == "network":
        return {"missing": missing, "log_density": fields.ground(held(request), wanted)}
    return {"missing": missing} if missing else fields.drawn(held(request), wanted)


@router.post("/field/law")
def field_law(wanted: LawRequest, request: Request) -> dict[str, Any]:
    """The law of a density other than a mixture as numbers, with which the page smooths it while a hand drags."""
    return laws.plain(held(request).density(wanted.density, wanted.run))


@router.post("/field/code")
def field_code(wanted: FieldRequest, request: Request) -> dict[str, Any]:
    """The Python of a field."""
    about = "run" in (wanted.method, wanted.density.name)
    return fields_code.field(wanted, held(request).planar(wanted.run) if about else None).plain()


@router.post("/field/train")
async def field_train(wanted: LearnRequest, request: Request) -> Response:
    """Trains a small network for the field, a line of JSON for every tenth of it; leaving stops it."""
    return await lines(learned.learn(held(request), wanted.density, wanted.kind, wanted.run))


@router.post("/point")
def point(wanted: PointRequest, request: Request) -> dict[str, Any]:
    """One noisy point: its sources, their weights, and every arrow."""
    return points.looked(held(request), wanted)


@router.post("/point/code")
def point_code(wanted: PointRequest) -> dict[str, Any]:
    """The Python of a noisy point."""
    return points_code.point(wanted).plain()
