"""Quantizes a float checkpoint."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.api.data import on_foreign, with_data
from edgeresnet.api.opening import load_checkpoint
from edgeresnet.api.saving import check_output, check_room_to_train, resumable, save_result
from edgeresnet.api.together import by_first, data_parallel
from edgeresnet.files.locks import one_writer
from edgeresnet.progress import TaskContext
from edgeresnet.results.made import QuantizeResults
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import ModelSettings


@data_parallel
@one_writer("output")
def quantize(
    source: str | Path,
    output: str | Path,
    options: QuantizeOptions | None = None,
    *,
    strict: bool = False,
    arch: str | None = None,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    raw: bool = False,
    network: NetworkTold = NOTHING_TOLD,
    context: TaskContext | None = None,
) -> QuantizeResults:
    """Write a fake-quantized INT8 checkpoint of a float one.

    A missed budget is no error: the best network that was reached is written, and ``verdict`` says
    ``fail``. On images without labels top-1 is None, and ``max_disagreement`` the budget.
    Interrupted, a quantization-aware training goes on where it was.

    Args:
        source: float checkpoint of any origin.
        output: checkpoint file to write.
        options: method (a rung of the ladder, or ``auto``), budget and all settings; None: the
            defaults.
        strict: a budget that its interval leaves undecided counts as missed.
        arch: of ``torchvision:WEIGHTS``; refused where the source says it.
        image_size: of a foreign checkpoint; of our own it overrides.
        inputs: what is told of its preprocessing, over what it says itself.
        raw: take a foreign checkpoint's weights themselves, not their moving average beside them.
        network: what is told of a foreign checkpoint's stem and strides.
        context: data (else what the checkpoint remembers); how the work reports and goes on.

    Raises:
        InputError: the checkpoint is quantized already, data and checkpoint do not fit, or the
            options need labels and the data has none.
        CheckError: the training diverged, or the result is not finite.
    """
    path = Path(output)
    by_first(lambda: check_output(path))
    context = resumable(context or TaskContext(), path, "resume")
    model = ModelSettings(weights=str(source))
    resume_path = context.resume_path
    by_first(lambda: check_room_to_train(path, model, resume_path))
    from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint

    checkpoint = load_checkpoint(
        source,
        arch=arch,
        image_size=image_size,
        inputs=inputs,
        raw=raw,
        network=network,
        on_step=on_foreign(context),
    )
    context = with_data(context, checkpoint, str(source))
    quantized, figures = quantize_checkpoint(
        checkpoint, options or QuantizeOptions(), strict=strict, context=context
    )
    by_first(lambda: save_result(quantized, path, context))
    return figures
