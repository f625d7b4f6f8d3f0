"""Shapes in annotations are executed: every call of scorefield in a test is checked by jaxtyping and beartype."""

from jaxtyping import install_import_hook

HOOK = install_import_hook("scorefield", "beartype.beartype")
