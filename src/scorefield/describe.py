"""Objects as plain data, and back.

An object is its class and the arguments of its constructor, which it keeps under their own names:

    describe(o) = {"object": "package.module.Class", "arguments": {name: describe(o.name)}}

Functions and classes are their names, ``{"function": "package.module.name"}``; numbers, strings, None and lists are
themselves; tuples, dictionaries, tensors, dtypes, partial functions and non-finite numbers carry a tag of one word.
The law: describe(build(describe(o))) = describe(o), and the data survive JSON.

Weights are not described (they are tensors in a checkpoint). Building imports modules of trusted packages only, and
calls nothing but a class or function that bears exactly the name under which it was found.
"""

import importlib
import inspect
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .errors import RangeError

Plain = None | bool | int | float | str | list | dict

# Pure functions of tensors that networks take as arguments: naming one of them runs nobody else's code.
_HARMLESS = ("torch.nn.functional", "torch.nn.modules.activation")


def describe(obj: object) -> Plain:
    """obj as plain data: its class and its constructor's arguments, recursively.

    Use it to put a model, a noise or a recipe's argument into JSON; `build` is the way back.

    Raises: RangeError for what has no name to be found under (a lambda, a function within a function) and for an
    object that does not keep a constructor argument under its own name.

    >>> describe(partial(torch.nn.functional.softsign))
    {'partial': {'function': 'torch.nn.functional.softsign'}, 'args': [], 'keywords': {}}
    >>> describe((1, float("inf")))
    {'tuple': [1, {'number': 'inf'}]}
    """
    if obj is None or isinstance(obj, bool | int | str):
        return obj
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else {"number": repr(obj)}
    if type(obj) is list:
        return [describe(item) for item in obj]
    if type(obj) in (tuple, torch.Size):
        return {"tuple": [describe(item) for item in obj]}  # type: ignore[attr-defined]
    if isinstance(obj, dict):
        return {"dict": _items(obj)}
    if isinstance(obj, torch.dtype):
        return {"dtype": str(obj).removeprefix("torch.")}
    if isinstance(obj, Tensor):
        values = [describe(value) for value in obj.detach().cpu().flatten().tolist()]
        return {"tensor": values, "shape": list(obj.shape), "dtype": str(obj.dtype).removeprefix("torch.")}
    if isinstance(obj, partial):
        args = [describe(item) for item in obj.args]
        return {"partial": describe(obj.func), "args": args, "keywords": _items(obj.keywords)}
    if inspect.isroutine(obj) or isinstance(obj, type):
        return {"function": _name(obj)}
    return {"object": _name(type(obj)), "arguments": _arguments(obj)}


def build(plain: Plain, trust: Sequence[str] = ("scorefield",)) -> Any:
    """The object that `describe` described; only classes and functions of the packages in ``trust`` are used.

    Building runs the constructors of the classes named, so trust only packages whose code you would import yourself.

    Raises: RangeError for a name outside the trusted packages, a name that does not exist, and data that are no
    description.

    >>> build({"tuple": [1, {"number": "inf"}]})
    (1, inf)
    >>> build({"function": "os.system"})
    Traceback (most recent call last):
    ...
    scorefield.errors.RangeError: description names 'os.system': package 'os' is not trusted; if you trust its code, \
pass trust=('scorefield', 'os').
    """
    if plain is None or isinstance(plain, bool | int | float | str):
        return plain
    if isinstance(plain, list):
        return [build(item, trust) for item in plain]
    match plain:
        case {"number": str(value)}:
            return float(value)
        case {"tuple": list(items)}:
            return tuple(build(item, trust) for item in items)
        case {"dict": dict(items)}:
            return {name: build(item, trust) for name, item in items.items()}
        case {"tensor": list(values), "shape": list(shape), "dtype": str(name)}:
            return torch.tensor(build(values, trust), dtype=_dtype(name)).reshape(shape)
        case {"dtype": str(name)}:
            return _dtype(name)
        case {"partial": function, "args": list(args), "keywords": dict(keywords)}:
            return partial(build(function, trust), *build(args, trust), **build({"dict": keywords}, trust))
        case {"function": str(name)}:
            return _find(name, trust)
        case {"object": str(name), "arguments": dict(arguments)}:
            return _construct(_find(name, trust), {key: build(value, trust) for key, value in arguments.items()})
    raise RangeError(f"description {str(plain)[:80]!r}: not a form that describe() writes.")


def _items(mapping: dict) -> dict[str, Plain]:
    for key in mapping:
        if not isinstance(key, str):
            raise RangeError(f"dictionary with the key {key!r}: only string keys can be described.")
    return {key: describe(value) for key, value in mapping.items()}


def _arguments(obj: object) -> dict[str, Plain]:
    try:
        parameters = inspect.signature(type(obj)).parameters
    except ValueError as error:
        raise RangeError(
            f"{type(obj).__name__}: a class without a readable constructor cannot be described."
        ) from error
    arguments = {}
    for name in parameters:
        if not hasattr(obj, name):
            raise RangeError(
                f"{type(obj).__name__}: the constructor's argument {name!r} is not kept as the attribute .{name}, "
                f"so the object cannot be described; store it in __init__."
            )
        arguments[name] = describe(getattr(obj, name))
    return arguments


def _construct(kind: type, arguments: dict[str, Any]) -> Any:
    signature = inspect.signature(kind)
    for name in arguments:
        if name not in signature.parameters:
            raise RangeError(
                f"description of {kind.__name__}: its constructor has no argument {name!r}; other version?"
            )
    ordered = {name: arguments[name] for name in signature.parameters if name in arguments}
    bound = inspect.BoundArguments(signature, ordered)  # type: ignore[arg-type]
    return kind(*bound.args, **bound.kwargs)


def _name(obj: Any) -> str:
    name = f"{obj.__module__}.{obj.__qualname__}"
    if _walk(name) is not obj:
        raise RangeError(
            f"{name}: cannot be described, since it cannot be found under that name; define it in a module."
        )
    return name


def _find(name: str, trust: Sequence[str]) -> Any:
    trusted = (trust,) if isinstance(trust, str) else tuple(trust)
    package = name.partition(".")[0]
    if package not in trusted and name.rpartition(".")[0] not in _HARMLESS:
        raise RangeError(
            f"description names {name!r}: package {package!r} is not trusted; if you trust its code, "
            f"pass trust={(*trusted, package)!r}."
        )
    module, _, kind = name.rpartition(".")
    found = _walk(name)
    if found is None and name.count(".") > 2:  # moved to another module of its package since: the package exports it
        module = module.rpartition(".")[0]
        found = _walk(f"{module}.{kind}")
    if not (inspect.isroutine(found) or isinstance(found, type)):
        raise RangeError(f"description names {name!r}: no class or function is defined there; other version?")
    # Defined there, or in a part of what is a package now: what a trusted module merely imported (torch.hub, os) is not its own.
    below = isinstance(found, type) and f"{found.__module__}.".startswith(f"{module}.")
    if not below and f"{found.__module__}.{found.__qualname__}" != name:
        raise RangeError(f"description names {name!r}: no class or function is defined there; other version?")
    return found


def _walk(name: str) -> Any:
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:split])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not (module + ".").startswith(error.name + "."):
                raise
            continue
        for part in parts[split:]:
            found = getattr(found, part, None)
        return found
    return None


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise RangeError(f"description names the dtype {name!r}: torch has none of that name.")
    return dtype
