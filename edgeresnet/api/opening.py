"""Opens what a path names: a bundle, a bare model file or a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.device.bundle.bundle import MANIFEST
from edgeresnet.device.session import ModelSource, Opened, check_devices, open_bare, open_bundle
from edgeresnet.device.targets.model_files import is_model_file
from edgeresnet.errors import InputError, MissingError
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from edgeresnet.host.models.checkpoint import Checkpoint

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".tar")


@contextmanager
def open_model(
    path: str | Path,
    *,
    device: str | None = None,
    options: RunOptions | None = None,
    image_size: int | None = None,
) -> Iterator[Opened]:
    """Open a bundle, a bare ``.onnx``, ``.xml`` or ``.engine``, or a checkpoint; closed on leaving.

    A bundle's hashes are checked, and on first use on a device its golden logits. A bare file
    gets ImageNet's normalization.

    Raises:
        InputError: nothing to open there.
        MissingError: its runtime or device is not here.
        CheckError: the golden logits differ.
    """
    path = Path(path)
    source = ModelSource(path, device, options or RunOptions(), image_size, open_model)
    opened = _open(path, device, source.options, image_size)
    with opened.session:
        yield replace(opened, source=source)


def load_checkpoint(
    source: str | Path,
    *,
    arch: str | None = None,
    image_size: int | None = None,
    classes: Sequence[str] | None = None,
) -> Checkpoint:
    """Read a checkpoint of any origin.

    Args:
        source: file of ours or of a foreign training, or ``torchvision:ARCH:WEIGHTS``.
        arch: of a foreign one whose tensors do not tell.
        image_size: of a foreign one; of our own it overrides.
        classes: names of a foreign one's classes; None: "0", "1", ….

    Raises:
        InputError: there is no such checkpoint, or it is none of a ResNet.
    """
    from edgeresnet.host.models.checkpoint import load_checkpoint as load

    return load(source, arch=arch, image_size=image_size, classes=classes)


def _open(path: Path, device: str | None, options: RunOptions, image_size: int | None) -> Opened:
    check_devices([path], device)
    if (path / MANIFEST).is_file() or path.is_dir():
        return open_bundle(path, device, options)
    text = str(path)
    if not path.exists() and not text.startswith("torchvision:"):
        raise InputError(
            f"{path} does not exist",
            "give a bundle, an .onnx, .xml or .engine file, or a checkpoint.",
        )
    if is_model_file(path):
        return open_bare(path, device, options)
    if is_checkpoint(path):
        try:
            from edgeresnet.host.models.torch_session import open_checkpoint
        except ImportError as error:
            raise MissingError(
                f"checkpoint {path} needs PyTorch: {error}",
                "pip install 'edgeresnet[host]', or export a bundle where PyTorch is.",
            ) from error
        return open_checkpoint(path, device or "cpu", options, image_size)
    raise InputError(
        f"{path} is nothing that can be measured",
        "give a bundle folder, an .onnx, .xml or .engine file, or a checkpoint.",
    )


def is_checkpoint(path: Path) -> bool:
    """Whether the name is that of a checkpoint, of which PyTorch makes the session."""
    return path.suffix in CHECKPOINT_SUFFIXES or str(path).startswith("torchvision:")
