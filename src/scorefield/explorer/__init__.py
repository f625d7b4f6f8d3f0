"""The explorer: a local page on which scores are looked at, walked in, trained and questioned.

``scorefield explore [RUN]`` serves it on this machine alone. Its numbers are the library's, computed here; ``static`` holds
the page as it is served, plain modules of JavaScript and one style sheet, so that what is built is its source.
"""

from .app import application

__all__ = ["application"]
