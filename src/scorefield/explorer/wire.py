"""What the page and the server say to each other: tensors as base64 of float32, requests as checked models."""

import base64
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor


class Wire(BaseModel):
    """A request of the page: unknown names and numbers that are not finite are refused with a 422."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


def packed(x: Tensor) -> dict[str, Any]:
    """A tensor as JSON: its shape, and its numbers as base64 of little-endian float32. ``lib/api.js`` unpacks it.

    >>> packed(torch.ones(1, 2))
    {'shape': [1, 2], 'float32': 'AACAPwAAgD8='}
    """
    numbers = x.detach().cpu().to(torch.float32).contiguous().numpy().astype("<f4")
    return {"shape": list(x.shape), "float32": base64.b64encode(numbers.tobytes()).decode()}
