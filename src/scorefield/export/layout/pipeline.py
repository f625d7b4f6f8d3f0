# mypy: ignore-errors
"""Samples of a scorefield run as a diffusers pipeline; ``pip install diffusers scorefield`` is all it needs.

    from diffusers import DiffusionPipeline
    pipe = DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)
    pipe(batch_size=16, seed=0).images

Image i of a seed is what ``scorefield sample RUN --seed`` draws as number i, whatever the size of the batch.
"""

from dataclasses import replace

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, ModelMixin

from scorefield.describe import build


class ScorefieldPipeline(DiffusionPipeline):
    """The run's own walk: sampler, times and guidance are those it was exported with."""

    def __init__(self, denoiser: ModelMixin):
        super().__init__()
        self.register_modules(denoiser=denoiser)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        *,
        seed: int = 0,
        class_label: int | None = None,
        num_inference_steps: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ):
        """``output_type``: "pil" or "np" in 0 … 1 for images; "pt" for numbers in the units of the data, of any shape."""
        about = {name: build(self.denoiser.config[name]) for name in ("drawing", "scaling")}
        shape = tuple(self.denoiser.config["shape"])
        how = about["drawing"]
        if num_inference_steps is not None:
            how = replace(how, steps=num_inference_steps, times=None)
        drawn = how.sample(self.denoiser.model, batch_size, shape=shape, seed=seed, label=class_label)
        if output_type == "pt":
            images = about["scaling"].to_data(drawn)
        else:
            images = (drawn / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().numpy()
            images = self.numpy_to_pil(images) if output_type == "pil" else images
        return ImagePipelineOutput(images=images) if return_dict else (images,)
