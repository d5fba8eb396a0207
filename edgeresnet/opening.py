"""Everything that profile, evaluate and compare accept, opened as a session."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet.accuracy import check_outputs
from edgeresnet.bundle import MANIFEST, load_bundle, read_manifest
from edgeresnet.dataset import InputSpec, check_classes
from edgeresnet.device import fingerprint
from edgeresnet.errors import InputError, MissingError
from edgeresnet.golden import check_golden
from edgeresnet.latency import noise, time_ms
from edgeresnet.placement import check_fallback, shares
from edgeresnet.precision import float_precision
from edgeresnet.targets import check_device_name, target_of
from edgeresnet.targets.classifier import PIXELS
from edgeresnet.targets.protocol import RunOptions
from edgeresnet.targets.tensorrt_engine import ENGINE, read_record

if TYPE_CHECKING:
    from edgeresnet.dataset import Dataset
    from edgeresnet.targets.protocol import Session

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".tar")
MODEL_SUFFIXES = {".onnx": "onnx", ".xml": "openvino", ENGINE: "tensorrt"}
# What a quantized graph is recognised by, in a file that may be read without its runtime.
INTEGER_MARKS = (b"QuantizeLinear", b"FakeQuantize", b'element_type="i8"', b'element_type="u8"')


@dataclass(frozen=True)
class ModelSource:
    """How a model is opened.

    Attributes:
        path: what `open_model` takes.
        device: where it runs; None: where its target usually does.
        options: how it runs.
        image_size: of a foreign checkpoint.
        target: open ``path`` as a plain model file of this target, without bundle or golden check;
            for `edgeresnet.fresh`.
    """

    path: Path
    device: str | None = None
    options: RunOptions = field(default_factory=RunOptions)
    image_size: int | None = None
    target: str | None = None


@dataclass(frozen=True)
class Opened:
    """A session and what is known about its model.

    Attributes:
        name: for tables; unique among what is compared only if the paths differ.
        classes: None for a bare model file, which has no names.
        load_ms: reading and compiling.
        first_ms: the first run after that; None on an emulator, whose times say nothing.
        source: how to open it again; None for what no file stands for.
        layers: the manifest's {name, op, macs, …}; empty for what has no manifest.
    """

    name: str
    target: str
    device: str
    precision: str
    session: Session
    input_spec: InputSpec
    embed_preprocess: bool
    classes: tuple[str, ...] | None
    data: str | None
    load_ms: float
    first_ms: float | None = None
    layers: tuple[dict[str, Any], ...] = ()
    source: ModelSource | None = None

    @property
    def emulated(self) -> bool:
        """Whether the device is emulated: then logits count, and times say nothing."""
        return self.session.emulated

    def check_data(self, dataset: Dataset) -> None:
        """Refuse, before any image is read, data that the model cannot take or answer.

        Raises:
            InputError: its classes are not those of the data, or as many; or its input is not
                one that images can be made for.
        """
        if self.classes is not None:
            check_classes(dataset, self.classes)
        shape, size = self.session.input_shape, self.input_spec.image_size
        if shape != ((size, size, 3) if self.embed_preprocess else (3, size, size)):
            raise InputError(
                f"{self.name} takes images of shape {shape} {self.session.input_dtype}, and images "
                "are made as (3, N, N) float or (N, N, 3) uint8",
                "give a model with such an input; profile takes any.",
            )
        check_outputs(self.name, self.session.classes, dataset)

    def placement(self, *, allow_fallback: bool = False) -> list[dict[str, Any]]:
        """Which unit runs which share of the layers and of the multiply-accumulates.

        Raises:
            CheckError: the CPU runs a part that was meant for another device.
        """
        kernels = self.session.kernels()
        if not allow_fallback:
            check_fallback(kernels, self.device)
        return [asdict(share) for share in shares(kernels, self.layers)]


@contextmanager
def open_model(
    path: Path,
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
    source = ModelSource(path, device, options or RunOptions(), image_size)
    opened = _open(path, device, source.options, image_size)
    with opened.session:
        yield replace(opened, source=source)


def check_devices(paths: Sequence[Path], device: str | None) -> None:
    """Refuse a device that the target of one of these models has not, before any is loaded.

    Raises:
        InputError: the device is not known, or not to that target.
    """
    if device is None:
        return
    check_device_name(device)
    for path in paths:
        if (path / MANIFEST).is_file():
            check_device_name(device, target_of(read_manifest(path).target))
        elif path.suffix in MODEL_SUFFIXES:
            check_device_name(device, target_of(MODEL_SUFFIXES[path.suffix]))


def _open(path: Path, device: str | None, options: RunOptions, image_size: int | None) -> Opened:
    check_devices([path], device)
    if (path / MANIFEST).is_file() or path.is_dir():
        return _open_bundle(path, device, options)
    text = str(path)
    if not path.exists() and not text.startswith("torchvision:"):
        raise InputError(
            f"{path} does not exist",
            "give a bundle, an .onnx, .xml or .engine file, or a checkpoint.",
        )
    if path.suffix in MODEL_SUFFIXES:
        return _open_bare(path, device, options)
    if is_checkpoint(path):
        return _open_checkpoint(path, device or "cpu", options, image_size)
    raise InputError(
        f"{path} is nothing that can be measured",
        "give a bundle folder, an .onnx, .xml or .engine file, or a checkpoint.",
    )


def is_checkpoint(path: Path) -> bool:
    """Whether the name is that of a checkpoint, of which PyTorch makes the session."""
    return path.suffix in CHECKPOINT_SUFFIXES or str(path).startswith("torchvision:")


def _open_bundle(path: Path, device: str | None, options: RunOptions) -> Opened:
    bundle = load_bundle(path)
    manifest = bundle.manifest
    target = target_of(manifest.target)
    device = device or target.default_device
    start = time.perf_counter()
    session = target.load(
        bundle.model_path, device, replace(options, precision=float_precision(manifest.precision))
    )
    load_ms = (time.perf_counter() - start) * 1e3
    with closed_on_error(session):
        if options.batch is not None:
            _check_batch(options.batch, session, f"bundle {path}")
        first_ms = _first_ms(session, options.batch, pixels=manifest.embed_preprocess)
        check_golden(bundle, session, device, fingerprint())
    return Opened(
        path.resolve().name,
        manifest.target,
        device,
        manifest.precision,
        session,
        manifest.input_spec,
        manifest.embed_preprocess,
        manifest.classes,
        manifest.data,
        load_ms,
        first_ms,
        manifest.layers,
    )


@contextmanager
def closed_on_error(session: Session) -> Iterator[None]:
    """Close a session when what follows its opening fails; else leave it to `open_model`."""
    with ExitStack() as stack:
        stack.enter_context(session)
        yield
        stack.pop_all()


def _first_ms(session: Session, batch: int | None, *, pixels: bool) -> float | None:
    """Milliseconds of the first run, which nothing else may precede."""
    if session.emulated:
        return None
    images = noise(session, batch or session.batch_sizes[0], pixels=pixels)
    return time_ms(lambda: session.run(images))


def _check_batch(batch: int, session: Session, what: str) -> None:
    smallest, largest = session.batch_sizes
    if not smallest <= batch <= largest:
        raise InputError(
            f"{what} takes batches of {smallest} to {largest}, not {batch}",
            "export it with a range, such as --batch 1:8:32.",
        )


def _open_bare(path: Path, device: str | None, options: RunOptions) -> Opened:
    name = MODEL_SUFFIXES[path.suffix]
    target = target_of(name)
    device = device or target.default_device
    start = time.perf_counter()
    session = target.load(path, device, options)
    load_ms = (time.perf_counter() - start) * 1e3
    with closed_on_error(session):
        if options.batch is not None:
            _check_batch(options.batch, session, str(path))
        shape, embedded = session.input_shape, session.input_dtype == PIXELS
        precision = bare_precision(path)
        first_ms = _first_ms(session, options.batch, pixels=embedded)
    return Opened(
        path.name, name, device, precision, session, InputSpec(shape[1]), embedded, None, None,
        load_ms, first_ms,
    )  # fmt: skip


def bare_precision(path: Path) -> str:
    """What a model file computes in, as far as its bytes or the engine's record say."""
    if path.suffix == ENGINE:
        return read_record(path).precision
    content = path.read_bytes()
    return "int8" if any(mark in content for mark in INTEGER_MARKS) else "fp32"


def _open_checkpoint(
    path: Path, device: str, options: RunOptions, image_size: int | None
) -> Opened:
    try:
        from edgeresnet.checkpoint import load_checkpoint
        from edgeresnet.torch_session import TorchSession
    except ImportError as error:
        raise MissingError(
            f"checkpoint {path} needs PyTorch: {error}",
            "pip install 'edgeresnet[host]', or export a bundle where PyTorch is.",
        ) from error
    if device != "cpu":
        raise MissingError(f"a checkpoint does not run on {device} here", "give --device cpu.")
    start = time.perf_counter()
    checkpoint = load_checkpoint(str(path), image_size=image_size)
    session = TorchSession(checkpoint, options.threads)
    load_ms = (time.perf_counter() - start) * 1e3
    return Opened(
        path.name,
        "torch",
        device,
        "fake-quant" if checkpoint.precision == "int8" else checkpoint.precision,
        session,
        checkpoint.input_spec,
        False,
        checkpoint.classes,
        checkpoint.data,
        load_ms,
        _first_ms(session, options.batch, pixels=False),
    )
