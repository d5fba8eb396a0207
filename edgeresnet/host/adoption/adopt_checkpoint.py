"""Somebody else's checkpoint becomes ours."""

from __future__ import annotations

from dataclasses import replace

from edgeresnet.device.data.remembered import known_by, placed
from edgeresnet.host.adoption.adopt import Adopted, find, for_provenance
from edgeresnet.host.adoption.adoptee import CheckpointAdoptee
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.foreign.network import network_words
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.progress import TaskContext
from edgeresnet.results.made import AdoptResults
from edgeresnet.settings.adoption import AdoptOptions


@within_quota()
def adopt_checkpoint(
    adoptee: CheckpointAdoptee, options: AdoptOptions, *, context: TaskContext
) -> tuple[Checkpoint, AdoptResults]:
    """The checkpoint with all that its file does not say, and the figures.

    Args:
        adoptee: of a foreign file.
        options: all settings.
        context: labelled images as its data; how the work reports.

    Raises:
        InputError: data and checkpoint do not fit.
        CheckError: under no setting the network is clearly above chance.
    """
    found = find(adoptee, options, context=context)
    chosen = adoptee.chosen(found.candidate)
    data = context.data or ""
    provenance = {
        **chosen.provenance,
        "assumed": _found_line(chosen, found),
        "adopted": for_provenance(found.results),
    }
    checkpoint = replace(
        chosen,
        input_spec=found.input_spec,
        classes=found.classes,
        classes_known=True,
        data=placed(data),
        data_fingerprint=known_by(data),
        provenance=provenance,
    )
    return checkpoint, found.results


def _found_line(chosen: Checkpoint, found: Adopted) -> str:
    """What took the place of what was assumed."""
    line = network_words(
        chosen.arch,
        chosen.stem,
        chosen.stride_in,
        f"{found.candidate.weights} weights",
        found.input_spec,
        f"classes {found.results['settings']['classes']}",
    )
    return f"{line}; as {found.results['n']} labelled images say"
