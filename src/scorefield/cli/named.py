"""Samplers by name, as `scorefield.samplers.named` finds them: ``--sampler heun``, ``--sampler "Ancestral(eta=0.5)"``."""

from ..samplers.named import known, sampler

__all__ = ["known", "sampler"]
