from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeresnet.api.adopt import adopt
from edgeresnet.api.evaluate import evaluate
from edgeresnet.api.inspect import inspect
from edgeresnet.api.opening import open_model
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.errors import InputError
from edgeresnet.progress import TaskContext
from edgeresnet.run.verify import verify
from edgeresnet.settings.network import NetworkTold
from tests.small_models import write_openvino
from tests.somebody_elses import (
    CLASSES,
    Hidden,
    Trained,
    network_of,
    pictures,
    save_folder,
    to_input,
    train,
)

WIDTH, IMAGES = 16, 220
CAFFE = Hidden(normalization="Caffe", channels="bgr")


class Published(nn.Module):
    """Of a published classifier: floats (N, H, W, 3) in BGR in, probabilities out."""

    def __init__(self, model: nn.Module, *, last: bool, softmax: bool) -> None:
        super().__init__()
        self.model, self.last, self.softmax = model, last, softmax

    def forward(self, images: Tensor) -> Tensor:
        if self.last:
            images = images.permute(0, 3, 1, 2)
        logits: Tensor = self.model(images)
        return logits.softmax(1) if self.softmax else logits


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    """So small a network is faster so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(one_thread: None) -> Trained:
    return train(CAFFE, images=1500, epochs=4, width=WIDTH)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("data") / "photos", IMAGES, seed=7)


@pytest.fixture(scope="module")
def plain(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logits of images whose channels come first, in ONNX."""
    path = tmp_path_factory.mktemp("plain") / "theirs.onnx"
    return write(trained, path, last=False, softmax=False, old=True)


def copied(model: Path, folder: Path) -> Path:
    """The model in a folder of its own, with the file of its weights."""
    shutil.copytree(model.parent, folder / "theirs")
    return folder / "theirs" / model.name


def write(trained: Trained, path: Path, *, last: bool, softmax: bool, old: bool = False) -> Path:
    """By PyTorch's exporter, or by its old one, which takes a tenth of the time."""
    model = network_of(CAFFE, WIDTH).eval()
    first = trained.good["conv1.weight"].flip(1)
    model.load_state_dict({**trained.good, "conv1.weight": first})
    shape = (1, 32, 32, 3) if last else (1, 3, 32, 32)
    published = Published(model, last=last, softmax=softmax).eval()
    torch.onnx.export(published, (torch.zeros(shape),), path, dynamo=not old, verbose=False)
    return path


def top1(trained: Trained) -> float:
    """By torchvision's transforms and a plain network."""
    model = network_of(CAFFE, WIDTH).eval()
    model.load_state_dict(trained.good)
    images, labels = pictures("val", IMAGES, 7)
    with torch.inference_mode():
        return float((model(to_input(images, CAFFE)).argmax(1) == labels).float().mean())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("kind", "last", "softmax"),
    [
        ("xml", True, True),
        pytest.param("onnx", False, False, marks=pytest.mark.slow),
    ],
)
def test_adopt_makes_a_bundle_when_it_is_a_bare_model(
    kind: str,
    last: bool,
    softmax: bool,
    trained: Trained,
    photos: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "theirs.onnx"
    write(trained, path, last=last, softmax=softmax, old=kind == "xml")
    if kind == "xml":
        path = write_openvino(path)
    results = adopt(path, tmp_path / "ours", context=TaskContext(data=str(photos)))
    settings = results["settings"]
    assert settings["channels"] == "bgr"
    assert settings["normalization"] == CAFFE.normalization
    assert settings["size"] == 32
    assert results["top1"] == pytest.approx(top1(trained), abs=0.02)
    bundle = load_bundle(tmp_path / "ours")
    assert bundle.manifest.provenance["adopted"]["settings"] == settings
    # The first opening checks the golden logits; it names its classes, whatever the folders are.
    with open_model(tmp_path / "ours") as opened:
        assert opened.classes == CLASSES
        assert opened.answers == ("probabilities" if softmax else "logits")
    evaluated = evaluate(tmp_path / "ours", context=TaskContext(data=str(photos)))
    assert evaluated["top1"] == pytest.approx(results["top1"])
    assert inspect(tmp_path / "ours")["target"] == ("openvino" if kind == "xml" else "onnx")
    assert (tmp_path / "ours" / "example.py").is_file() == (not last and not softmax)
    # Its layers have names that a runtime need not keep.
    audited = verify(tmp_path / "ours", context=TaskContext(data=str(photos)))
    assert [claim for claim in audited["claims"] if claim["outcome"] == "does not hold"] == []
    assert [c["outcome"] for c in audited["claims"] if c["name"] == "top-1"] == ["held"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_adopt_refuses_what_is_told_of_a_network_when_it_is_a_bare_model(
    plain: Path, photos: Path, tmp_path: Path
) -> None:
    path = copied(plain, tmp_path)
    with pytest.raises(InputError, match="--stem says nothing"):
        adopt(
            path,
            tmp_path / "ours",
            network=NetworkTold(stem="small"),
            context=TaskContext(data=str(photos)),
        )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError):
        adopt(path, tmp_path / "mine", context=TaskContext(data=str(photos)))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_bundle_opens_when_the_model_leaves_its_size_open(
    plain: Path, photos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.onnx"
    model = onnx.load(plain)
    for side, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[side].dim_param = name
    onnx.save(model, path)
    results = adopt(
        path, tmp_path / "ours", image_size=32, context=TaskContext(data=str(photos), limit=100)
    )
    evaluated = evaluate(tmp_path / "ours", context=TaskContext(data=str(photos), limit=100))
    assert evaluated["top1"] == pytest.approx(results["top1"])
    # Of all images an audit finds those 100 again.
    audited = verify(tmp_path / "ours", context=TaskContext(data=str(photos)))
    (claim,) = [claim for claim in audited["claims"] if claim["name"] == "top-1"]
    assert claim["outcome"] == "held"
    assert "on 100 images" in claim["text"]
