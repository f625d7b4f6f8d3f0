"""``scorefield train RECIPE``: call the recipe with the options given, and run what it returns."""

from pathlib import Path
from typing import Any

import typer

from ..checkpoints import facts
from ..errors import RangeError, RunError
from ..recipes.find import Recipe
from .trained import trust


def train(
    recipe: Recipe, word: str, given: dict[str, Any], typed: set[str], out: Path | None, resume: bool, previous: bool
) -> None:
    """Run the recipe in ``out`` with the arguments ``given``, of which some were ``typed`` and the others are defaults.

    Raises: typer.Exit with status 130 after an interrupt, when all is saved and said.
    """
    folder = Path("runs") / recipe.__name__ if out is None else out
    own = None if _built_in(recipe) else word
    if resume or previous:
        given = _recorded(folder, recipe, {name: given[name] for name in sorted(typed)}, own)
    arguments = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    about = {"recipe": recipe.__name__ if own is None else str(word), "arguments": arguments}
    again = f"scorefield train {word}" + ("" if out is None else f" --out {out}") + " --resume"
    try:
        made = recipe(**given)
        made.run(folder, resume=resume or previous, previous=previous, show=typer.echo, about=about)
    except KeyboardInterrupt:
        typer.echo(f"\nStopped{_reached(folder)}. Continue with\n  {again}", err=True)
        raise typer.Exit(130) from None
    with_file = "" if own is None else f" --recipe {word}"
    if not hasattr(made, "drawing"):  # nothing to draw: a study, a classifier
        typer.echo(f"\nAll of it is in {folder}.")
        return
    typer.echo(f"\nAll of it is in {folder}. To try next:")
    for line in (f"sample {folder} --n 64{with_file}", f"evaluate {folder}{with_file}", f"doctor {folder}{with_file}"):
        typer.echo(f"  scorefield {line}")


def _built_in(recipe: Recipe) -> bool:
    return recipe.__module__.startswith("scorefield.")


def _reached(folder: Path) -> str:
    states = sorted((folder / "state").glob("step-*"))
    return f"; everything up to step {int(states[-1].name[5:]):,} is saved" if states else " before the first step"


def _recorded(folder: Path, recipe: Recipe, given: dict[str, Any], own: str | None) -> dict[str, Any]:
    """The arguments of the run. Raises: RunError for another recipe's run; RangeError for other arguments than its own."""
    about = facts(folder, trust=trust(own))
    name = about.get("recipe")
    if name is None or Path(name.partition(":")[0]).stem not in (recipe.__name__, recipe.__module__):
        raise RunError(
            f"run {folder}: the recipe {name} made it, not {recipe.__name__}; name that one, or another --out."
        )
    kept = about.get("arguments", {})
    for option, value in given.items():
        plain = str(value) if isinstance(value, Path) else value
        if option in kept and kept[option] == plain:
            continue
        flag = option.replace("_", "-")
        raise RangeError(
            f"--{flag} {value} with --resume: the run in {folder} was begun with {kept.get(option)}; leave the option out to continue "
            "it, or begin another with --out."
        )
    return kept
