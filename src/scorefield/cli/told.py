"""Errors as people read them: one paragraph on stderr, an exit status, no traceback.

2     what was asked for cannot be: a name, a number, a file, a run
1     it was begun and failed: training diverged, memory or disk ran out, a package is missing
130   interrupted, everything saved
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DivergedError, ExportError, MemoryLimitError, MissingPackageError, ScorefieldError, StorageError

FAILED = (DivergedError, ExportError, MemoryLimitError, MissingPackageError, StorageError)
TRACEBACK = "SCOREFIELD_TRACEBACK"


@contextmanager
def told() -> Iterator[None]:
    """Turns everything that scorefield raises on purpose into its message and an exit status.

    With SCOREFIELD_TRACEBACK=1 or ``--debug`` the error goes on, with its traceback.
    """
    import typer

    try:
        yield
    except ScorefieldError as error:
        if os.environ.get(TRACEBACK, "0") not in ("", "0"):
            raise
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, FAILED) else 2) from None
