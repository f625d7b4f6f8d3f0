"""A recipe's signature as a command: one option for each argument, with its type, its default and its line of help.

Numbers, words, paths, switches, enumerations, each also with ``| None``; lists and tuples are written with commas.
"""

import inspect
import re
import types
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from ..errors import RangeError

PLAIN = (int, float, str, bool, Path)
EMPTY = inspect.Parameter.empty


class Option(NamedTuple):
    """An argument of a recipe as the command line sees it: ``kind`` is what typer parses, ``read`` makes it the argument."""

    name: str
    kind: Any
    default: Any
    words: str
    read: Callable[[Any], Any]

    def parameter(self) -> inspect.Parameter:
        """The option as a parameter that typer understands."""
        import typer

        flag = self.name.replace("_", "-")
        names = f"--{flag}/--no-{flag}" if self.kind in (bool, bool | None) else f"--{flag}"
        kind: Any = Annotated[self.kind, typer.Option(names, help=self.words)]
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=self.default, annotation=kind)


def options(recipe: Callable[..., Any]) -> list[Option]:
    """The options of a recipe, in the order of its signature.

    Raises: RangeError for an argument that no option can stand for.

    >>> def recipe(*, width: int = 48, columns: list[str] | None = None): "One line."
    >>> [(option.name, option.kind, option.default) for option in options(recipe)]
    [('width', <class 'int'>, 48), ('columns', str | None, None)]
    """
    hints, words = get_type_hints(recipe), arguments_of(recipe)
    return [_option(recipe, each, hints.get(name), words.get(name, "")) for name, each in _parameters(recipe)]


def summary(recipe: Callable[..., Any]) -> str:
    """The first line of the recipe's docstring.

    >>> summary(summary)
    "The first line of the recipe's docstring."
    """
    return (inspect.getdoc(recipe) or "").strip().partition("\n")[0]


def story(recipe: Callable[..., Any]) -> str:
    """What the docstring says before its arguments, for the top of the help."""
    text = (inspect.getdoc(recipe) or "A recipe without a docstring.").replace("``", "")
    return re.split(r"\n\s*\n?(?:Args:|Raises:|>>>)", text, maxsplit=1)[0].strip()


def arguments_of(recipe: Callable[..., Any]) -> dict[str, str]:
    """name -> words, from the ``Args:`` of the docstring.

    >>> def recipe(width, height):
    ...     '''One line.
    ...
    ...     Args:
    ...         width: across, in
    ...             metres
    ...         height: up
    ...
    ...     Raises: nothing.
    ...     '''
    >>> arguments_of(recipe)
    {'width': 'across, in metres', 'height': 'up'}
    """
    _, found, block = (inspect.getdoc(recipe) or "").partition("Args:\n")
    words: dict[str, str] = {}
    name = ""
    for line in block.splitlines() if found else ():
        if line.strip() and not line.startswith(" "):
            break
        start = re.match(r" {4}(\w[\w, ]*): (.*)", line)
        if start:
            name = start[1]
            words |= {each.strip(): start[2].strip() for each in name.split(",")}
        elif line.strip():
            words |= {each.strip(): f"{words[each.strip()]} {line.strip()}" for each in name.split(",") if name}
    return {key: text.replace("``", "").removesuffix(".") for key, text in words.items()}


def _parameters(recipe: Callable[..., Any]) -> list[tuple[str, inspect.Parameter]]:
    found = list(inspect.signature(recipe).parameters.items())
    for name, each in found:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
            raise RangeError(f"recipe {recipe.__name__}: *{name} cannot be an option; name every argument.")
        if name in ("out", "resume", "previous", "ctx"):
            raise RangeError(
                f"recipe {recipe.__name__}: the option --{name} is the command's own; rename the argument."
            )
    return found


def _option(recipe: Callable[..., Any], parameter: inspect.Parameter, hint: Any, words: str) -> Option:
    name, default = parameter.name, parameter.default
    if hint is None:
        hint = type(default) if default not in (EMPTY, None) else str
    optional = get_origin(hint) in (Union, types.UnionType)
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if optional else [hint]
    none = optional and len(kinds) < len(get_args(hint))
    kind = kinds[0]
    if len(kinds) == 1 and (kind in PLAIN or (inspect.isclass(kind) and issubclass(kind, Enum))):
        return Option(name, kind | None if none else kind, default, words, lambda value: value)
    entry = (get_args(kind) or (str,))[0]
    if len(kinds) > 1 or get_origin(kind) not in (list, tuple) or entry not in (int, float, str):
        raise RangeError(
            f"recipe {recipe.__name__}: argument {name} of type {hint} cannot be an option; "
            "numbers, words, paths, switches, enumerations, and lists or tuples of numbers or words can."
        )
    shown = ",".join(map(str, default)) if isinstance(default, list | tuple) else default
    words = words if "comma" in words else f"{words} (separated by commas)".strip()
    return Option(name, str | None if none else str, shown, words, _reader(name, get_origin(kind), entry))


def _reader(name: str, many: type, entry: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value is None:
            return None
        try:
            return many(entry(part.strip()) for part in value.split(",") if part.strip())
        except ValueError as error:
            flag = name.replace("_", "-")
            raise RangeError(f"--{flag} {value}: {entry.__name__}s separated by commas wanted.") from error

    return read
