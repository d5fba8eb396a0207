"""Files of every origin through ``quantize --method ptq`` and ``export``: what INT8 answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from edgeresnet.api.export import export
from edgeresnet.api.opening import open_model
from edgeresnet.api.quantize import quantize
from edgeresnet.device.data.dataset import pixels_of
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.preprocess import normalize
from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.quantization import QuantizeOptions
from tests.host.models.foreign_files import ForeignFile
from tests.host.models.foreign_networks import narrow
from tests.host.models.foreign_origins import FILES

pytestmark = pytest.mark.slow
SIZE = 32
# Two of each origin, of its first two architectures; stems that keep enough of 32 pixels.
CHAIN = [
    file
    for origin in dict.fromkeys(file.origin for file in FILES)
    for file in [f for f in FILES if f.origin == origin and f.stem == "small"
                 and f.arch in ("resnet18", "resnet50")][:2]
]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five classes, each of a colour and a direction of its stripes, with noise on all."""
    root, drawn = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    colours = np.array([(190, 70, 70), (70, 190, 70), (70, 70, 190), (180, 180, 60), (90, 90, 90)])
    across, down = np.meshgrid(np.arange(48), np.arange(48))
    for split, images in (("train", 60), ("val", 40)):
        for label, name in enumerate("abcde"):
            (root / split / name).mkdir(parents=True)
            for i in range(images):
                angle = label * np.pi / 5
                phase = across * np.cos(angle) + down * np.sin(angle) + drawn.uniform(0, 8)
                stripes = 40 * np.sin(phase * 2 * np.pi / 8)[..., None]
                pixels = colours[label] + stripes + drawn.normal(0, 12, (48, 48, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(root / split / name / f"{i}.png")
    return root


def inputs_of(photos: Path, split: str, spec: InputSpec) -> tuple[NDArray[np.float32], Tensor]:
    dataset = open_dataset(str(photos), "train" if split == "train" else "val")
    pixels = np.stack([pixels_of(dataset, i, spec) for i in range(len(dataset))])
    return normalize(pixels, spec), torch.from_numpy(dataset.labels)


def train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Until its answers are sure: near ties would tell of nothing."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    model.train()
    for _ in range(80):
        drawn = torch.randperm(len(images))[:64]
        loss = nn.functional.cross_entropy(model(images[drawn]), labels[drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.01:
            break
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for part in images[torch.randperm(len(images))].split(100):
            model(part)
    model.eval()


@pytest.mark.parametrize(
    ("file", "target"),
    [(file, ("onnx", "openvino")[i % 2]) for i, file in enumerate(CHAIN)],
    ids=str,
)
def test_int8_bundles_answer_as_the_foreign_network(
    tmp_path: Path, photos: Path, file: ForeignFile, target: str
) -> None:
    theirs = file.prepare(narrow(file.arch, file.stem, width=16, stride_in=file.stride_in)).eval()
    spec = load_checkpoint(file.write(theirs, tmp_path), image_size=SIZE).input_spec
    images, labels = inputs_of(photos, "train", spec)
    train(theirs, torch.from_numpy(images), labels)
    path = file.write(theirs, tmp_path)
    context = TaskContext(data=str(photos))
    options = QuantizeOptions(method="ptq", calibration_images=300)
    figures = quantize(path, tmp_path / "int8.pt", options, image_size=SIZE, context=context)
    export(tmp_path / "int8.pt", tmp_path / "bundle", target=target, precision="int8",
           context=context)  # fmt: skip
    images, labels = inputs_of(photos, "val", spec)
    with torch.inference_mode():
        wanted = theirs(torch.from_numpy(images)).argmax(1)
    with open_model(tmp_path / "bundle") as opened:
        answered = np.concatenate([opened.session.run(one[None]) for one in images]).argmax(1)
    agreement = float(np.mean(answered == wanted.numpy()))
    top1 = float((wanted == labels).double().mean())
    print(f"CHAIN {file} {target} float {top1:.3f} quantize {figures['agreement']:.3f} "
          f"bundle {agreement:.3f}")  # fmt: skip
    assert figures["agreement"] >= 0.98
    assert agreement >= 0.98


def test_chain_is_of_every_origin() -> None:
    assert {file.origin for file in CHAIN} == {file.origin for file in FILES}
    assert len(CHAIN) >= 20
