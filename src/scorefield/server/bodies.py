"""What may be asked, as types made for one run: its shape, its labels, its samplers and the server's limits are in the schema."""

from functools import reduce
from operator import or_
from types import SimpleNamespace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, create_model

from .limits import Limits
from .problems import Problem
from .served import Served

LARGEST = 1e6
SEEDS = 2**53 - 1  # what every reader of JSON reads exactly


def whole(value: Any) -> Any:
    """3.0 as 3, which in JSON are the same number; anything else as it is.

    >>> whole(3.0), whole(3.5), whole("3")
    (3, 3.5, '3')
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(whole)]

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]


class Strict(BaseModel):
    """A body that takes nothing it does not know, and no text for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NPY(Strict):
    """An array as a NumPy file in base64; pickles are refused."""

    npy: str = Field(max_length=2**24, json_schema_extra={"contentEncoding": "base64"})


class PNG(Strict):
    """A picture of the size of an event in base64, or as a data: URL."""

    png: str = Field(max_length=2**24, json_schema_extra={"contentEncoding": "base64", "contentMediaType": "image/png"})


class Sampled(BaseModel):
    """Samples, in the data's units."""

    samples: list[Any] = Field(description="n events, nested lists of numbers in the data's units")
    labels: list[int] | None = Field(description="the label that each was drawn for; null for a run without labels")
    seed: int
    first: int
    evaluations: int = Field(description="evaluations of the network that this request took part in")


class Scored(BaseModel):
    """∇ log p_t(x), in the data's units."""

    scores: list[Any]
    evaluations: int


class Denoised(BaseModel):
    """E[x_0 | x_t], in the data's units."""

    denoised: list[Any]
    evaluations: int


class Densities(BaseModel):
    """log p(x) in nats, in the data's units, with its standard error and what that is made of."""

    log_density: list[float]
    error: list[float]
    trace: list[float]
    solver: list[float]
    prior: list[float]
    floor: list[float]
    evaluations: int


class Shown(BaseModel):
    """One line of a streamed walk: the rows ``start`` to ``stop`` of the samples at time t, and what the network took them for."""

    rows: list[int]
    step: int
    t: float
    x: list[Any]
    denoised: list[Any] | None = None


class Failed(BaseModel):
    """The last line of a streamed walk that went wrong."""

    problem: Problem


class About(BaseModel):
    """What is served."""

    model_config = ConfigDict(extra="allow")
    name: str = Field(examples=["digits"])
    kind: str = Field(description="denoiser, student (of few steps) or score", examples=["denoiser"])
    shape: list[int] = Field(examples=[[1, 28, 28]])
    classes: int | None
    samplers: list[dict[str, Any]]
    limits: dict[str, float]
    cannot: dict[str, str] = Field(description="what this run cannot do, and why")


def bodies(served: Served, limits: Limits) -> SimpleNamespace:
    """Samples, Scores, Denoise and Densities: the bodies of the four operations on this run.

    >>> made = bodies(Served.open("moons"), Limits())
    >>> made.Densities.model_validate({"x": [[0.0, 1.0]]}).steps
    40
    """
    event: Any = Number
    for size in reversed(served.shape):
        event = Annotated[list[event], Field(min_length=size, max_length=size)]
    image = len(served.shape) == 3 and served.shape[0] in (1, 3)
    one: Any = _either(event, NPY, PNG) if image else _either(event, NPY)
    some: Any = _either(Annotated[list[event], Field(min_length=1, max_length=limits.points)], NPY)
    label: Any = Annotated[Whole | None, Field(ge=0, le=max(0, (served.classes or 1) - 1), description="the class")]
    seed = Annotated[
        int, Field(ge=0, le=SEEDS, description="sample j of a seed is the same in every request and batch")
    ]
    points: dict[str, Any] = {
        "x": (some, Field(description="points in the data's units", examples=[[_zeros(served.shape)]])),
        "label": (label, Field(None)),
    }
    made: dict[str, Any] = {"Samples": _samples(served, limits, one, label, seed)}
    t = Annotated[float, Field(ge=1e-6, le=1, description="time: 0 is data, 1 is noise", examples=[0.3])]
    level = Annotated[float, Field(ge=1e-4, le=served.top or 1, description="noise level sigma/alpha", examples=[0.5])]
    for name, words in (("Scores", "∇ log p_t at points"), ("Denoise", "E[x_0 | x_t] at points")):
        if served.top is None:
            made[name] = _model(name, f"{words}.", points)
        else:
            by_time = _model(f"{name}ByTime", f"{words} x = scale · x_t + shift, at a time.", {"t": (t, ...)} | points)
            by_level = _model(f"{name}ByLevel", f"{words}, at a noise level.", {"level": (level, ...)} | points)
            made[name] = Annotated[Annotated[by_time, Tag("t")] | Annotated[by_level, Tag("level")], Discriminator(_by)]
    most = min(200, max(20, limits.steps - limits.steps % 4))
    steps = Annotated[Whole, Field(ge=20, le=most, multiple_of=4, description="of the flow")]
    probes = {"steps": (steps, min(40, most)), "seed": (seed, Field(0, description="of the probes of the trace"))}
    made["Densities"] = _model("Densities", "log p(x) through the probability flow.", probes | points)
    return SimpleNamespace(**made)


def _samples(served: Served, limits: Limits, one: Any, label: Any, seed: Any) -> type[BaseModel]:
    rows = Annotated[Whole, Field(ge=1, le=limits.rows, description="how many")]
    most = len(served.student.levels) if served.student else limits.steps
    names = "|".join(each["name"] for each in served.description()["samplers"])
    known = {
        "image": (one, Field(description="the event in the data's units; what is not seen is not looked at")),
        "mask": (one, Field(description="1 or true where it is seen; light pixels of a PNG")),
        "noise": (
            float,
            Field(0.05, gt=0, le=1, description="standard deviation of what is seen, in the model's units"),
        ),
    }
    completion: Any = _model("Completion", "What is known of an event, and where: the rest is drawn given it.", known)
    steps = Annotated[Whole | None, Field(ge=1, le=most, description="of the walk; the run's own by default")]
    words = "a name, or a name with arguments"
    sampler = Annotated[str | None, Field(pattern=rf"^({names})(\(.*\))?$", max_length=200, description=words)]
    guidance = Annotated[
        float | None, Field(ge=0, le=100, allow_inf_nan=False, description="weight of the label; 1 is none")
    ]
    fields: dict[str, Any] = {
        "n": (rows, Field(1, examples=[4])),
        "seed": (seed, Field(0, examples=[7])),
        "first": (seed, Field(0, description="number of the first sample, to go on where another request ended")),
        "steps": (steps, None),
        "sampler": (sampler, Field(None, examples=[served.description()["samplers"][0]["name"]])),
        "guidance": (guidance, None),
        "label": (label, None),
        "completion": (completion | None, None),
        "every": (Annotated[Whole, Field(ge=1, le=1000, description="of a streamed walk, each how manieth state")], 1),
    }
    return _model("Samples", "n samples of the model. All of it may be left out.", fields)


def _model(name: str, words: str, fields: dict[str, Any]) -> type[BaseModel]:
    return create_model(name, __base__=Strict, __doc__=words, **fields)


def _either(lists: Any, *files: type[Strict]) -> Any:
    """Nested lists or one of the files; an error then speaks of what was meant."""
    kinds = [Annotated[lists, Tag("list")], *(Annotated[kind, Tag(kind.__name__.lower())] for kind in files)]
    known = [kind.__name__.lower() for kind in files]

    def kind(given: Any) -> str:
        return next((key for key in known if key in given), known[0]) if isinstance(given, dict) else "list"

    return Annotated[reduce(or_, kinds), Discriminator(kind)]


def _by(given: Any) -> str:
    return "level" if isinstance(given, dict) and "level" in given else "t"


def _zeros(shape: tuple[int, ...]) -> Any:
    return [_zeros(shape[1:]) for _ in range(shape[0])] if shape else 0.0
