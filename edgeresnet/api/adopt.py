"""Makes somebody else's model ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.api.opening import check_told, load_checkpoint, open_model
from edgeresnet.api.saving import ADOPTED, check_output, check_room_for, save_result
from edgeresnet.device.targets.model_files import is_model_file
from edgeresnet.errors import InputError
from edgeresnet.files.locks import one_writer
from edgeresnet.progress import TaskContext
from edgeresnet.results.made import AdoptResults
from edgeresnet.settings.adoption import AdoptOptions
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold

if TYPE_CHECKING:
    from edgeresnet.host.adoption.adoptee import CheckpointAdoptee


@one_writer("output")
def adopt(
    source: str | Path,
    output: str | Path,
    options: AdoptOptions | None = None,
    *,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    raw: bool = False,
    network: NetworkTold = NOTHING_TOLD,
    context: TaskContext,
) -> AdoptResults:
    """Find out what nobody wrote down of a foreign model, and write it down.

    What is told is taken as it is, and not looked for. Of a checkpoint a checkpoint is made, and
    of a model file, which stays as it is, a bundle.

    Args:
        source: checkpoint of a foreign training, or a bare ``.onnx`` or ``.xml``.
        output: checkpoint file, or bundle, to write.
        options: all settings; None: the defaults.
        image_size: of its input.
        inputs: of its preprocessing.
        raw: take its weights themselves, not their moving average beside them.
        network: of a checkpoint's stem and strides.
        context: labelled images as its data; how the work reports.

    Raises:
        InputError: it is no foreign model, or the data does not fit it.
        MissingError: the runtime of a model file is not here.
        CheckError: the network is not clearly above chance whatever is assumed; nothing is written.
    """
    if context.data is None:
        raise InputError("nobody says which data", "give --data, e.g. --data photos.")
    options = options or AdoptOptions()
    if is_model_file(Path(source)):
        check_told(Path(source), raw=raw, network=network)
        return _adopt_bare(Path(source), Path(output), options, image_size, inputs, context)
    if options.record_host:
        raise InputError(
            "--record-host would have no effect: a checkpoint keeps the place of its data anyway",
            "leave it out; it is of the bundles of model files.",
        )
    path = Path(output)
    check_output(path)
    check_room_for(path, source, ADOPTED)
    from edgeresnet.host.adoption.adopt_checkpoint import adopt_checkpoint

    adoptee = _checkpoint(source, image_size, inputs, raw, network, context)
    checkpoint, results = adopt_checkpoint(adoptee, options, context=context)
    save_result(checkpoint, path, context)
    return results


def _checkpoint(
    source: str | Path,
    image_size: int | None,
    inputs: InputChanges,
    raw: bool,
    network: NetworkTold,
    context: TaskContext,
) -> CheckpointAdoptee:
    """The foreign checkpoint with each choice of weights that it has."""
    from edgeresnet.host.adoption.adoptee import CheckpointAdoptee

    first = load_checkpoint(
        source,
        image_size=image_size,
        inputs=inputs,
        raw=raw,
        network=network,
        on_step=context.on_step,
    )
    if "source" not in first.provenance or "adopted" in first.provenance:
        raise InputError(
            f"{source} is a checkpoint of edgeresnet, which says all of itself",
            "give the foreign file; an own checkpoint needs no adoption.",
        )
    from edgeresnet.host.models.headless import check_has_classes

    check_has_classes(
        first.classes,
        "adoption, which asks under which preprocessing the classes are right,",
        "say the preprocessing yourself (--image-size, --mean, --std) to quantize or export.",
    )
    weights = {"EMA" if first.provenance["averaged"] else "raw": first}
    if first.provenance["raw_beside"]:
        weights["raw"] = load_checkpoint(
            source, image_size=image_size, inputs=inputs, raw=True, network=network
        )
    return CheckpointAdoptee(weights, inputs, network, image_size is not None)


def _adopt_bare(
    path: Path,
    out_dir: Path,
    options: AdoptOptions,
    image_size: int | None,
    inputs: InputChanges,
    context: TaskContext,
) -> AdoptResults:
    from edgeresnet.host.adoption.adopt_bare import adopt_bare
    from edgeresnet.host.adoption.adoptee import BareAdoptee

    check_room_for(out_dir, path, ADOPTED)
    with open_model(path, image_size=image_size, inputs=inputs) as opened:
        return adopt_bare(BareAdoptee(opened, inputs), path, out_dir, options, context=context)[1]
