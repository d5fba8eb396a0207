"""Whether INT8 is faster than a network's float precisions on a device of this machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet.api.opening import load_checkpoint
from edgeresnet.device.machine.environment import environment, integer_speed_note
from edgeresnet.device.measure.fastest import check_fastest, judge
from edgeresnet.device.targets.export_support import options_of_precision
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import InputError
from edgeresnet.progress import TaskContext
from edgeresnet.results.fastest import FastestResults
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from edgeresnet.settings.measuring import FastestOptions
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold

if TYPE_CHECKING:
    from edgeresnet.host.models.checkpoint import Checkpoint


def fastest(
    source: str | Path,
    int8: str | Path,
    options: FastestOptions,
    *,
    rounds: int = 200,
    seed: int = 0,
    arch: str | None = None,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    raw: bool = False,
    network: NetworkTold = NOTHING_TOLD,
    context: TaskContext | None = None,
) -> FastestResults:
    """Time a network in INT8 and in each float precision of a device, by turns in one comparison.

    A script that calls this begins its work under ``if __name__ == "__main__":``: each model is
    timed in a process of its own. What is timed are the models that an export would write, without
    the proof that an export is.

    Args:
        source: float checkpoint, as `quantize` takes it, with the same of what follows.
        int8: what `quantize` made of it.
        options: target, device and threads.
        rounds: timed runs of each, at least.
        seed: of the order of turns, and of the bootstrap.
        arch: as `quantize` has it.
        image_size: likewise.
        inputs: likewise.
        raw: likewise.
        network: likewise.
        context: how the work reports; data and class names are for the export command alone.

    Raises:
        InputError: target or device is not known or has nothing to compare, or ``int8`` was not
            made of ``source``.
        MissingError: the device is not here, or only emulated.
        CheckError: another device would run a part of it.
    """
    check_fastest(options)
    from edgeresnet.host.quantization.fastest import time_precisions
    from edgeresnet.host.quantization.latency_probe import Place

    context = context or TaskContext()
    told: dict[str, Any] = {
        "arch": arch, "image_size": image_size, "inputs": inputs, "raw": raw, "network": network,
    }  # fmt: skip
    own, quantized = load_checkpoint(source, **told), load_checkpoint(int8)
    _check_made_of(own, quantized, f"{int8} is no INT8 checkpoint of {source}")
    device = options.device or target_of(options.target).spec.default_device
    place = Place(options.target, device, options.threads)
    timed = time_precisions(
        own, quantized, place, rounds=rounds, seed=seed, on_step=context.on_step
    )
    found = judge(timed, seed=seed)
    float_words = [str(source), *_options(told, context)]
    words = [str(int8)] if is_quantized(found["advised"]) else float_words
    return FastestResults(
        **found, target=options.target, device=device, threads=options.threads, batch=1,
        rounds=rounds,
        export_command=_command(words, options.target, found["advised"]),
        note=integer_speed_note(), environment=environment(),
    )  # fmt: skip


def _check_made_of(own: Checkpoint, int8: Checkpoint, cause: str) -> None:
    same = (own.arch, own.widths, own.input_spec) == (int8.arch, int8.widths, int8.input_spec)
    if int8.precision != "int8" or own.precision == "int8" or not same:
        raise InputError(cause, "give a float checkpoint and what quantize made of it.")


def _command(words: Sequence[str], target: str, precision: str) -> str:
    """The command line that exports a checkpoint, given with what was told of it."""
    flags = [f"--{name}" for name in options_of_precision(target, precision)]
    return shlex.join(["edgeresnet", "export", *words, "--target", target, *flags])


def _options(told: dict[str, Any], context: TaskContext) -> Iterator[str]:
    """What was told of the float checkpoint, and of the images that prove it, as words."""
    values = {
        "arch": told["arch"],
        "image_size": told["image_size"],
        **vars(told["inputs"]),
        **vars(told["network"]),
        "data": context.data,
        "limit": context.limit,
        "class_order": context.class_order,
        "classes": context.classes_path,
    }
    for name, value in values.items():
        if value is not None:
            yield f"--{name.replace('_', '-')}"
            yield ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)
    flags = {"raw": told["raw"], "skip_broken": context.skip_broken}
    yield from (f"--{name.replace('_', '-')}" for name, given in flags.items() if given)
