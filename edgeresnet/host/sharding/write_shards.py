"""An image folder as tar shards: written in parallel, kept where they are whole, then indexed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from edgeresnet.device.data.content_hashes import file_sizes
from edgeresnet.device.data.dataset import Split
from edgeresnet.device.data.folder import FolderDataset
from edgeresnet.device.data.shards.index import ShardEntry, ShardIndex, record_path
from edgeresnet.device.data.shards.naming import INDEX
from edgeresnet.device.machine.cpu import default_threads
from edgeresnet.device.machine.privacy import write_result
from edgeresnet.errors import InputError
from edgeresnet.files.outputs import check_room
from edgeresnet.files.writing import PARTIAL, writing
from edgeresnet.host.sharding.write_shard import ShardPlan, kept_shard, write_shard
from edgeresnet.progress import TaskContext, images_progress
from edgeresnet.settings.sharding import ShardOptions

# All that ever lies in a folder of ours; what else does is somebody's.
OWN = re.compile(r"(train|val)-[0-9]{6,9}\.(tar|json)|index\.json")
HALF = re.compile(rf"\.(?:{OWN.pattern})\.[0-9a-f]{{8}}{re.escape(PARTIAL)}")
# Of a tar, for each image: two headers, the label, and what fills both up to whole blocks.
BESIDE_IMAGE = 2048


@dataclass(frozen=True)
class Sharded:
    """What was written of one part.

    Attributes:
        entries: its shards.
        kept: how many of them lay there already, whole.
    """

    entries: tuple[ShardEntry, ...]
    kept: int


def write_shards(
    parts: Mapping[Split, FolderDataset],
    output: Path,
    options: ShardOptions,
    context: TaskContext,
) -> dict[Split, Sharded]:
    """Write the parts of an image folder as shards, in the folder's order, and their index.

    What an earlier call has finished is kept where its checksum holds and its images are the same;
    what was half written, or is damaged, is written anew. The index is written when all is there:
    without it the shards are refused.

    Args:
        parts: of one folder, with the same classes.
        output: folder of the shards; only what this function writes may lie there.
        options: images a shard, and how many are written at once.
        context: how the work reports.

    Raises:
        InputError: an image cannot be read, or something else lies in the folder.
        MissingError: there is no room for the shards.
    """
    plans = {part: list(_plans(output, part, images, options)) for part, images in parts.items()}
    with writing(output, "-o"):
        output.mkdir(parents=True, exist_ok=True)
        _clear(output, [plan for some in plans.values() for plan in some])
        needed = sum(
            sum(file_sizes(images.paths)) + BESIDE_IMAGE * len(images) for images in parts.values()
        )
        needed -= sum(path.stat().st_size for path in output.glob("*.tar"))
        check_room(
            output, needed, "what is written of these images", "make room, or give another -o."
        )
        sharded = _written(plans, options, context)
        classes = next(iter(parts.values())).classes
        index: ShardIndex = {
            "schema": 1,
            "classes": list(classes),
            "images_per_shard": options.images_per_shard,
            "parts": {part: list(done.entries) for part, done in sharded.items()},
        }
        write_result(index, output / INDEX)
    return sharded


def _plans(
    output: Path, part: Split, images: FolderDataset, options: ShardOptions
) -> Iterator[ShardPlan]:
    each = options.images_per_shard
    for number, first in enumerate(range(0, len(images), each)):
        path = output / f"{part}-{number:06d}.tar"
        yield ShardPlan(path, images, first, min(each, len(images) - first))


def _clear(output: Path, plans: Sequence[ShardPlan]) -> None:
    """Remove the index, what was half written, and shards of ours that are not wanted any more.

    Raises:
        InputError: something else lies there.
    """
    inside = list(output.iterdir())
    strange = [
        path
        for path in inside
        if not (OWN.fullmatch(path.name) or HALF.fullmatch(path.name))
        or (path.suffix == ".tar" and not record_path(path).is_file())
    ]
    if strange:
        raise InputError(
            f"-o {output} has what edgeresnet shard does not write: {strange[0].name}",
            "give a new folder.",
        )
    wanted = {plan.path for plan in plans}
    wanted |= {record_path(path) for path in wanted}
    # First, so that nobody takes the folder for a finished one.
    (output / INDEX).unlink(missing_ok=True)
    # Nobody else writes here: the folder is locked.
    for path in inside:
        if path not in wanted and path.name != INDEX:
            path.unlink()


def _written(
    plans: Mapping[Split, Sequence[ShardPlan]], options: ShardOptions, context: TaskContext
) -> dict[Split, Sharded]:
    """Each shard, kept or written, in parallel threads."""
    total = sum(plan.images for some in plans.values() for plan in some)

    def one(plan: ShardPlan) -> tuple[ShardEntry, bool]:
        lay_there = plan.path.exists()
        kept = kept_shard(plan)
        if not isinstance(kept, str):
            return kept, True
        if lay_there:
            context.on_step(f"{plan.path} {kept}: it is written anew")
        return write_shard(plan), False

    with (
        images_progress("writing shards", total, enabled=context.progress) as advance,
        ThreadPoolExecutor(options.threads or default_threads()) as pool,
    ):
        waiting = {pool.submit(one, plan): plan for some in plans.values() for plan in some}
        try:
            for future in as_completed(waiting):
                future.result()
                advance(waiting[future].images)
        except BaseException:
            # Those that are being written end whole; no other begins.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    done = {plan.path: future.result() for future, plan in waiting.items()}
    return {
        part: Sharded(
            tuple(done[plan.path][0] for plan in some), sum(done[plan.path][1] for plan in some)
        )
        for part, some in plans.items()
    }
