"""Options that have the same name and meaning in every command, and how commands speak."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgeresnet.errors import InputError
from edgeresnet.places import from_home

if TYPE_CHECKING:
    from edgeresnet.dataset import Dataset
    from edgeresnet.opening import Opened


def expanded(value: Any) -> Any:
    """A path, or several, with ``~`` as the home folder: a shell leaves it alone in ``-o=~/x``."""
    if isinstance(value, (list, tuple)):
        return [from_home(path) for path in value]
    return value and from_home(value)


# Set while a command runs for another machine, which prints the tables itself.
SERVING = "EDGERESNET_SERVING"
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


def known_data(given: str | None, remembered: str | None, checkpoint: str) -> str:
    """The DATA SPEC that is given, else the one that the checkpoint remembers."""
    data = given or remembered
    if data is None:
        raise InputError(
            f"{checkpoint} does not say what it was trained on", "give --data, e.g. --data photos."
        )
    return data


def measured_data(
    data: str | None, models: list[Opened], limit: int | None, *, skip_broken: bool
) -> Dataset:
    """The validation images, of classes that fit every model."""
    from edgeresnet.dataset import open_dataset

    spec = data or next((m.data for m in models if m.data), None)
    if spec is None:
        raise InputError(
            f"{models[0].name} does not say what it was trained on", "give --data, e.g. a folder."
        )
    dataset = open_dataset(spec, "val", limit=limit, skip_broken=skip_broken)
    if dataset.skipped:
        say(f"left out {len(dataset.skipped)} unreadable images")
    for model in models:
        model.check_data(dataset)
    return dataset


def say(text: str) -> None:
    """One plain line on stderr."""
    typer.echo(text, err=True)


def checked_output(path: Path) -> Path:
    """Refuse an output file before the work, not after it."""
    if path.is_dir():
        raise InputError(f"-o {path} is a folder", "give a file, such as -o model.pt.")
    parent = path.absolute().parent
    if parent.exists() and not parent.is_dir():
        raise InputError(f"-o {path}: {parent} is a file", "give another -o.")
    return path


def speaker(quiet: bool) -> Callable[[str], object]:
    """`say`, or nothing with ``--quiet``."""
    return (lambda text: None) if quiet else say


def show(*renderables: object, quiet: bool, json: str | None) -> None:
    """Tables on stdout; on stderr when JSON has stdout."""
    if quiet or SERVING in os.environ:
        return
    from rich.console import Console

    # Markup would eat what stands in brackets: an extra, a class of that name, a path.
    console = Console(stderr=json == "-", markup=False)
    for renderable in renderables:
        console.print(renderable, highlight=False)
