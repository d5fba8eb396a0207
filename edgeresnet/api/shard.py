"""Puts an image folder into tar shards."""

from __future__ import annotations

import os
from pathlib import Path

from edgeresnet.device.data.dataset import Split
from edgeresnet.device.data.folder import FolderDataset, open_folder, parts_of
from edgeresnet.errors import InputError
from edgeresnet.files.locks import one_writer
from edgeresnet.files.outputs import check_output_folder
from edgeresnet.files.places import from_home
from edgeresnet.progress import TaskContext
from edgeresnet.results.made import ShardResults
from edgeresnet.settings.sharding import ShardOptions


@one_writer("output")
def shard(
    output: str | Path,
    source: str | Path,
    options: ShardOptions | None = None,
    *,
    context: TaskContext | None = None,
) -> ShardResults:
    """Write an image folder as checksummed tar shards, which every ``data`` takes as the folder.

    Interrupted, it goes on where it was when it is called again; what is damaged is written anew.

    Args:
        output: folder of the shards.
        source: image folder, with parts for training and validation, or split by name.
        options: how they are written; None: the defaults.
        context: how the work reports.

    Raises:
        InputError: the folder is not usable, or ``output`` has something else in it.
        MissingError: there is no room.
    """
    context, place, root = context or TaskContext(), Path(output), from_home(source)
    if not root.is_dir():
        raise InputError(f"{source} is no folder", "give a folder of images: DIR/train/CLASS.")
    check_output_folder(place, "-o")
    one, other = Path(os.path.realpath(place)), Path(os.path.realpath(root))
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise InputError(
            f"-o {place} and {root} lie in each other", "give a folder beside the images."
        )
    parts = _parts(root, context)
    from edgeresnet.host.sharding.write_shards import write_shards

    sharded = write_shards(parts, place, options or ShardOptions(), context)
    return {
        "data": str(place),
        "classes": len(next(iter(parts.values())).classes),
        "parts": {
            part: {
                "images": sum(entry["images"] for entry in done.entries),
                "bytes": sum(entry["bytes"] for entry in done.entries),
                "shards": len(done.entries),
                "kept": done.kept,
            }
            for part, done in sharded.items()
        },
    }


def _parts(root: Path, context: TaskContext) -> dict[Split, FolderDataset]:
    """The parts that the folder has: both, or only one."""
    try:
        parts = {split: open_folder(str(root), root, split, seed=0) for split in parts_of(root)}
    except OSError as error:
        raise InputError(f"{root} cannot be read: {error.strerror}", "make it readable.") from error
    for note in dict.fromkeys(note for dataset in parts.values() for note in dataset.notes):
        context.on_step(note)
    return parts
