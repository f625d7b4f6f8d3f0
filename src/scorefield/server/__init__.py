"""A run behind HTTP: samples, scores, densities and denoised points, batched across requests that share evaluations."""

from .problems import Problem, Refused

__all__ = ["Problem", "Refused"]
