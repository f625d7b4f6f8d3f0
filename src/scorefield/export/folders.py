"""Weights for other programs: tensors in a ``.pt`` file, and a folder that diffusers loads.

    pt          weights.pt, read by ``torch.load(path, weights_only=True)``, and model.json, the description to build from
    diffusers   model_index.json, pipeline.py, denoiser/{config.json, denoiser.py, diffusion_pytorch_model.safetensors}

diffusers has no network of ours, so that the folder brings the few lines that build it, and they need scorefield installed.
What it draws is what the run draws, number by number. Neither form holds a pickled object.
"""

import io
import json
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from .. import files
from ..checkpoints import versions
from ..data import Scaling
from ..describe import describe
from ..recipes.drawing import Drawing

_LAYOUT = Path(__file__).parent / "layout"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def to_pt(
    model: nn.Module, folder: str | Path, *, how: Drawing, shape: tuple[int, ...], scaling: Scaling, run: str = ""
) -> tuple[Path, ...]:
    """``weights.pt``, a dictionary of tensors, and ``model.json``, whose "model" `describe.build` makes into the module.

    Raises: StorageError with nothing half-written; RangeError for a model that cannot be described.

    >>> import tempfile
    >>> from scorefield.models import Preconditioned; from scorefield.networks import MLP; from scorefield.noises import VP
    >>> model = Preconditioned(MLP(2, 8, 1), VP())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = to_pt(model, folder, how=Drawing(), shape=(2,), scaling=Scaling.identity())
    ...     [path.name for path in paths]
    ['weights.pt', 'model.json']
    """
    about = _about(model, how, shape, scaling) | {"run": run, "versions": versions()}
    stream = io.BytesIO()
    torch.save(_tensors(model), stream)
    return _write(Path(folder), {"weights.pt": stream.getvalue(), "model.json": _json(about)})


def to_diffusers(
    model: nn.Module, folder: str | Path, *, how: Drawing, shape: tuple[int, ...], scaling: Scaling, run: str = ""
) -> tuple[Path, ...]:
    """A folder for ``DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)``.

    The pipeline's image i of a seed is sample i of that seed. `from_diffusers` reads the folder back as a run.
    Raises: StorageError; RangeError for a model that cannot be described.

    >>> import tempfile
    >>> from scorefield.models import Preconditioned; from scorefield.networks import MLP; from scorefield.noises import VP
    >>> model = Preconditioned(MLP(2, 8, 1), VP())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_diffusers(model, folder, how=Drawing(), shape=(2,), scaling=Scaling.identity())[0].name
    'model_index.json'
    """
    about = _about(model, how, shape, scaling)
    config = {"_class_name": "ScorefieldDenoiser", "description": about.pop("model"), **about}
    index = {"_class_name": ["pipeline", "ScorefieldPipeline"], "denoiser": ["denoiser", "ScorefieldDenoiser"]}
    weights = {f"model.{name}": value for name, value in _tensors(model).items()}
    return _write(
        Path(folder),
        {
            "model_index.json": _json(index),
            "pipeline.py": (_LAYOUT / "pipeline.py").read_bytes(),
            "denoiser/config.json": _json(config),
            "denoiser/denoiser.py": (_LAYOUT / "denoiser.py").read_bytes(),
            f"denoiser/{WEIGHTS}": safetensors.torch.save(weights, metadata={"format": "pt"}),
            "README.md": _readme(run).encode(),
        },
    )


def _about(model: nn.Module, how: Drawing, shape: tuple[int, ...], scaling: Scaling) -> dict:
    return {
        "model": describe(model),
        "drawing": describe(how),
        "scaling": describe(scaling),
        "shape": list(shape),
    }


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}


def _json(content: dict) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _write(folder: Path, contents: dict[str, bytes]) -> tuple[Path, ...]:
    paths = []
    for name, content in contents.items():
        path = folder / name
        with files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, content)
        paths.append(path)
    return tuple(paths)


def _readme(run: str) -> str:
    return (
        f"# {run or 'A scorefield run'}\n\nA denoising model exported by scorefield.\n\n"
        "```python\nfrom diffusers import DiffusionPipeline\n\n"
        "pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)\n"
        'pipe(batch_size=4, seed=0, output_type="pt").images\n```\n'
    )
