"""What each target can be exported in, and what a host needs for that; without torch.

`edgeresnet.host.export` asks it when a bundle is made, `edgeresnet.run.preflight` before a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeresnet.device.targets.precision import WIDE, float_precision, is_quantized
from edgeresnet.device.targets.registry import TARGETS, target_of
from edgeresnet.errors import InputError, MissingError
from edgeresnet.settings.export import FEATURES

if TYPE_CHECKING:
    from edgeresnet.settings.export import BatchRange, ExportOptions

# Options of the command line that together name one precision, which some targets have.
PAIRS: dict[tuple[str, ...], str] = {("int8", "fp16"): "int8+fp16", ("int8", "a16"): WIDE}


def precision_of_options(target: str, given: Sequence[str]) -> str:
    """The precision that options name together; the target's usual one where none is given.

    Args:
        target: its name.
        given: of ``int8``, ``fp16``, ``bf16`` and ``a16``, in this order.

    Raises:
        InputError: the target is not known, or they name no precision of it.
    """
    spec = target_of(target).spec
    pair = PAIRS.get(tuple(given))
    if pair in spec.precisions:
        return str(pair)
    if "a16" in given:
        having = _having(WIDE)
        raise InputError(
            f"--a16 is for 8-bit weights on target {having}",
            f"give --target {having} --int8 --a16.",
        )
    if len(given) > 1:
        having = _having(PAIRS["int8", "fp16"])
        raise InputError(
            "more than one precision is given",
            f"give one of --int8, --fp16, --bf16; --int8 --fp16 is for --target {having}.",
        )
    return given[0] if given else spec.default_precision


def options_of_precision(target: str, precision: str) -> tuple[str, ...]:
    """The inverse of `precision_of_options`: the fewest options that mean a target's precision."""
    if precision == target_of(target).spec.default_precision:
        return ()
    pairs = {name: options for options, name in PAIRS.items()}
    return pairs.get(precision, (precision,))


def may_saturate(target: str, precision: str) -> bool:
    """Whether there are processors on which 8-bit products of such a model saturate."""
    return target_of(target).spec.saturates and is_quantized(precision)


def _having(precision: str) -> str:
    return " or ".join(n for n, target in TARGETS.items() if precision in target.spec.precisions)


def known_precisions() -> list[str]:
    """Every precision that a target has."""
    return list(dict.fromkeys(p for t in TARGETS.values() for p in t.spec.precisions))


def prover_of(target: str) -> str:
    """The target whose runtime proves a target's graph on the host.

    TensorRT needs a GPU, and QNN its emulator: where they do not run, their graphs are proven
    operator by operator, in what every host can run.
    """
    *preferred, last = target_of(target).spec.provers
    return next((name for name in preferred if target_of(name).devices()), last)


def check_written(target: str, precision: str) -> None:
    """Refuse a precision that the target does not have, with the reason.

    Raises:
        InputError: the target is not known or has no such precision.
    """
    spec = target_of(target).spec
    if precision not in spec.precisions:
        raise InputError(
            f"target {target} has no {precision}: {spec.why_no_other}",
            f"give one of {', '.join(spec.precisions)}.",
        )


def check_inputs(target: str, batch: BatchRange, *, embed_preprocess: bool) -> None:
    """Refuse inputs that the target does not take.

    Raises:
        InputError: it takes one batch size, or no pixels.
    """
    spec = target_of(target).spec
    if batch.dynamic and not spec.dynamic_batch:
        raise InputError(
            f"target {target} takes one batch size", "give --batch 1, or another number."
        )
    if embed_preprocess and not spec.pixel_input:
        raise InputError(
            f"target {target} has no operators for the normalization of pixels",
            "leave --embed-preprocess out; the input is float32 NCHW.",
        )


def check_prover(target: str, precision: str) -> None:
    """Refuse an export that could not be proven on this machine.

    Raises:
        MissingError: the runtime that proves it is not installed.
        InputError: no device of this machine computes in the precision.
    """
    prover = target_of(prover_of(target))
    here = prover.available()
    if not here.usable:
        raise MissingError(
            f"a {target} export is proven in {prover.spec.name}, which is not here: {here.reason}",
            here.fix or "",
        )
    if not target_of(target).spec.floats_by_device or float_precision(precision) == "fp32":
        return
    if not any(precision.upper() in d.capabilities for d in prover.devices()):
        raise InputError(
            f"no {target} device on this machine computes in {precision}, so it cannot be proven",
            "export on a machine that has one (edgeresnet devices shows capabilities), or export "
            "--int8 or fp32.",
        )


def check_outputs(options: ExportOptions) -> None:
    """Refuse an export that would give nothing.

    Raises:
        InputError: neither logits nor features are asked for.
    """
    if not options.logits and not options.features:
        raise InputError(
            "--no-logits without features leaves nothing to give",
            f"give --features too, some of {','.join(FEATURES)}.",
        )


def check_export(target: str, precision: str, batch: BatchRange, *, embed_preprocess: bool) -> None:
    """Refuse an export before its checkpoint is loaded.

    Raises:
        InputError: target, precision and inputs do not go together.
        MissingError: the runtime that proves it is not installed.
    """
    check_written(target, precision)
    check_inputs(target, batch, embed_preprocess=embed_preprocess)
    check_prover(target, precision)
