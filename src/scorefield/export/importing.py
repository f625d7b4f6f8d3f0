"""A folder that diffusers wrote, as a run: the noise from its scheduler, the meaning of the network verified.

The scheduler's own code is the judge. For random x_0, ε and steps, and the network's own answers,

    x_t = scheduler.add_noise(x_0, ε, k) = α x_0 + σ ε            x̂ = the x_0 that the scheduler predicts = our denoiser(x_t, t)

and with data at hand, the meaning "prediction_type" must denoise better than the other two would. Weights are read from
safetensors only.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .. import models
from ..data import Scaling
from ..describe import build
from ..errors import DamagedError, ExportError, MissingPackageError, RunError
from ..metrics.estimate import mean
from ..models import Denoiser, Preconditioned
from ..noises import EDM, Rectified
from ..recipes.drawing import Drawing
from ..tensors import Streams, normal
from .folders import WEIGHTS
from .foreign import DiffusersUNet, Stepped, Tabulated, flow, turned

MEANINGS = {"epsilon": models.epsilon, "v_prediction": models.velocity, "sample": models.clean}
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Imported:
    """A model with how to draw from it, its event shape and the way to pixels; ``error`` is what verification found."""

    model: nn.Module
    how: Drawing
    shape: tuple[int, ...]
    scaling: Scaling
    error: float


def from_diffusers(folder: str | Path, data: Float[Tensor, "n *event"] | None = None) -> Imported:
    """The denoiser of a folder: a UNet2DModel with its scheduler, or what `to_diffusers` wrote.

    Schedulers with a table of betas (DDPM, DDIM, PNDM, DPM-Solver, …), EDM's, and flow matching's are understood. ``data``, rows in
    the model's units, −1 to 1 for images, let a wrong prediction_type be seen.
    Raises: RunError for a folder of another kind, DamagedError for weights that do not fit, ExportError if the denoiser is not what
    the scheduler says, or data contradict it; MissingPackageError without diffusers.
    """
    folder = Path(folder)
    own = folder / "denoiser" / "config.json"
    if own.exists() and _json(own).get("_class_name") == "ScorefieldDenoiser":
        return _own(_json(own), folder / "denoiser")
    place = next((each for each in (folder / "unet", folder) if (each / "config.json").exists()), None)
    if place is None:
        raise RunError(
            f"import {folder}: no unet/config.json and no config.json; wanted a folder that diffusers saved."
        )
    config = _json(place / "config.json")
    table = next(
        (
            path
            for path in (folder / "scheduler" / "scheduler_config.json", place / "scheduler_config.json")
            if path.exists()
        ),
        None,
    )
    if table is None:
        raise RunError(f"import {folder}: no scheduler/scheduler_config.json, which says what the network predicts.")
    settings = _json(table)
    network = DiffusersUNet(config)
    _load(network.unet, place)
    model = meaning(network, settings)
    error = verify(model.eval().requires_grad_(False), settings)
    if data is not None:
        _require_meaning(model, settings, data)
    return Imported(model, Drawing(), network.shape, Scaling.pixels(), error)


def meaning(network: nn.Module, settings: dict[str, Any]) -> Denoiser:
    """The denoiser that a network is by the settings of a diffusers scheduler. Raises: RunError for one of another kind."""
    kind, predicts = settings.get("_class_name", "none"), settings.get("prediction_type", "epsilon")
    if kind.startswith("EDM"):
        sign = {"epsilon": models.edm, "v_prediction": turned}.get(predicts)
        if sign is None:
            raise RunError(f"import: {kind} with prediction_type {predicts!r}; epsilon or v_prediction wanted.")
        noise = EDM(float(settings.get("sigma_max", 80.0)))
        return Preconditioned(network, noise, partial(sign, data_std=float(settings.get("sigma_data", 0.5))))
    if kind.startswith("FlowMatch"):
        return Preconditioned(network, Rectified(), partial(flow, steps=int(settings.get("num_train_timesteps", 1000))))
    if "beta_schedule" not in settings and "trained_betas" not in settings:
        raise RunError(f"import: scheduler {kind} has no table of betas; tables, EDM and flow matching are understood.")
    if predicts not in MEANINGS:
        raise RunError(f"import: prediction_type {predicts!r} is not known; one of {', '.join(MEANINGS)} wanted.")
    cumulative = _reference(settings).alphas_cumprod.double()
    kept = cumulative[cumulative > 1e-12]  # a last step without signal has σ/α = ∞, where no walk can begin
    return Stepped(network, Tabulated(tuple((-kept.log()).tolist())), MEANINGS[predicts])


@torch.no_grad()
def verify(model: Denoiser, settings: dict[str, Any], *, seed: int = 0) -> float:
    """The largest difference between the denoiser and the scheduler's own formulas, on random rows, relative to their size.

    Raises: ExportError above 1e-4.
    """
    n = 8
    x = torch.empty(n, *(model.shape or ()))
    clean, z = normal(x, Streams(seed, range(n))), normal(x, Streams(seed + 1, range(n)))
    worst = 0.0
    for u in torch.linspace(0.02, 0.98, 7, dtype=torch.float64):
        t, theirs, answer = _their(model, settings, u, clean, z)
        alpha, sigma = model.noise.at(t, clean)
        ours = alpha * clean + sigma * z
        for mine, wanted in ((ours / _line(model, t), theirs), (model(ours, t), answer)):
            worst = max(worst, float((mine - wanted).abs().max()) / max(1.0, float(wanted.abs().max())))
    if not worst <= TOLERANCE:
        raise ExportError(
            f"import: the denoiser differs from what {settings.get('_class_name')} predicts by {worst:.2g} of its size, more than "
            f"{TOLERANCE:g}; nothing was written."
        )
    return worst


def _line(model: Denoiser, t: Tensor) -> float:
    """What our x_t is of theirs: α + σ where a flow's line is meant, 1 elsewhere."""
    if not isinstance(model.noise, Rectified):
        return 1.0
    alpha, sigma = model.noise.scales(t)
    return float(alpha + sigma)


def _their(model: Any, settings: dict[str, Any], u: Tensor, clean: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(our t, their x_t, their predicted x_0) at one of their levels."""
    reference = _reference(settings)
    if isinstance(model, Stepped):
        k = int(u * (len(model.noise.table) - 1))
        step = torch.full((len(clean),), k)
        x = reference.add_noise(clean, z, step)
        reference.set_timesteps(reference.config.num_train_timesteps)
        answer = model.network(x, step.float())
        predicted = reference.step(answer, k, x, eta=0.0).pred_original_sample
        return torch.tensor((k + 1) / len(model.noise.table), dtype=torch.float64), x, predicted
    if isinstance(model.noise, EDM):
        sigma = model.noise.sigma_max * u**3
        x = clean + float(sigma) * z
        answer = model.network(
            reference.precondition_inputs(x, sigma.float()), reference.precondition_noise(sigma.float()).expand(len(x))
        )
        return u**3, x, reference.precondition_outputs(x, answer, sigma.float())
    s = float(u)
    x = (1 - s) * clean + s * z
    steps = reference.config.num_train_timesteps
    predicted = x - s * model.network(x, torch.full((len(x),), steps * s))
    return model.noise.time(torch.tensor(s / (1 - s), dtype=torch.float64)), x, predicted


@torch.no_grad()
def _require_meaning(model: Denoiser, settings: dict[str, Any], data: Tensor) -> None:
    """With rows of data: the stated meaning must not be plainly worse at denoising than another one."""
    if not isinstance(model, Stepped):
        return
    rows = data[:64].float()
    z = normal(rows, Streams(2, range(len(rows))))
    errors: dict[str, Tensor] = dict.fromkeys(MEANINGS, torch.zeros(len(rows)))
    for ratio in (0.3, 1.0, 3.0, 10.0):
        t = model.noise.time(torch.tensor(ratio, dtype=torch.float64))
        alpha, sigma = model.noise.at(t, rows)
        x = alpha * rows + sigma * z
        found = {name: Stepped(model.network, model.noise, each)(x, t) - rows for name, each in MEANINGS.items()}
        squares = {name: each.square().flatten(1).mean(1) for name, each in found.items()}
        least = min(float(each.mean()) for each in squares.values())
        errors = {name: errors[name] + each / least for name, each in squares.items()}
    stated = settings.get("prediction_type", "epsilon")
    best = min(errors, key=lambda name: float(errors[name].mean()))
    lead = mean(errors[stated] - errors[best])
    if best != stated and lead.value > 3 * lead.error:
        raise ExportError(
            f"import: the scheduler says prediction_type {stated!r}, but on these data the network denoises better as {best!r} "
            f"(relative errors {float(errors[stated].mean()) / 4:.3g} and {float(errors[best].mean()) / 4:.3g}); correct "
            "scheduler_config.json."
        )


def _reference(settings: dict[str, Any]) -> Any:
    """The scheduler whose formulas judge: DDIM's for every table of betas, without clipping."""
    try:
        import diffusers
    except ImportError as error:
        raise MissingPackageError("import of this folder needs diffusers: pip install diffusers.") from error
    plain = {name: value for name, value in settings.items() if not name.startswith("_")}
    kind = settings.get("_class_name", "")
    if kind.startswith("EDM"):
        return diffusers.EDMEulerScheduler.from_config(plain)
    if kind.startswith("FlowMatch"):
        return diffusers.FlowMatchEulerDiscreteScheduler.from_config(plain)
    return diffusers.DDIMScheduler.from_config(plain, clip_sample=False, thresholding=False, timestep_spacing="leading")


def _own(config: dict[str, Any], place: Path) -> Imported:
    model = build(config["description"])
    weights = {name.removeprefix("model."): value for name, value in _tensors(place).items()}
    _fit(model, weights, place)
    how, scaling = build(config["drawing"]), build(config["scaling"])
    return Imported(model.eval(), how, tuple(config["shape"]), scaling, 0.0)


def _load(network: nn.Module, place: Path) -> None:
    _fit(network, _tensors(place), place)


def _tensors(place: Path) -> dict[str, Tensor]:
    path = place / WEIGHTS
    if not path.exists():
        raise RunError(
            f"import: {path} is missing; only safetensors are read: in diffusers, model.save_pretrained(folder, "
            "safe_serialization=True)."
        )
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise DamagedError(f"{path} was truncated or altered: {error}.") from error


def _fit(module: nn.Module, weights: dict[str, Tensor], place: Path) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise DamagedError(
            f"{place / WEIGHTS}: these weights are not those of the model that config.json describes."
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path}: this is not JSON.") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{path}: a JSON object wanted.")
    return content
