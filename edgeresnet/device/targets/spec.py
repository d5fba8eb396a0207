"""All that differs between targets, in one record each, which everything else reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeresnet.device.targets.model_facts import ModelFacts


def nothing(channels: int) -> None:
    """What a target says that has no number of channels to warn of."""


def never(device: str) -> bool:
    """What a target says that does something for no device."""
    return False


RUN_OPTIONS = frozenset({"threads", "cuda_graph", "spin_wait", "allow_fallback"})


def every_run_option(device: str) -> frozenset[str]:
    """What a target says that has a use for all of them."""
    return RUN_OPTIONS


def untold(path: Path) -> tuple[str, ...]:
    """What a kind of model says that tells no operators."""
    return ()


def nothing_beside(path: Path) -> list[str]:
    """What a kind of model says whose file is all of it."""
    return []


@dataclass(frozen=True)
class Checked:
    """What a model file may need that has passed its check.

    Attributes:
        model_bytes: of the file, and of those that its weights are in.
        input_bytes: of one input as the file has it; what it leaves open counts as 1.
    """

    model_bytes: int
    input_bytes: int = 0


def unchecked(path: Path) -> Checked:
    """What a kind of model says that no runtime opens without its record."""
    return Checked(path.stat().st_size)


@dataclass(frozen=True)
class BareFiles:
    """The model files of a target, as users have them: without a bundle around.

    Attributes:
        suffixes: by which such a file is known; no other target's.
        describe: what the runtime reads from the file, its open image size filled with a given
            one; InputError or MissingError if it cannot.
        precision: what the file computes in, told without the runtime.
        endings: the operator that makes each output, told without the runtime; none where the file
            does not tell.
        beside: names of the files in its folder, without which it does not load.
        check: refuses, with an InputError and before any runtime opens it, a file that could run
            for ever, take all memory or read what is not its own.
    """

    suffixes: tuple[str, ...]
    describe: Callable[[Path, int | None], ModelFacts]
    precision: Callable[[Path], str]
    endings: Callable[[Path], tuple[str, ...]] = untold
    beside: Callable[[Path], list[str]] = nothing_beside
    check: Callable[[Path], Checked] = unchecked


@dataclass(frozen=True, kw_only=True)
class TargetSpec:
    """A target's facts; what it does is in `edgeresnet.device.targets.protocol.Target`.

    Attributes:
        name: as in ``--target``.
        extra: of our package, that brings its runtime.
        system_packages: how the names of packages begin that come with the system, never from pip.
        devices: every device that it can run on, on this machine or another; the first is meant
            where none is named.
        precisions: what it can be exported in.
        why_no_other: the reason why it has no other precision.
        default_precision: the one that is meant where none is given.
        encoding: for a device the name of the canonical graph's encoding that it wants, see
            `edgeresnet.host.export.encodings.encode.ENCODINGS`.
        writer: the name of how the model file is written, see
            `edgeresnet.host.export.writers.WRITERS`.
        provers: targets whose runtime proves its graphs on a host, in order of preference. The
            last one is taken where none of the others has a device.
        saturates: its 8-bit products may saturate, so that weights keep one bit free.
        bare_files: model files without a bundle; None where users have none.
        model_suffixes: of the file that a bundle opens.
        build_options: fields of `BuildOptions` that a user may set.
        run_options: those of `RUN_OPTIONS` that mean something on a device.
        builds_ahead: export builds the engine too, where this machine can.
        needs_engine: it loads engines only.
        is_built_for: whether a bundle is built on a device before it is measured there.
        dynamic_batch: a model may leave its batch open.
        pixel_input: preprocessing may be inside, behind uint8 (N, H, W, 3).
        casts_pixels_first: there, before they are transposed.
        float_layers_in: what layers of a quantized model are computed in that are to stay float:
            ``float``, or ``w8a16`` where integer kernels stand beside no others.
        floats_by_device: a float precision is the device's own choice, and so is proven only where
            a device lists it in its capabilities.
        adds_integers_apart: an add of integers is a kernel of its own, at best; where it is not,
            and of floats, it is part of a convolution's.
        wrong_stream: why INT8 answers are wrong where a residual stream has so many channels; None:
            they are not.
        measures_peak: whether a device's peak can be measured: it loads
            `edgeresnet.device.targets.ideal_network` as it is, says what is in each kernel, and its
            times of kernels are those of the device.
        nvidia_gpu: its device ``gpu`` is NVIDIA's, which has a power meter of its own.
    """

    name: str
    extra: str
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    why_no_other: str
    encoding: Callable[[str], str]
    writer: str
    provers: tuple[str, ...]
    saturates: bool
    default_precision: str = "fp32"
    system_packages: tuple[str, ...] = ()
    bare_files: BareFiles | None = None
    model_suffixes: tuple[str, ...] = (".onnx",)
    build_options: frozenset[str] = frozenset()
    run_options: Callable[[str], frozenset[str]] = every_run_option
    builds_ahead: bool = False
    needs_engine: bool = False
    is_built_for: Callable[[str], bool] = never
    dynamic_batch: bool = True
    pixel_input: bool = True
    casts_pixels_first: bool = False
    float_layers_in: str = "float"
    floats_by_device: bool = False
    adds_integers_apart: bool = False
    wrong_stream: Callable[[int], str | None] = nothing
    measures_peak: Callable[[str], bool] = never
    nvidia_gpu: bool = False

    def __post_init__(self) -> None:
        if self.default_precision not in self.precisions:
            raise ValueError(f"{self.name}: {self.default_precision} is none of its precisions")

    @property
    def default_device(self) -> str:
        """The device that is meant where none is named."""
        return self.devices[0]
