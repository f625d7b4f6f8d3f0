"""The routes of the exercises: the questions, and after an answer was committed, the reveal."""

from functools import lru_cache
from typing import Any

from fastapi import APIRouter

from ..snippets import Snippet
from ..wire import Wire
from . import EXERCISES, find
from .base import Shown

router = APIRouter(prefix="/api/exercises")


class AnswerRequest(Wire):
    """A committed answer: a choice's number, or an estimate. ``value`` is where the dial stands, at its own place unless given."""

    answer: float
    value: float | None = None


@router.get("")
def questions() -> list[dict[str, Any]]:
    """Every question in the order of the story, without what its reveal says."""
    return [each.plain() for each in EXERCISES]


@router.post("/{key}")
def reveal(key: str, sent: AnswerRequest) -> dict[str, Any]:
    """Whether the answer is right, the numbers and pictures that show it, and why.

    ``right`` and ``agrees`` are about the dial's own place.
    """
    exercise = find(key)
    own = _own(key)
    shown = own if sent.value is None else exercise.shown(sent.value)
    return {
        **shown.plain(),
        "right": own.right,
        "agrees": exercise.answer.agrees(sent.answer, own.right),
        "why": exercise.why,
        "formula": exercise.formula,
        "source": exercise.source.plain(),
        "link": exercise.link,
    }


@router.post("/{key}/code")
def code(key: str) -> dict[str, Any]:
    """The lines that print the first number of the reveal."""
    exercise = find(key)
    return Snippet(exercise.code, exercise.formula, (exercise.source,)).plain()


@lru_cache(maxsize=64)
def _own(key: str) -> Shown:
    """The reveal with the dial at its own place: the same for everybody."""
    return find(key).shown()
