"""Handwritten digits from noise: a U-Net in EDM's parameterisation, judged by a classifier trained apart."""

import math
from functools import partial
from typing import Any

import torch

from ..data import open_data
from ..errors import ShapeError
from ..grids import logsnr
from ..metrics import Judge, report
from ..models import Preconditioned, edm
from ..networks import UNet
from ..noises import EDM
from ..objectives import Diffusion, Dropout, LogNormal, weights
from ..tensors import seeded
from .drawing import Drawing
from .experiment import Experiment, Finished
from .measure import Measure, Measures, distances


def digits(
    *,
    data: str = "digits",
    width: int = 48,
    multipliers: tuple[int, ...] = (1, 2),
    blocks: int = 2,
    patch: int = 2,
    heads: int = 0,
    steps: int = 12_000,
    batch: int = 64,
    learning_rate: float = 6e-3,
    warmup: float = 0.05,
    bfloat16: bool | None = None,
    data_std: float = 0.6,
    sigma_max: float = 80.0,
    level_mean: float = -0.6,
    level_std: float = 1.3,
    label_dropout: float = 0.1,
    guidance: float = 1.2,
    guidance_low: float = 0.2,
    guidance_high: float = 3.0,
    sampling_steps: int = 20,
    floor: float = 2e-2,
    samples: int = 2000,
    judge_steps: int = 600,
    seed: int = 0,
) -> Experiment:
    """New handwritten digits from noise, learnt from 4,500 real ones; works for any small square images.

    Args:
        data: digits, digits8, a folder of IDX files or of images, a .npy or .npz file, or hf:NAME from Hugging Face
        width: channels of the U-Net at its finest level
        multipliers: channels at each level in multiples of the width, finest first
        blocks: residual blocks at each level, on the way down and on the way up
        patch: side of the squares of pixels that are folded into channels first
        heads: heads of self-attention at the coarsest level; 0 for none
        steps: training steps
        batch: images in each step
        learning_rate: of AdamW, after warming up and before decaying to zero
        warmup: part of the steps in which the learning rate rises
        bfloat16: compute inside the network in bfloat16; by default where the processor is fast at it
        data_std: standard deviation of the pixels, which scales the network's inputs and outputs
        sigma_max: the largest noise level
        level_mean: mean of the logarithm of the noise levels trained on
        level_std: standard deviation of the logarithm of the noise levels trained on
        label_dropout: part of the labels that are forgotten in training, so that guidance has something to compare with
        guidance: weight of the label in sampling; 1 is the plain conditional model, more is clearer and less varied
        guidance_low: noise level below which there is no guidance
        guidance_high: noise level above which there is no guidance
        sampling_steps: steps of the walk from noise to images
        floor: noise level from which the last step goes to zero
        samples: number of samples that the report judges
        judge_steps: training steps of the classifier that judges
        seed: of the weights, the batches, the noise and the samples

    >>> digits(data="digits8", patch=1, width=8, steps=10).data
    digits8: 1618 rows of shape (1, 8, 8), 179 held out
    """
    rows = open_data(data)
    if len(rows.shape) != 3 or rows.shape[1] != rows.shape[2]:
        raise ShapeError(
            f"digits(data={data!r}): events of shape {rows.shape}; square images (channels, size, size) wanted."
        )
    compute = torch.bfloat16 if (fast_bfloat16() if bfloat16 is None else bfloat16) else None
    classes = None if rows.labels is None else int(rows.labels.max()) + 1
    with seeded(seed):
        network = UNet(rows.shape[0], rows.shape[1], width, multipliers, blocks, patch, heads, classes, compute)
    model = Preconditioned(network, EDM(sigma_max), partial(edm, data_std=data_std))
    objective = Diffusion(LogNormal(level_mean, level_std), partial(weights.edm, data_std=data_std))
    return Experiment(
        model,
        objective if classes is None else Dropout(objective, label_dropout, null=classes),
        rows,
        steps=steps,
        batch=batch,
        training={"learning_rate": learning_rate, "warmup": warmup},
        drawing=Drawing(
            None,
            sampling_steps,
            logsnr(model.noise, sampling_steps, floor=floor),
            classes,
            guidance,
            guidance_low,
            guidance_high,
        ),
        seed=seed,
        count=samples,
        report=partial(judged, judge_steps=judge_steps),
    )


def judged(finished: Finished, *, judge_steps: int = 600) -> Measures:
    """`metrics.report` on ``count`` samples with a judge trained on the real training rows; distances without labels.

    Samples are judged as drawn, neither rounded nor clipped.
    """
    rows = finished.experiment.data
    samples = finished.sample()
    seconds = {"training_seconds": Measure(finished.seconds, meaning="seconds of training")}
    if rows.labels is None:
        return distances(samples, rows.held_out, [rows.train[: len(rows.held_out)]]) | seconds
    classes = int(rows.labels.max()) + 1
    judge = Judge.fit(rows.train, rows.labels, classes=classes, steps=judge_steps, seed=finished.experiment.seed)
    found = report(judge, samples, rows.held_out, rows.train)
    return {
        "confident": Measure(
            found["confident"],
            _share(found["confident"], len(samples)),
            found["confident_real"],
            "part of which a classifier trained apart is over 90 % sure",
        ),
        "entropy": Measure(
            found["entropy"], None, found["entropy_real"], "entropy of the classes, 1 if all are as frequent"
        ),
        "frechet": Measure(
            found["frechet"], found["frechet_error"], found["frechet_floor"], "Fréchet distance to held-out images"
        ),
        "density": Measure(found["density"], meaning="above 1: crowded where real images are; below: off them"),
        "coverage": Measure(
            found["coverage"], None, found["coverage_fresh"], "part of the real images with a sample nearby"
        ),
        "copies": Measure(
            found["copies"], None, found["copies_held_out"], "part that are near copies of a training image"
        ),
        "copying_z": Measure(found["copying_z"], meaning="below −3: closer to the training images than new ones are"),
        **seconds,
    }


def fast_bfloat16() -> bool:
    """Whether the machine multiplies bfloat16 matrices in hardware.

    >>> isinstance(fast_bfloat16(), bool)
    True
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("bf16"))


def _share(part: float, n: int) -> float:
    return math.sqrt(part * (1 - part) / n)
