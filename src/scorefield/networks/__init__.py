"""Networks: f(x, t, **cond) with the shape of x, the rows of a batch independent, and zero to begin with."""

from .dit import DiT
from .encoder_decoder import EncoderDecoder
from .mlp import MLP
from .precision import fastest
from .unet import UNet

__all__ = ["MLP", "DiT", "EncoderDecoder", "UNet", "fastest"]
