"""The command line: ``scorefield train RECIPE``, ``sample RUN``, ``tune RUN``, ``evaluate RUN``, ``restore RUN``,
``doctor DATA|RECIPE|RUN``.

A recipe's options are the arguments of its function. Bad input gets one paragraph on stderr and exit status 2, a training
that fails 1, an interrupted one 130.
"""

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from ..recipes.find import Recipe, find, names
from .options import options, story, summary
from .told import TRACEBACK, told

__all__ = ["app", "main"]

Act = Callable[..., None]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line on these words, those of the process by default; ends with SystemExit."""
    import typer

    words = list(sys.argv[1:] if argv is None else argv)
    if "--debug" in words:
        words.remove("--debug")
        os.environ[TRACEBACK] = "1"
    try:
        with told():
            program = app(words)
    except typer.Exit as stop:
        raise SystemExit(stop.exit_code) from None
    program(args=words, prog_name="scorefield")


def app(words: Sequence[str] = ()) -> Any:
    """The typer program, with the commands that these words may call: a recipe of one's own is read from its file.

    Raises: UnknownNameError for a recipe that there is none of.
    """
    import typer

    from . import commands
    from .bench import bench
    from .explore import explore
    from .export import export
    from .importing import importing
    from .pack import pack
    from .restore import restore
    from .serve import serve

    program = typer.Typer(
        help="Learn the score ∇log p from samples, and use it.", no_args_is_help=True, rich_markup_mode=None,
        add_completion=False, pretty_exceptions_enable=False,
    )  # fmt: skip
    program.callback()(_callback())
    recipes: dict[str, Recipe] = dict(names())
    command, word = _asked(words)
    if command == "train" and word:
        recipes[word] = find(word)
    training = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    for name, recipe in recipes.items():
        if word is None or word == name:
            training.command(name, help=story(recipe), short_help=summary(recipe))(_training(recipe, name))
    words_of_train = "Learn a score by a recipe: one of these, or path/to/recipe.py[:function] of your own."
    program.add_typer(training, name="train", help=words_of_train)
    program.command("sample")(commands.sample)
    program.command("tune")(commands.tune)
    program.command("evaluate")(commands.evaluate)
    program.command("restore")(restore)
    program.command("serve")(serve)
    program.command("explore")(explore)
    program.command("pack")(pack)
    program.command("export")(export)
    program.command("bench")(bench)
    program.command("import")(importing)
    if command == "doctor" and word and (word in recipes or word.partition(":")[0].endswith(".py")):
        looking = typer.Typer(rich_markup_mode=None)
        looking.command(word, help=f"Examine, untrained: {story(find(word))}")(_looking(find(word)))
        looking.callback()(lambda: None)  # with a callback it stays a group, though it has one command
        program.add_typer(looking, name="doctor", help=inspect.getdoc(commands.doctor))
    else:
        program.command("doctor")(commands.doctor)
    return program


def _callback() -> Act:
    import typer

    def tell(wanted: bool | None) -> None:
        if wanted:
            from .. import __version__

            typer.echo(f"scorefield {__version__}")
            raise typer.Exit

    def start(
        version: Annotated[
            bool | None, typer.Option("--version", callback=tell, is_eager=True, help="say which")
        ] = None,
        debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    ) -> None:
        """Learn the score ∇log p from samples, and use it."""

    return start


def _asked(words: Sequence[str]) -> tuple[str | None, str | None]:
    """The command, and the word after it."""
    plain = [word for word in words if not word.startswith("-")]
    command = plain[0] if plain else None
    following = list(words[words.index(command) + 1 :]) if command else []
    return command, following[0] if following and not following[0].startswith("-") else None


def _training(recipe: Recipe, word: str) -> Act:
    import typer

    from .train import train

    own = [
        ("out", Path | None, typer.Option(help=f"folder of the run [default: runs/{recipe.__name__}]"), None),
        ("resume", bool, typer.Option("--resume", help="continue the run in that folder"), False),
        ("previous", bool, typer.Option("--previous", help="continue from the state before the newest"), False),
    ]

    def act(given: dict[str, Any], typed: set[str], out: Path | None, resume: bool, previous: bool) -> None:
        train(recipe, word, given, typed, out, resume, previous)

    return _command(recipe, act, own)


def _looking(recipe: Recipe) -> Act:
    from .. import doctor
    from .commands import report

    return _command(recipe, lambda given, typed: report(doctor.examine(recipe(**given))), [])


def _command(recipe: Recipe, act: Act, own: list[tuple[str, Any, Any, Any]]) -> Act:
    """A function whose signature is that of the recipe and the command's own; ``act`` gets arguments and which were typed."""
    import typer

    known = options(recipe)

    def run(ctx: Any, **values: Any) -> None:
        with told():
            mine = {name: values.pop(name) for name, *_ in own}
            typed = {each.name for each in known if _typed(ctx, each.name)}
            act({each.name: each.read(values[each.name]) for each in known}, typed, **mine)

    parameters = [inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    parameters += [each.parameter() for each in known]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
        for name, kind, option, default in own
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _typed(ctx: Any, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")
