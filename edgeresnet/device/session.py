"""Everything that profile, evaluate and compare accept, opened as a session."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgeresnet.device.bundle.bundle import load_bundle, read_manifest
from edgeresnet.device.bundle.golden import check_golden
from edgeresnet.device.bundle.manifest import MANIFEST
from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.device.machine.environment import fingerprint
from edgeresnet.device.machine.saturation import check_products
from edgeresnet.device.targets.answers import Answers, answers_of, two_classes
from edgeresnet.device.targets.classifier import PIXELS, channels_last
from edgeresnet.device.targets.first_run import first_run, load
from edgeresnet.device.targets.model_files import check_size, reader_of, target_of_file
from edgeresnet.device.targets.outputs import LOGITS, Output
from edgeresnet.device.targets.placement import check_fallback, shares
from edgeresnet.device.targets.precision import float_precision
from edgeresnet.device.targets.registry import check_device_name, target_of
from edgeresnet.errors import InputError
from edgeresnet.settings.inputs import NO_CHANGES, SMALLEST_IMAGE, InputChanges, InputSpec
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.device.targets.protocol import Session


class Opener(Protocol):
    """What opens a path for a measurement, as `edgeresnet.api.opening.open_model` does."""

    def __call__(
        self,
        path: Path,
        *,
        device: str | None = None,
        options: RunOptions | None = None,
        image_size: int | None = None,
        inputs: InputChanges = NO_CHANGES,
    ) -> AbstractContextManager[Opened]:
        """A session and what is known of its model; closed on leaving."""
        ...


@dataclass(frozen=True)
class ModelSource:
    """How a model is opened.

    Attributes:
        path: what the opener takes.
        device: where it runs; None: where its target usually does.
        options: how it runs.
        image_size: of what leaves it open.
        inputs: told of the preprocessing of what does not say it.
        opener: by which it was opened; a function of a module, so that another process finds it.
        target: without an opener: open ``path`` as a plain model file of this target, without
            bundle or golden check.
    """

    path: Path
    device: str | None = None
    options: RunOptions = field(default_factory=RunOptions)
    image_size: int | None = None
    inputs: InputChanges = NO_CHANGES
    opener: Opener | None = None
    target: str | None = None


@dataclass(frozen=True)
class Opened:
    """A session and what is known about its model.

    Attributes:
        name: for tables; unique among what is compared only if the paths differ.
        classes: None where nobody gave names: of a bare model file, of many a foreign checkpoint.
        load_ms: reading and compiling.
        first_ms: the first run after that; None on an emulator, whose times say nothing.
        source: how to open it again; None for what no file stands for.
        data_fingerprint: by what the folder that it remembers is known again; None: by nothing.
        layers: the manifest's {name, op, macs, …}; empty for what has no manifest.
        outputs: how many a first run has shown; None where none was needed.
        answers: ``logits``, or ``probabilities`` of a model that ends in them.
        notes: lines on what was assumed of a foreign checkpoint.
        gives: all outputs of a bundle that gives features.
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
    data_fingerprint: str | None = None
    outputs: int | None = None
    answers: Answers = "logits"
    notes: tuple[str, ...] = ()
    gives: tuple[Output, ...] = ()

    @property
    def gives_logits(self) -> bool:
        """Whether a run answers with logits, or probabilities; else with an embedding or level."""
        return not self.gives or any(one.name == LOGITS for one in self.gives)

    @property
    def emulated(self) -> bool:
        """Whether the device is emulated: then logits count, and times say nothing."""
        return self.session.emulated

    def check_data(self, dataset: Dataset) -> None:
        """Refuse, before any image is read, data that the model cannot take or answer.

        Args:
            dataset: bound to the model's classes (`edgeresnet.device.data.class_binding`).

        Raises:
            InputError: it has more or fewer outputs than the data has classes, or its input is
                not one that images can be made for.
        """
        shape, size = self.session.input_shape, self.input_spec.image_size
        if shape not in ((size, size, 3), (3, size, size)):
            raise InputError(
                f"{self.name} takes images of shape {shape} {self.session.input_dtype}, and images "
                "are made as (3, N, N) or (N, N, 3)",
                "give a model with such an input; profile takes any.",
            )
        if self.gives_logits:
            check_outputs(self.name, self.outputs or self.session.classes, dataset)

    def placement(self, *, allow_fallback: bool = False) -> list[dict[str, Any]]:
        """Which unit runs which share of the layers and of the multiply-accumulates.

        Raises:
            CheckError: the CPU runs a part that was meant for another device.
        """
        kernels = self.session.kernels()
        if not allow_fallback:
            check_fallback(kernels, self.device)
        return [asdict(share) for share in shares(kernels, self.layers)]


def open_bundle(path: Path, device: str | None, options: RunOptions) -> Opened:
    bundle = load_bundle(path, trust=options.trust)
    manifest = bundle.manifest
    target = target_of(manifest.target)
    device = device or target.spec.default_device
    check_products(f"bundle {path}", safe=manifest.safe, device=device)
    start = time.perf_counter()
    own = replace(
        options,
        precision=float_precision(manifest.precision),
        # Of an adopted model, which may leave it open.
        image_size=manifest.input_spec.image_size,
        engine_dir=bundle.engine_dir,
        outputs=manifest.output_names,
    )
    session, model_bytes = load(target, bundle.model_path, device, own)
    load_ms = (time.perf_counter() - start) * 1e3
    with closed_on_error(session):
        _check_batch(options.batch, session, f"bundle {path}")
        first_ms = None
        if not session.emulated:
            _, first_ms = first_run(
                path, session, own, pixels=manifest.embed_preprocess, model_bytes=model_bytes
            )
        check_golden(bundle, session, device, fingerprint())
    return Opened(
        path.resolve().name, manifest.target, device, manifest.precision, session,
        manifest.input_spec, manifest.embed_preprocess,
        manifest.classes if manifest.classes_known else None, manifest.data, load_ms, first_ms,
        manifest.layers, data_fingerprint=manifest.data_fingerprint, answers=manifest.answers,
        gives=manifest.outputs,
    )  # fmt: skip


@contextmanager
def closed_on_error(session: Session) -> Iterator[None]:
    """Close a session when what follows its opening fails; else leave it to `open_model`."""
    with ExitStack() as stack:
        stack.enter_context(session)
        yield
        stack.pop_all()


def _check_batch(batch: int | None, session: Session, what: str) -> None:
    smallest, largest = session.batch_sizes
    if batch is not None and not smallest <= batch <= largest:
        raise InputError(
            f"{what} takes batches of {smallest} to {largest}, not {batch}",
            "export it with a range, such as --batch 1:8:32.",
        )


def open_bare(
    path: Path,
    device: str | None,
    options: RunOptions,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
) -> Opened:
    """Open a model file; what it does not say of its preprocessing is ImageNet's, or told.

    Raises:
        InputError: nothing that images could be given to, or what is told would have no effect.
        MissingError: its runtime or device is not here.
    """
    target, files = reader_of(path)
    device = device or target.spec.default_device
    start = time.perf_counter()
    own = replace(options, image_size=image_size)
    session, model_bytes = load(target, path, device, own)
    load_ms = (time.perf_counter() - start) * 1e3
    with closed_on_error(session):
        _check_batch(options.batch, session, str(path))
        spec = _bare_inputs(path, session, image_size, inputs)
        precision, pixels = files.precision(path), session.input_dtype == PIXELS
        answered, ms = first_run(path, session, own, pixels=pixels, model_bytes=model_bytes)
        first_ms = None if session.emulated else ms
        endings = files.endings(path)
        answers = answers_of(answered, endings)
        outputs = answered.shape[1]
        if outputs == 1:
            session, outputs = two_classes(path, session, answers, endings), 2
    return Opened(
        path.name, target.spec.name, device, precision, session, spec, pixels, None, None,
        load_ms, first_ms, outputs=outputs, answers=answers,
    )  # fmt: skip


def _bare_inputs(
    path: Path, session: Session, image_size: int | None, inputs: InputChanges
) -> InputSpec:
    """How images become the input of a bare model."""
    first, height, last = session.input_shape
    sides = (first, height) if channels_last(session.input_shape) else (height, last)
    check_size(path, height if sides[0] == sides[1] else None, image_size)
    if session.input_dtype == PIXELS and (inputs.mean or inputs.std):
        raise InputError(
            f"{path} takes pixels and normalizes them itself, so --mean and --std have no effect",
            "leave them out.",
        )
    # What has an unusual shape is timed, and `Opened.check_data` refuses to make images for it.
    return inputs.over(InputSpec(max(*sides, SMALLEST_IMAGE)))


def check_outputs(name: str, outputs: int | None, dataset: Dataset) -> None:
    """Refuse a model that gives more or fewer logits than the data has classes.

    Args:
        name: of the model, for the message.
        outputs: how many logits it gives; None: not known before a run.
        dataset: images; without labels any number will do.
    """
    if outputs is not None and is_labelled(dataset) and outputs != len(dataset.classes):
        raise InputError(
            f"{name} has {outputs} outputs, and {dataset.name} has {len(dataset.classes)} classes",
            "give the data that it was trained on (--data), or a model of these classes.",
        )


def time_ms(run: Callable[[], object]) -> float:
    """Milliseconds that one call takes."""
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e6


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
        elif (target := target_of_file(path)) is not None:
            check_device_name(device, target)
