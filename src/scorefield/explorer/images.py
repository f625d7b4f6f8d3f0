"""The routes of the images: forming, completion and the way between two, as lines while they are computed; examples; code."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from ..errors import RangeError
from . import imaging
from .canvas import Image, Region, bytes_of, known, read, written
from .held import Held
from .imaging import Event, Method, Pictured, pictured, training_data
from .lines import lines
from .snippets import Snippet
from .sources import DDIM, EDM, FREE, MOMENTS, REPAINT, SDE, TWEEDIE
from .wire import Wire

router = APIRouter(prefix="/api/images")

EXAMPLES = 20
"""Images that the page offers to begin with: two of each digit."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Weight = Annotated[float, Field(ge=0, le=8, description="of the label; 1 is the conditional model")]
Label = Annotated[int | None, Field(ge=-1, description="None: of every class evenly; −1: without a label")]
Number = Annotated[int, Field(ge=0, lt=EXAMPLES, description="of an example")]


class FormingRequest(Wire):
    """Images drawn from noise."""

    run: str = ""
    n: Annotated[int, Field(ge=1, le=16)] = 4
    seed: Seed = 0
    steps: Annotated[int, Field(ge=1, le=100)] = 20
    sampler: Annotated[str, Field(max_length=100, description="by name; the run's own if empty")] = ""
    label: Label = None
    weight: Weight = 1.2


class CompletionRequest(Wire):
    """An image known in part. ``drawing`` is a drawing, or empty for the example of this number."""

    run: str = ""
    n: Annotated[int, Field(ge=1, le=8)] = 4
    seed: Seed = 0
    steps: Annotated[int, Field(ge=2, le=60)] = 24
    drawing: Annotated[str, Field(max_length=20_000)] = ""
    example: Number = 4
    region: Region = "top"
    share: Annotated[float, Field(gt=0, lt=1, description="of the rows or columns that are known")] = 0.5
    method: Method = "moments"
    label: Label = -1
    weight: Weight = 1.2


class PathRequest(Wire):
    """The way between two examples through the flow's noise."""

    run: str = ""
    start: Number = 4
    stop: Number = 15
    frames: Annotated[int, Field(ge=3, le=15)] = 9
    steps: Annotated[int, Field(ge=10, le=80)] = 40


@router.get("/model")
def model(request: Request, run: str = "") -> dict[str, Any]:
    """What can be asked of a run of images: its shape, labels and usual steps, examples, and whether its training data are there."""
    found = pictured(request.app.state.held, run)
    shown, labels = imaging.examples(found, EXAMPLES)
    data, why = training_data(found.run)
    return {
        "run": found.run.name,
        "shape": found.shape,
        "classes": found.drawing.classes,
        "steps": found.drawing.steps,
        "weight": found.drawing.weight,
        "examples": bytes_of(shown),
        "labels": labels,
        "drawings": [written(each) for each in shown] if found.shape[0] == 1 else None,
        "training": None if data is None else {"name": data.name, "rows": len(data.train)},
        "why": why,
    }


@router.post("/forming")
async def forming(wanted: FormingRequest, request: Request) -> Response:
    """plan, a state after every step, end with the nearest training images."""
    return await lines(_forming(request.app.state.held, wanted))


@router.post("/completion")
async def completion(wanted: CompletionRequest, request: Request) -> Response:
    """plan, a state after every step, end with the nearest training images and how far the known part was missed."""
    return await lines(_completion(request.app.state.held, wanted))


@router.post("/path")
async def path(wanted: PathRequest, request: Request) -> Response:
    """plan, noise, path and end."""
    return await lines(_path(request.app.state.held, wanted))


@router.post("/forming/code")
def forming_code(wanted: FormingRequest, request: Request) -> dict[str, Any]:
    """The lines that draw the same images."""
    found = pictured(request.app.state.held, wanted.run)
    found.named(wanted.sampler, wanted.steps)
    changed = f"weight={wanted.weight!r}, steps={wanted.steps}"
    if wanted.sampler:
        changed += f", times=None, sampler=named({wanted.sampler!r})"
    elif wanted.steps != found.drawing.steps:
        changed += ", times=None"
    also = "from scorefield.samplers.named import sampler as named\n" if wanted.sampler else ""
    if wanted.label == -1:
        draw = f"x = sf.sample(model, {wanted.n}, steps=how.steps, sampler=how.sampler, times=how.times, seed={wanted.seed})"
    else:
        label = "" if wanted.label is None else f", label={wanted.label}"
        draw = f"x = how.sample(model, {wanted.n}, shape=model.shape, seed={wanted.seed}{label})"
    code = (
        "from dataclasses import replace\n\n"
        "import scorefield as sf\n"
        "from scorefield.checkpoints import facts\n"
        f"{also}\n"
        f"{_loaded(found)}"
        f"how = replace(about['sampling'], {changed})\n"
        f"{draw}\n"
        f"{_nearest(found)}"
    )
    return Snippet(
        code,
        "x̂(x_t) = E[x₀ | x_t] = (x_t + σ² ∇log p_t)/α;   guided: x̂ + w (x̂(label) − x̂)",
        (TWEEDIE.at("eq. 1.4"), EDM.at("algorithm 1"), FREE.at("eq. 6")),
    ).plain()


@router.post("/completion/code")
def completion_code(wanted: CompletionRequest, request: Request) -> dict[str, Any]:
    """The lines that complete the same image."""
    found = pictured(request.app.state.held, wanted.run)
    rounds = 5 if wanted.method == "resampling" else 1
    moments = wanted.method == "moments"
    label = "" if wanted.label == -1 or not found.drawing.classes else ", label=how.labels(N, SEED, LABEL)"
    label = label.replace("N", str(wanted.n), 1).replace("SEED", str(wanted.seed)).replace("LABEL", str(wanted.label))
    guide = (
        f"guide = MomentMatching(inner, Measurement(A, A(image[None])[0], {imaging.SEEN_STD}), Krylov(3))\n"
        if moments
        else f"guide, way = inner, Replacement(Measurement(A, A(image[None])[0], 0.0), rounds={rounds})\n"
    )
    sampler = "sf.Ancestral()" if moments else "way"
    names = "Krylov, Mask, Measurement, MomentMatching" if moments else "Mask, Measurement, Replacement"
    free = "how.classes and Free(model, WEIGHT, how.low, how.high) or model".replace("WEIGHT", repr(wanted.weight))
    code = (
        "import scorefield as sf\n"
        "from scorefield.checkpoints import facts\n"
        "from scorefield.explorer.canvas import known, read\n"
        f"from scorefield.guidance import Free, {names}\n\n"
        f"{_loaded(found)}"
        "how = about['sampling']\n"
        f"image = read({_drawing(found, wanted)!r}, model.shape)\n"
        f"A, inner = Mask(known(image, {wanted.region!r}, {wanted.share!r})), {free}\n"
        f"{guide}"
        f"x = sf.sample(guide, {wanted.n}, steps={wanted.steps}, sampler={sampler}, seed={wanted.seed}, shape=model.shape{label})\n"
        "print([float(f'{d:.3g}') for d in (A(x) - A(image[None])).square().mean(1).sqrt()])\n"
    )
    if moments:
        formula = "x̂(x_t | y) = x̂ + (σ²/α) Jᵀ Aᵀ (s² I + A C Aᵀ)⁻¹ (y − A x̂),   C = (σ²/α) J,   y = the known pixels"
        return Snippet(code, formula, (MOMENTS.at("section 4"),)).plain()
    formula = "x_s ← x_s + A⁺(α_s y + σ_s A z − A x_s) after every step"
    return Snippet(code, formula, (SDE.at("appendix I.2"), REPAINT.at("algorithm 1"))).plain()


@router.post("/path/code")
def path_code(wanted: PathRequest, request: Request) -> dict[str, Any]:
    """The lines that walk the same way."""
    found = pictured(request.app.state.held, wanted.run)
    code = (
        "import scorefield as sf\n"
        "from scorefield.explorer.held import Held\n"
        "from scorefield.explorer.imaging import circle, examples, pictured\n\n"
        f"model = pictured(Held(), {found.run.name!r})\n"
        f"ends = examples(model, {EXAMPLES})[0][[{wanted.start}, {wanted.stop}]]\n"
        f"noise = sf.inversion.invert(model.model, ends, steps={wanted.steps})\n"
        f"x = sf.inversion.restore(model.model, circle(noise, {wanted.frames}), steps={wanted.steps})\n"
        "print(float((x[[0, -1]] - ends).square().mean().sqrt()))\n"
    )
    formula = "dx/dt = f x − ½g² ∇log p_t(x), up and down;   z(u) = (sin((1 − u)θ) z₁ + sin(uθ) z₂)/sin θ"
    return Snippet(code, formula, (SDE.at("eq. 13"), DDIM.at("section 4.3"))).plain()


def _forming(held: Held, wanted: FormingRequest) -> Iterator[Event]:
    found = pictured(held, wanted.run)
    yield from imaging.forming(
        found,
        n=wanted.n,
        seed=wanted.seed,
        steps=wanted.steps,
        sampler=wanted.sampler,
        label=wanted.label,
        weight=wanted.weight,
    )


def _completion(held: Held, wanted: CompletionRequest) -> Iterator[Event]:
    found = pictured(held, wanted.run)
    image = _image(found, wanted)
    yield from imaging.completing(
        found,
        image,
        known(image, wanted.region, wanted.share),
        n=wanted.n,
        seed=wanted.seed,
        steps=wanted.steps,
        method=wanted.method,
        label=wanted.label,
        weight=wanted.weight,
    )


def _path(held: Held, wanted: PathRequest) -> Iterator[Event]:
    if wanted.start == wanted.stop:
        raise RangeError(f"path from example {wanted.start} to itself: choose two.")
    found = pictured(held, wanted.run)
    ends, _ = imaging.examples(found, EXAMPLES)
    yield from imaging.between(found, ends[[wanted.start, wanted.stop]], frames=wanted.frames, steps=wanted.steps)


def _image(found: Pictured, wanted: CompletionRequest) -> Image:
    """The drawing; examples go through the same four bits as drawings do."""
    return read(_drawing(found, wanted), found.shape)


def _drawing(found: Pictured, wanted: CompletionRequest) -> str:
    return wanted.drawing or written(imaging.examples(found, EXAMPLES)[0][wanted.example])


def _loaded(found: Pictured) -> str:
    return f"model, about = sf.load({found.run.name!r}), facts({found.run.name!r})\n"


def _nearest(found: Pictured) -> str:
    data, _ = training_data(found.run)
    if data is None:
        return "print(float(x.square().mean().sqrt()))\n"
    return f"train = sf.data.{data.name}().train.flatten(1)\nprint(torch.cdist(x.flatten(1), train).amin(1))\n".replace(
        "torch.cdist(x.flatten(1), train).amin(1)",
        "[float(f'{d:.4g}') for d in (x.flatten(1)[:, None] - train).norm(dim=2).amin(1)]",
    )
