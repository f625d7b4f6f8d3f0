"""Functions from denoisers to a denoiser."""

from .free import Free

__all__ = ["Free"]
