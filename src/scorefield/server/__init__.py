"""A run behind HTTP: samples, scores, densities and denoised points, batched across requests that share evaluations.

``scorefield serve RUN`` starts it; `Client` asks it; `scorefield.server.app.application` is it, for servers of one's own.
"""

from .client import Client, Completion, LogDensities, Samples, ServerError, State
from .limits import Limits

__all__ = ["Client", "Completion", "Limits", "LogDensities", "Samples", "ServerError", "State"]
