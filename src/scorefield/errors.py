"""What can go wrong, as a tree.

    ScorefieldError
    ├── ShapeError           a tensor of another shape or dtype than the formula needs       (ValueError)
    ├── RangeError           a number, a time or a noise level outside its range             (ValueError)
    ├── DataError            missing, empty, non-finite or inconsistent data                 (ValueError)
    ├── RowsError            row i of a batch depends on the other rows                      (ValueError)
    ├── UnknownNameError     no recipe, option, sampler or file of that name                 (LookupError)
    ├── LawError             an object that breaks the law of its kind                       (AssertionError)
    ├── DivergedError        a loss or a walk left the finite numbers                        (ArithmeticError)
    ├── RunError             a folder that is no run, or one of another version
    │   ├── DamagedError     a run whose files were truncated or altered
    │   └── LockedError      a run that another process is training
    ├── StorageError         disk full, or a place that cannot be written                    (OSError)
    ├── MemoryLimitError     out of memory, with the batch size to try                       (MemoryError)
    ├── ExportError          a graph that does not give what its model gives
    └── MissingPackageError  an optional package that is not installed                       (ImportError)

Every message says object, what, got, wanted and remedy: ``Hutchinson(probes=0): probes must be at least 1.``
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ScorefieldError(Exception):
    """Everything scorefield raises on purpose."""


class ShapeError(ScorefieldError, ValueError):
    """A tensor of another shape or dtype than the formula needs."""


class RangeError(ScorefieldError, ValueError):
    """A number, a time or a noise level outside its range."""


class DataError(ScorefieldError, ValueError):
    """Missing, empty, non-finite or inconsistent data."""


class RowsError(ScorefieldError, ValueError):
    """Row i of a batch depends on the other rows, so that no per-example statement would hold."""


class UnknownNameError(ScorefieldError, LookupError):
    """No recipe, option, sampler or file of that name."""


class LawError(ScorefieldError, AssertionError):
    """An object that breaks the law of its kind; see `scorefield.laws`."""


class DivergedError(ScorefieldError, ArithmeticError):
    """A loss or a walk left the finite numbers."""


class RunError(ScorefieldError):
    """A folder that is no run, or one of another version."""


class DamagedError(RunError):
    """A run whose files were truncated or altered."""


class LockedError(RunError):
    """A run that another process is training."""


class StorageError(ScorefieldError, OSError):
    """Disk full, or a place that cannot be written."""


class MemoryLimitError(ScorefieldError, MemoryError):
    """Out of memory, with the batch size to try."""


class ExportError(ScorefieldError):
    """A graph that does not give what its model gives, or that quantisation ruined."""


class MissingPackageError(ScorefieldError, ImportError):
    """An optional package that is not installed."""


def unknown(kind: str, got: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name nobody knows, with the nearest one that somebody does.

    >>> str(unknown("recipe", "digts", ["digits", "moons"]))
    "recipe 'digts' is not known: did you mean 'digits'? Known: digits, moons."
    """
    names = sorted(known)
    small = {name.casefold(): name for name in names}
    near = get_close_matches(got.casefold(), small, n=1, cutoff=0.5)
    hint = f"did you mean {small[near[0]]!r}? " if near else ""
    return UnknownNameError(f"{kind} {got!r} is not known: {hint}Known: {', '.join(names)}.")
