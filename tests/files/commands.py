"""The commands, small, and a folder for each try: what they are given, and where all goes."""

from __future__ import annotations

import base64
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeresnet.closing import Closing
from tests.copies import Copy
from tests.files.faults import Fault, Outcome, in_process
from tests.graphs import keep_operators, remembered_graphs

RECIPE = """
name: r
data: photos
image_size: 8
model: {weights: own.pt}
train: {epochs: 1, batch_size: 8, augment: none}
prune: {macs: 0.7, step: 4, images: 8, iterations: 1,
        train: {epochs: 1, batch_size: 8, augment: none}}
quantize: {method: qat, calibration_images: 8,
           train: {epochs: 1, batch_size: 8, augment: none}}
export: {targets: [onnx], precisions: [int8]}
compare: {rounds: 2}
"""
TRAIN = ("--data", "photos", "--epochs", "1", "--batch-size", "8", "--augment", "none")
CALIBRATE = ("--data", "photos", "--calibration-images", "8")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "--arch", "resnet18", "--weights", "own.pt", *TRAIN, "-o", "out.pt"),
    "adopt": ("adopt", "theirs.pt", "--data", "known", "-o", "out.pt", "--json", "out.json"),
    "prune": (
        "prune", "own.pt", *TRAIN, "--macs", "0.7", "--step", "4", "--iterations", "2",
        "-o", "out.pt", "--json", "out.json",
    ),
    "quantize": (
        "quantize", "own.pt", "--method", "qat", *TRAIN, *CALIBRATE[2:], "-o", "out.pt",
        "--json", "out.json",
    ),
    "export onnx": ("export", "own.pt", "--target", "onnx", "--int8", *CALIBRATE, "-o", "out"),
    "export openvino": ("export", "own.pt", "--target", "openvino", *CALIBRATE[:2], "-o", "out"),
    "build": ("build", "bundle", "--json", "out.json"),
    "profile": ("profile", "bundle", "--layers", "--json", "out.json"),
    "evaluate": ("evaluate", "bundle", "--data", "photos", "--json", "out.json"),
    "compare": (
        "compare", "bundle", "own.pt", "--data", "photos", "--rounds", "2", "--json", "out.json",
    ),
    "inspect": ("inspect", "bundle", "--json", "out.json"),
    "devices": ("devices", "--json", "out.json"),
    "recipes": ("recipes", "quickstart", "-o", "new/out.yaml"),
    "run": ("run", "recipe.yaml", "-o", "out", "--json", "out.json"),
}  # fmt: skip
OUTPUTS = ("out", "out.pt", "out.json", "out.yaml")
# Where a user's own folders are, below a try's.
PLACES = {"HOME": "home", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp"}


def prepare(folder: Path) -> None:
    """What the commands are given, and outputs of before."""
    import torch

    from edgeresnet.api.export import export
    from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
    from edgeresnet.host.models.resnet import Widths, build_resnet
    from edgeresnet.progress import TaskContext
    from edgeresnet.settings.inputs import InputSpec
    from tests.cli.test_app import image_folder

    widths = Widths(16, (16,) * 4, (((16,),) * 2,) * 4)
    for name in PLACES.values():
        (folder / name).mkdir(parents=True)
    work = folder / "work"
    image_folder(work / "photos", ["a", "b"], size=8)
    torch.manual_seed(0)
    model = build_resnet("resnet18", 2, "small", widths)
    sort_known(model, work / "known")
    weights = dict(model.state_dict())
    own = Checkpoint("resnet18", "small", widths, ("a", "b"), InputSpec(8), weights)
    save_checkpoint(own, work / "own.pt")
    torch.save(own.state_dict, work / "theirs.pt")
    context = TaskContext(data=str(work / "photos"))
    export(work / "own.pt", work / "bundle", target="onnx", precision="fp32", context=context)
    (work / "recipe.yaml").write_text(RECIPE)
    shutil.copytree(work / "bundle", work / "before" / "out")
    shutil.copy(work / "own.pt", work / "before" / "out.pt")
    (work / "before" / "out.json").write_text('{"schema": 1, "before": true}\n')


def sort_known(model: Any, folder: Path) -> None:
    """Images in the folders of what a network of two classes answers, half of them in each."""
    import numpy as np
    import torch
    from PIL import Image

    from edgeresnet.device.data.preprocess import to_input
    from edgeresnet.settings.inputs import InputSpec

    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (80, 1, 1, 3)) + rng.integers(-40, 40, (80, 8, 8, 3))
    images = pixels.clip(0, 255).astype(np.uint8)
    with torch.no_grad():
        model.eval()
        logits = model(
            torch.from_numpy(to_input(images, InputSpec(8), raw=False, channels_last=False))
        )
        margin = logits[:, 1] - logits[:, 0]
        model.fc.bias[1] -= margin.median()
    for number, second in enumerate((margin > margin.median()).tolist()):
        place = folder / ("b" if second else "a")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number]).save(place / f"{number}.png")


def prepare_apart(folder: Path) -> Outcome:
    """`prepare`, in a process of its own."""

    def work() -> int:
        with remembered_graphs():
            prepare(folder)
        return 0

    return in_process(work, folder, timeout_s=300)


def lay_out(prepared: Path, root: Path, *, before: bool) -> None:
    """A folder for one try; with ``before``, there are outputs already."""
    shutil.copytree(prepared, root)
    if before:
        for path in (root / "work" / "before").iterdir():
            path.rename(root / "work" / path.name)


def run_command(
    command: str, root: Path, fault: Fault | None = None, timeout_s: float = 120
) -> Outcome:
    """One of ``COMMANDS`` in a try's folder, in a process of its own."""

    def work() -> int:
        from edgeresnet.cli.app import main

        os.environ.update({name: str(root / place) for name, place in PLACES.items()})
        os.environ.pop("EDGERESNET_DATA", None)
        os.chdir(root / "work")
        sys.argv = ["edgeresnet", *COMMANDS[command]]
        main()
        return 0

    return in_process(work, root, fault, timeout_s=timeout_s)


class Tries(Closing):
    """Calls functions of this module in a process that has imported all; a context manager."""

    def __init__(self) -> None:
        self._copy = Copy("tests.files.commands:serve")

    def call(self, function: Callable[..., Outcome], *arguments: Any) -> Outcome:
        """What the function gives, in the process of which it makes its own."""
        asked = base64.b64encode(pickle.dumps((function, arguments))).decode()
        outcome: Outcome = pickle.loads(base64.b64decode(self._copy.answer(asked)))
        return outcome

    def close(self) -> None:
        """End the process."""
        self._copy.close()


def serve() -> None:
    """Call what each line of stdin asks for; nothing is computed here, so no thread begins."""
    import torch

    from edgeresnet.host.export import proof_images

    proof_images.PROOF_IMAGES = 32
    keep_operators()
    torch.set_num_threads(1)
    for line in sys.stdin:
        function, arguments = pickle.loads(base64.b64decode(line))
        print(base64.b64encode(pickle.dumps(function(*arguments))).decode(), flush=True)
