"""scorefield: learn the score ∇log p from samples, and use it."""

__version__ = "0.1.0"
