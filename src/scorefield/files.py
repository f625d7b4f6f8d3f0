"""Files that are either whole or not there.

Write beside the place, flush to disk, rename: a crash at any moment leaves the old file or the new one. Checksums are
SHA-256: over the tensors in a safetensors file's own header, over the data in a JSON file, over all files of a folder
in its ``manifest.json``.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .errors import DamagedError, StorageError

_TEMPORARY = ".writing-"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns every OSError into `StorageError` naming the place.

    >>> with writing(Path("a/b")):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    ...
    scorefield.errors.StorageError: a/b cannot be written: No space left on device; free some space or choose another \
folder. What was saved before is still whole.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}; {'free some space or ' if full else ''}choose another "
            "folder. What was saved before is still whole."
        ) from error


def replace(path: Path, content: bytes) -> None:
    """The file with this content, on disk when the call returns.

    Raises: StorageError, with nothing half-written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace(Path(folder) / "a", b"whole")
    ...     (Path(folder) / "a").read_bytes()
    b'whole'
    """
    temporary = path.with_name(_TEMPORARY + path.name)
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to write in, which becomes ``path`` with a manifest of checksums when the block ends well.

    Raises: StorageError, with nothing half-written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replace_folder(Path(folder) / "a") as temporary:
    ...         replace(temporary / "b", b"whole")
    ...     check_manifest(Path(folder) / "a")
    """
    temporary = path.with_name(_TEMPORARY + path.name)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(_TEMPORARY + "*"):
            shutil.rmtree(stale)
        try:
            temporary.mkdir()
            yield temporary
            sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(temporary.iterdir())}
            write_json(temporary / "manifest.json", {"files": sums})
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_manifest(folder: Path) -> None:
    """Every file of the folder is there and unaltered; the other half of `replace_folder`.

    Raises: DamagedError naming the first that is not.

    >>> check_manifest(Path("nowhere"))
    Traceback (most recent call last):
    ...
    scorefield.errors.DamagedError: nowhere/manifest.json is missing.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        raise DamagedError(f"{manifest} is missing.")
    for name, wanted in read_json(manifest)["files"].items():
        file = folder / name
        if not file.exists():
            raise DamagedError(f"{file} is missing.")
        got = hashlib.sha256(file.read_bytes()).hexdigest()
        if got != wanted:
            raise DamagedError(
                f"{file} was truncated or altered: its checksum is {got[:12]}, recorded {wanted[:12]}; take a whole copy."
            )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """The content and its checksum, readable by people.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder) / "a.json", {"seed": 0})
    ...     read_json(Path(folder) / "a.json")
    {'seed': 0}
    """
    full = {**content, "sha256": _json_sum(content)}
    replace(path, (json.dumps(full, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises: DamagedError if it was truncated or altered.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder) / "a.json", {})
    ...     read_json(Path(folder) / "a.json")
    {}
    """
    try:
        content = json.loads(path.read_bytes())
        wanted = content.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedError(
            f"{path} was truncated or altered: it is not the JSON that was written; take a whole copy."
        ) from error
    if _json_sum(content) != wanted:
        raise DamagedError(f"{path} was altered: its content and its checksum {str(wanted)[:12]} disagree.")
    return content


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file whose header holds the checksum of names, types, shapes and numbers.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(Path(folder) / "a.safetensors", {"x": torch.ones(2)})
    ...     read_tensors(Path(folder) / "a.safetensors")
    {'x': tensor([1., 1.])}
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    replace(path, safetensors.torch.save(plain, metadata={"sha256": _tensor_sum(plain)}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """What `write_tensors` wrote, on the CPU.

    Raises: DamagedError if it was truncated or altered.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(Path(folder) / "a.safetensors", {})
    ...     read_tensors(Path(folder) / "a.safetensors")
    {}
    """
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            wanted = (file.metadata() or {}).get("sha256", "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise DamagedError(f"{path} was truncated or altered: {error}.") from error
    got = _tensor_sum(tensors)
    if got != wanted:
        raise DamagedError(f"{path} was altered: its checksum is {got[:12]}, recorded {wanted[:12] or 'none'}.")
    return tensors


def _json_sum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _tensor_sum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
