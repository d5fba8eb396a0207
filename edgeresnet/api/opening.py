"""Opens what a path names: a bundle, a bare model file or a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.device.bundle.bundle import read_manifest
from edgeresnet.device.bundle.manifest import MANIFEST
from edgeresnet.device.session import ModelSource, Opened, check_devices, open_bare, open_bundle
from edgeresnet.device.targets.model_files import check_size, is_model_file, reader_of
from edgeresnet.device.targets.registry import target_of
from edgeresnet.device.targets.spec import RUN_OPTIONS
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.places import shortened
from edgeresnet.progress import OnStep, silent
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold

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
    inputs: InputChanges = NO_CHANGES,
) -> Iterator[Opened]:
    """Open a bundle, a bare ``.onnx``, ``.xml`` or ``.engine``, or a checkpoint; closed on leaving.

    A bundle's hashes are checked, and on first use on a device its golden logits. A bare file
    gets ImageNet's normalization.

    Args:
        path: of the model.
        device: where it runs; None: where its target usually does.
        options: how it runs.
        image_size: of a checkpoint, or of a bare file that leaves it open.
        inputs: what is told of the preprocessing of a checkpoint or a bare file.

    Raises:
        InputError: nothing to open there, or something is told that has no effect on it.
        MissingError: its runtime or device is not here.
        CheckError: the golden logits differ.
    """
    path = Path(path)
    device = None if device is None else device.lower()
    source = ModelSource(path, device, options or RunOptions(), image_size, inputs, open_model)
    with readable(path):
        opened = _open(source)
    with opened.session:
        yield replace(opened, source=source)


def load_checkpoint(
    source: str | Path,
    *,
    arch: str | None = None,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    classes: Sequence[str] | None = None,
    raw: bool = False,
    network: NetworkTold = NOTHING_TOLD,
    on_step: OnStep = silent,
) -> Checkpoint:
    """Read a checkpoint of any origin.

    Args:
        source: file of ours or of a foreign training, or ``torchvision:ARCH:WEIGHTS``.
        arch: of ``torchvision:WEIGHTS``; refused where the source says it.
        image_size: of a foreign one; of our own it overrides.
        inputs: what is told of its preprocessing, over what it says itself.
        classes: names of a foreign one's classes; None: those that it gives, else "0", "1", ….
        raw: take a foreign one's weights themselves, not their moving average beside them.
        network: what is told of a foreign checkpoint's stem and strides.
        on_step: told what was assumed of a foreign one, and what was left out.

    Raises:
        InputError: there is no such checkpoint, or it is none of a ResNet.
    """
    from edgeresnet.host.models.checkpoint import load_checkpoint as load

    with readable(source):
        loaded = load(
            source,
            arch=arch,
            image_size=image_size,
            inputs=inputs,
            classes=classes,
            raw=raw,
            network=network,
            on_step=on_step,
        )
    if arch is not None and loaded.arch != arch:
        raise InputError(
            f"{source} is {loaded.arch}, so --arch {arch} has no effect",
            f"leave it out, or give --arch {loaded.arch}.",
        )
    return loaded


def _open(source: ModelSource) -> Opened:
    path, device, options = source.path, source.device, source.options
    check_devices([path], device)
    check_told(path, raw=options.raw, network=options.network)
    check_run_options([path], device, options)
    check_may_be_trusted(path, options.trust)
    if is_bundle(path):
        check_own_inputs(path, source.image_size, source.inputs)
        return open_bundle(path, device, options)
    text = str(path)
    if not path.exists() and not text.startswith("torchvision:"):
        raise InputError(
            f"{path} does not exist",
            "give a bundle, an .onnx, .xml or .engine file, or a checkpoint.",
        )
    if is_model_file(path):
        return open_bare(path, device, options, source.image_size, source.inputs)
    if is_checkpoint(path):
        try:
            from edgeresnet.host.models.torch_session import open_checkpoint
        except ImportError as error:
            raise MissingError(
                f"checkpoint {path} needs PyTorch: {error}",
                "pip install 'edgeresnet[host]', or export a bundle where PyTorch is.",
            ) from error
        return open_checkpoint(path, device or "cpu", options, source.image_size, source.inputs)
    raise InputError(
        f"{path} is nothing that can be measured",
        "give a bundle folder, an .onnx, .xml or .engine file, or a checkpoint.",
    )


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Say what a file system has against a path, as an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{shortened(path)} cannot be read: {error.strerror or error}",
            "check the path, and whether you may read it.",
        ) from error


def is_bundle(path: Path) -> bool:
    """Whether a path is that of a bundle, or of a folder that should be one."""
    with readable(path):
        return (path / MANIFEST).is_file() or path.is_dir()


def check_own_inputs(path: Path, image_size: int | None, inputs: InputChanges) -> None:
    """Refuse what would change the input of a bundle, which has its own.

    Raises:
        InputError: another image size, or anything of its preprocessing; or it is no bundle.
    """
    if inputs.given:
        raise InputError(
            f"{inputs.options} would have no effect: bundle {path} has its own preprocessing",
            "leave it out, or export the checkpoint with it.",
        )
    check_size(f"bundle {path}", read_manifest(path).input_spec.image_size, image_size)


def check_may_be_trusted(path: Path, trust: str | None) -> None:
    """Refuse, where a key is to vouch for what is opened, what cannot be signed.

    Raises:
        InputError: it is no bundle.
    """
    if trust is not None and not is_bundle(path):
        raise InputError(
            f"{path} is no bundle, and --trust {trust} vouches for signed bundles only",
            "export it with --sign KEY, or leave out --trust.",
        )


def run_options_of(path: Path, device: str | None) -> frozenset[str]:
    """Which of `RUN_OPTIONS` a model on a device has a use for; a checkpoint is on the CPU."""
    if is_bundle(path):
        spec = target_of(read_manifest(path).target).spec
    elif is_model_file(path):
        spec = reader_of(path)[0].spec
    else:
        return frozenset({"threads"})
    return spec.run_options(device or spec.default_device)


def with_effect(options: RunOptions, useful: frozenset[str]) -> RunOptions:
    """The options without those that mean nothing, which are as if they were not given."""
    plain = RunOptions()
    return replace(options, **{name: getattr(plain, name) for name in RUN_OPTIONS - useful})


def check_run_options(paths: Sequence[Path], device: str | None, options: RunOptions) -> None:
    """Refuse what is told of a run and means nothing to any of these models.

    Raises:
        InputError: names the options.
    """
    useful = frozenset[str]()
    for path in paths:
        with readable(path):
            if not path.exists() and not is_checkpoint(path):
                return  # whoever opens it says so
            useful |= run_options_of(path, device)
    plain = with_effect(options, useful)
    idle = [name for name in sorted(RUN_OPTIONS) if getattr(plain, name) != getattr(options, name)]
    if idle:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in idle).replace(
            "--cuda-graph", "--no-cuda-graph"
        )
        where = f"device {device}" if device else "its usual device"
        raise InputError(
            f"{named} would have no effect: {', '.join(map(str, paths))} on {where} has no use "
            "for it",
            "leave it out.",
        )


def check_told(path: Path, *, raw: bool, network: NetworkTold) -> None:
    """Refuse what is told of a checkpoint's weights or network where there is no checkpoint.

    Raises:
        InputError: what the path names is of another kind.
    """
    options = told_options(raw=raw, network=network)
    if options and not is_checkpoint(path):
        raise InputError(
            f"{options} says nothing of {path}, which is no checkpoint", "leave it out."
        )


def told_options(*, raw: bool, network: NetworkTold) -> str:
    """What is told of a checkpoint, as a message names it."""
    return ", ".join(filter(None, (network.options, "--raw" if raw else "")))


def is_checkpoint(path: Path) -> bool:
    """Whether the name is that of a checkpoint, of which PyTorch makes the session."""
    return path.suffix.lower() in CHECKPOINT_SUFFIXES or str(path).startswith("torchvision:")
