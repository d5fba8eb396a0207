"""The command shard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeresnet.cli.options import Json, Quiet, RecordHostInJson
from edgeresnet.cli.output import expanded, speaker, tell
from edgeresnet.cli.settings_options import Fields, with_settings
from edgeresnet.progress import TaskContext
from edgeresnet.settings.sharding import ShardOptions

EXAMPLE = "edgeresnet shard photos -o shards"
OPTIONS = Fields("images_per_shard", "threads")


@with_settings
def shard(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Image folder: DIR/train/CLASS and DIR/val/CLASS, or DIR/CLASS, split by name.",
            callback=expanded,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder to write the shards into.", callback=expanded),
    ],
    options: Annotated[ShardOptions, OPTIONS],
    json: Json = None,
    record_host: RecordHostInJson = False,
    quiet: Quiet = False,
) -> None:
    """Write an image folder as checksummed tar shards. Interrupted, it goes on where it was.

    The shards are for webdataset too: KEY.jpg, and KEY.cls with the number of the class. Called
    again, it checks what is there, and writes anew what is damaged or has changed.
    """
    from edgeresnet.api.shard import shard as write
    from edgeresnet.report.shards import shard_lines

    context = TaskContext(progress=not quiet, on_step=speaker(quiet))
    result = write(output, source, options, context=context)
    tell(result, *shard_lines(result), quiet=quiet, json=json, record_host=record_host)
