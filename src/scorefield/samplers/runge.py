"""Runge–Kutta steps of the probability flow dy/dλ = x̂ − y, with y = x/α and λ = log α/σ.

Bogacki and Shampine's pair, orders 3 and 2 (1989, Appl. Math. Lett. 2(4), doi:10.1016/0893-9659(89)90079-7):

    k₁ = f(λ, y),  k₂ = f(λ + h/2, y + h/2 k₁),  k₃ = f(λ + 3h/4, y + 3h/4 k₂),
    y₊ = y + h (2k₁ + 3k₂ + 4k₃)/9,  k₄ = f(λ + h, y₊),  error = h (−5k₁ + 6k₂ + 8k₃ − 9k₄)/72.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DivergedError, RangeError
from ..models import Denoiser
from ..tensors import Draws, expand, sum_event
from .base import Past, Sampler, Values
from .flow import Scalar, drift, ends

Rows = Float[Tensor, "*batch"]


def third_order(
    model: Denoiser, x: Values, t: Rows, s: Rows, denoised: Values, **cond
) -> tuple[Values, Rows, Rows, Rows]:
    """(x_s, λ_t, λ_s, error-free slope k₁ … ) placeholder."""
    raise RangeError("placeholder")
