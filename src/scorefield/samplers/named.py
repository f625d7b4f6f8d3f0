"""Samplers by name: ``heun``, ``"Ancestral(eta=0.5)"``, ``"PredictorCorrector(predictor=Heun())"``.

Any class that `scorefield.samplers` exports is found, whatever the case of its letters. Its arguments are Python literals
or samplers; nothing is evaluated.
"""

import ast
import inspect
import math
from typing import Any, get_type_hints

from .. import samplers
from ..errors import RangeError, unknown
from ..samplers import Sampler


def known() -> dict[str, type[Sampler]]:
    """The exported samplers by name in small letters.

    >>> "heun" in known()
    True
    """
    found = {name: getattr(samplers, name) for name in samplers.__all__}
    return {
        name.lower(): kind
        for name, kind in found.items()
        if inspect.isclass(kind) and issubclass(kind, Sampler) and not inspect.isabstract(kind)
    }


def sampler(text: str) -> Sampler:
    """The sampler that the text names, with its arguments.

    Raises: UnknownNameError with the nearest name; RangeError for arguments it does not take, and text that is no call.

    >>> sampler("ancestral(eta=0.5)"), sampler("multistep(2, data_std=inf)").points
    (Ancestral(eta=0.5), 2)
    """
    try:
        return _made(ast.parse(text.strip(), mode="eval").body, text)
    except SyntaxError as error:
        raise _unreadable(text) from error


def _made(node: ast.expr, text: str) -> Sampler:
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if not isinstance(call.func, ast.Name) or any(each.arg is None for each in call.keywords):
        raise _unreadable(text)
    kinds = known()
    kind = kinds.get(call.func.id.lower())
    if kind is None:
        raise unknown("sampler", call.func.id, (each.__name__ for each in kinds.values()))
    arguments = [_value(each, text) for each in call.args]
    named = {str(each.arg): _value(each.value, text) for each in call.keywords}
    signature, hints = inspect.signature(kind), get_type_hints(kind)
    try:
        given = signature.bind(*arguments, **named).arguments
    except TypeError as error:
        raise RangeError(f"sampler {text}: {kind.__name__}{signature} does not take this.") from error
    wrong = [name for name, value in given.items() if not _fits(value, hints[name])]
    if wrong:
        raise RangeError(f"sampler {text}: {kind.__name__}{signature} does not take this {wrong[0]}.")
    return kind(*arguments, **named)


def _fits(value: Any, hint: type) -> bool:
    """Whether a value is of an argument's type: an integer is a float too, and true and false are no numbers."""
    return not isinstance(value, bool) and isinstance(value, (int, float) if hint is float else hint)


def _value(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if isinstance(node, ast.Call | ast.Name):
        return _made(node, text)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise _unreadable(text) from error


def _unreadable(text: str) -> RangeError:
    return RangeError(f'sampler {text}: a name, or a name with arguments such as "Ancestral(eta=0.5)", wanted.')
