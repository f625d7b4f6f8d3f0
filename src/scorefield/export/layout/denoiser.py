"""A scorefield denoiser as a diffusers model: built from its description, weights from safetensors."""

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from scorefield.describe import build


class ScorefieldDenoiser(ModelMixin, ConfigMixin):
    """E[x_0 | x_t] at time t in 0 … 1; ``description``, ``drawing`` and ``scaling`` are scorefield's own, in plain data."""

    @register_to_config
    def __init__(self, description: dict, drawing: dict, scaling: dict, shape: list):
        super().__init__()
        self.model = build(description)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """The clean estimate, of the shape of x."""
        return self.model(x, t) if label is None else self.model(x, t, label=label)
