"""A recipe by its name, or from a file of one's own."""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ..errors import RangeError, UnknownNameError, unknown


class Runnable(Protocol):
    """What a recipe returns: anything that can be run into a folder. `Experiment` is the usual one.

    ``run`` makes the folder, or continues it with ``resume`` (``previous``: from the state before the newest), tells
    what happens through ``show`` and records ``about``, the recipe's name and arguments.
    """

    def run(
        self, out: Path, *, resume: bool, previous: bool, show: Callable[[str], object], about: dict[str, Any]
    ) -> Any:
        """Does all of it, in the folder ``out``."""


Recipe = Callable[..., Runnable]


def find(word: str) -> Recipe:
    """The recipe of this name, or of a file ``path/to/recipe.py[:function]``.

    Without a function it is the file's only one, or that of the file's name. Finding a file runs it, as importing does.

    Raises: UnknownNameError with the nearest name; RangeError for a file that cannot be imported.

    >>> find("mymoons.py")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    scorefield.errors.UnknownNameError: recipe mymoons.py: no file of that name (looked for ...mymoons.py).
    """
    known = names()
    if word in known:
        return known[word]
    place, _, function = word.partition(":")
    path = Path(place).expanduser()
    if path.suffix != ".py":
        raise unknown("recipe", word, [*known, "path/to/recipe.py"])
    if not path.is_file():
        raise UnknownNameError(f"recipe {place}: no file of that name (looked for {path.absolute()}).")
    own = _functions(_module(path))
    if not own:
        raise UnknownNameError(f"recipe {place}: no function in it; write one that returns an Experiment.")
    if function:
        if function not in own:
            raise unknown(f"function of {place}", function, own)
        return own[function]
    if len(own) != 1 and path.stem not in own:
        raise UnknownNameError(
            f"recipe {place}: it has the functions {', '.join(sorted(own))}; name one, {place}:function."
        )
    return own.get(path.stem) or next(iter(own.values()))


def names() -> dict[str, Recipe]:
    """The built-in recipes by name, in the order of ``scorefield.recipes.__all__``."""
    from .. import recipes

    known = {name: getattr(recipes, name) for name in recipes.__all__}
    return {name: each for name, each in known.items() if inspect.isfunction(each)}


def _module(path: Path):
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None and Path(getattr(loaded, "__file__", None) or "") != path.absolute():
        raise RangeError(f"recipe {path}: a module named {name!r} is loaded already; give the file another name.")
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    if spec is None or spec.loader is None:
        raise RangeError(f"recipe {path}: this file cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that its classes can be described, and found again
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise RangeError(f"recipe {path}: cannot be imported: {type(error).__name__}: {error}.") from error
    return module


def _functions(module) -> dict[str, Recipe]:
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
