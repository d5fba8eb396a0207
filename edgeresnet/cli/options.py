"""Options that have the same name and meaning in every command, and how commands speak."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet.cli.output import expanded

Data = Annotated[
    str,
    typer.Option(
        "--data", help="digits, fashion-mnist, cifar10, or an image folder.", metavar="SPEC"
    ),
]
MaybeData = Annotated[
    Optional[str],
    typer.Option(
        "--data",
        help="digits, fashion-mnist, cifar10, or an image folder; left out: what the model was "
        "trained on.",
        metavar="SPEC",
    ),
]
Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="Bundle, .onnx, .xml, .engine or checkpoint.", callback=expanded
    ),
]
Arch = Annotated[
    Optional[str], typer.Option("--arch", help="resnet18, 34, 50, 101 or 152, e.g. resnet18.")
]
ImageSize = Annotated[
    Optional[int], typer.Option("--image-size", help="Height and width in pixels.", min=8)
]
Limit = Annotated[
    Optional[int],
    typer.Option("--limit", help="Take only so many images, even over classes.", min=1),
]
Seed = Annotated[int, typer.Option("--seed", help="Of everything random.", min=0)]
Threads = Annotated[
    Optional[int],
    typer.Option("--threads", help="CPU threads; left out: the runtime's choice.", min=1),
]
DeviceName = Annotated[
    Optional[str],
    typer.Option("--device", help="cpu, gpu, npu, dla0, sm8650; left out: the target's usual."),
]
AllowFallback = Annotated[
    bool,
    typer.Option("--allow-fallback", help="The CPU may run what the device cannot."),
]
Json = Annotated[
    Optional[str],
    typer.Option("--json", help="Write the result as JSON; - is stdout, alone.", metavar="FILE"),
]
On = Annotated[
    Optional[str],
    typer.Option(
        "--on",
        help="Do it on another machine, by your own ssh.",
        metavar="ssh://[USER@]HOST[:PORT]",
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="A budget that its interval leaves undecided counts as missed."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables.")]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave unreadable images out, and say how many.")
]


Source = Annotated[
    str, typer.Argument(metavar="CKPT", help="Checkpoint file, or torchvision:ARCH:WEIGHTS.")
]


Output = Annotated[
    Path, typer.Option("--output", "-o", help="Checkpoint to write.", callback=expanded)
]


BatchSize = Annotated[int, typer.Option("--batch-size", help="Images in a training step.", min=2)]


Augment = Annotated[str, typer.Option("--augment", help="none, flip, shift, light or standard.")]
