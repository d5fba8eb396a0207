"""Options that have the same name and meaning in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet.cli.output import expanded, recordable, writable_json
from edgeresnet.cli.settings_options import Fields, option_of
from edgeresnet.run.recipe import Recipe
from edgeresnet.settings.export import ExportOptions
from edgeresnet.settings.measuring import Budgets, ClassOrderName, RunOptions
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.training import Arch as ArchName
from edgeresnet.settings.training import ModelSettings

SPEC_HELP = (
    "Images: digits, fashion-mnist, cifar10, an image folder, tar shards (their folder, or "
    "'train-{000000..000009}.tar'), or a CSV of path,label"
)

Data = Annotated[str, typer.Option("--data", help=f"{SPEC_HELP}.", metavar="SPEC")]
MaybeData = Annotated[
    Optional[str],
    typer.Option(
        "--data",
        help=f"{SPEC_HELP}; left out: what the model was trained on.",
        metavar="SPEC",
    ),
]
Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="Model: a bundle, .onnx, .xml, .engine or checkpoint.",
        callback=expanded,
    ),
]
Source = Annotated[
    str, typer.Argument(metavar="CKPT", help="Checkpoint file, or torchvision:ARCH:WEIGHTS.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Checkpoint to write.", callback=expanded)
]
Arch = Annotated[Optional[ArchName], option_of(ModelSettings, "arch")]
INPUTS = Fields("resize", "crop_ratio", "interpolation", "mean", "std", "channels")
NETWORK = Fields("stem", "stride_in")
ImageSize = Annotated[Optional[int], option_of(Recipe, "image_size")]
Raw = Annotated[bool, option_of(ModelSettings, "raw")]
Limit = Annotated[Optional[int], option_of(Recipe, "limit")]
Seed = Annotated[int, option_of(Recipe, "seed")]
SkipBroken = Annotated[bool, option_of(Recipe, "skip_broken")]
ClassOrder = Annotated[Optional[ClassOrderName], option_of(Recipe, "class_order")]
ClassNames = Annotated[Optional[str], option_of(Recipe, "classes")]
Threads = Annotated[Optional[int], option_of(RunOptions, "threads")]
FirstRunLimit = Annotated[Optional[float], option_of(RunOptions, "first_run_limit_s")]
DeviceName = Annotated[Optional[str], option_of(PruneOptions, "device")]
Trust = Annotated[Optional[str], option_of(RunOptions, "trust")]
Strict = Annotated[bool, option_of(Budgets, "strict")]
Json = Annotated[
    Optional[str],
    typer.Option(
        "--json",
        help="Write the result as JSON; - is stdout, which then has nothing else.",
        metavar="FILE",
        callback=writable_json,
        # Known before --record-host, which has no effect without it.
        is_eager=True,
    ),
]
# Of what writes something else than JSON too.
RecordHost = Annotated[bool, option_of(ExportOptions, "record_host")]
RecordHostInJson = Annotated[
    bool,
    option_of(ExportOptions, "record_host", read=recordable),
]
On = Annotated[
    Optional[str],
    typer.Option(
        "--on",
        help="Do it on another machine, over your own ssh.",
        metavar="ssh://[USER@]HOST[:PORT]",
    ),
]
TensorBoard = Annotated[
    Optional[Path],
    typer.Option(
        "--tensorboard",
        help="Folder to write loss, accuracy and learning rate of each step and epoch into, and "
        "the rungs of a quantization, for tensorboard --logdir.",
        metavar="DIR",
        callback=expanded,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no tables.")]
