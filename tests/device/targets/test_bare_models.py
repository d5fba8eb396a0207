"""A table of model files as users have them: each answers right, or is refused before any image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgeresnet.api.opening import open_model
from edgeresnet.device.measure.accuracy import accuracy, predict
from edgeresnet.device.targets.model_files import describe_model
from edgeresnet.device.targets.onnx.external_data import files_beside
from edgeresnet.errors import InputError
from edgeresnet.settings.inputs import InputChanges, InputSpec
from tests.fakes import FakeDataset
from tests.small_models import keep_weights_apart, write_openvino

SIZE, CLASSES, IMAGES = 16, 10, 24
FLOAT, HALF, UINT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
SPEC = InputSpec(SIZE)
MEAN, STD = np.array(SPEC.mean), np.array(SPEC.std)
GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
# Every channel and every place counts: whatever is confused shows.
KERNEL = GENERATOR.standard_normal((CLASSES, 3, SIZE, SIZE)) / SIZE


def logits_of(kernel: np.ndarray) -> np.ndarray:
    """What a network of one convolution gives for the images, as PyTorch's usual transforms."""
    images = ((PIXELS / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    return np.asarray(np.einsum("nchw,kchw->nk", images, kernel))


class Photographs(FakeDataset):
    """The images, labelled by what the reference answers."""

    def __init__(self, answers: np.ndarray) -> None:
        super().__init__([int(i) for i in answers.argmax(1)], answers.shape[1])

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(PIXELS[index])


@dataclass
class Form:
    """How a file takes images and answers, and what is told about it."""

    shape: tuple[Any, ...] = ("N", 3, SIZE, SIZE)
    dtype: int = FLOAT
    # What the graph does itself: pixels of 0 to 255, or of 0 to 1, are normalized in it.
    inside: float | None = None
    bgr: bool = False
    ending: str | None = None
    classes: int = CLASSES
    spatial: bool = False
    told: bool = True
    pooled: bool = False
    made: bool = False
    extra: str | None = None
    apart: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    image_size: int | None = None


def write(path: Path, form: Form) -> Path:
    """The file."""
    kind = np.float16 if form.dtype == HALF else np.float32
    kernel = np.resize(KERNEL, (form.classes, *KERNEL.shape[1:]))
    if form.classes == 1:
        kernel = KERNEL[1:2] - KERNEL[:1]
    constants: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    last = "images"

    def step(op: str, *values: np.ndarray, **attributes: Any) -> None:
        nonlocal last
        names = [f"{op}{len(nodes)}.{i}" for i in range(len(values))]
        constants.update(zip(names, values, strict=True))
        nodes.append(
            helper.make_node(op, [last, *names], [f"v{len(nodes)}"], f"n{len(nodes)}", **attributes)
        )
        last = f"v{len(nodes) - 1}"

    if form.dtype not in (FLOAT, HALF):
        step("Cast", to=FLOAT)
    if form.shape[-1] == 3:
        step("Transpose", perm=(0, 3, 1, 2))
    if form.inside is not None:
        step("Div", np.array(form.inside, kind))
        step("Sub", MEAN.reshape(1, 3, 1, 1).astype(kind))
        step("Div", STD.reshape(1, 3, 1, 1).astype(kind))
    channels = 1 if 1 in form.shape[1:] else 3
    weights = (kernel[:, ::-1] if form.bgr else kernel)[:, :channels].astype(kind)
    if form.pooled or None in form.shape or SIZE not in form.shape:
        weights = weights[..., :1, :1]
    step("Conv", np.ascontiguousarray(weights))
    if form.made:
        name = nodes[-1].input[1]
        constants |= {"ones": np.ones((1,), kind)}
        nodes.insert(0, helper.make_node("Mul", [name, "ones"], ["made"], "make"))
        nodes[-1].input[1] = "made"
    step("GlobalAveragePool")
    if not form.spatial:
        step("Flatten")
    if form.ending:
        step(form.ending)
    nodes.append(helper.make_node("Identity", [last], ["logits"], "last"))
    float_type = HALF if form.dtype == HALF else FLOAT
    sides = (form.shape[0], form.classes) + ((1, 1) if form.spatial else ())
    outputs = [helper.make_tensor_value_info("logits", float_type, sides if form.told else None)]
    if form.extra == "features":
        nodes.append(helper.make_node("Identity", ["images"], ["maps"], "maps"))
        outputs.insert(0, helper.make_tensor_value_info("maps", float_type, form.shape))
    elif form.extra == "logits":
        nodes.append(helper.make_node("Neg", [last], ["other"], "other"))
        outputs.append(helper.make_tensor_value_info("other", float_type, sides))
    graph = helper.make_graph(
        nodes, "QuantizeLinear", [helper.make_tensor_value_info("images", form.dtype, form.shape)],
        outputs, [numpy_helper.from_array(a, name) for name, a in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.doc_string = 'QuantizeLinear FakeQuantize element_type="i8"'
    path.write_bytes(model.SerializeToString())
    return keep_weights_apart(path, form.apart) if form.apart else path


FIXED, NHWC = ("N", 3, SIZE, SIZE), ("N", SIZE, SIZE, 3)
CAFFE = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225", "channels": "bgr"}
RIGHT = {
    "NCHW": Form(),
    "NHWC": Form(NHWC),
    "float16": Form(dtype=HALF),
    "float16 NHWC": Form(NHWC, HALF),
    "uint8 NHWC": Form(NHWC, UINT8, inside=255),
    "uint8 NCHW": Form(FIXED, UINT8, inside=255),
    "normalizes 0 to 1": Form(inside=1, changes={"mean": "0", "std": "1"}),
    "normalizes 0 to 255": Form(NHWC, inside=255, changes={"mean": 0, "std": "1/255"}),
    "BGR": Form(bgr=True, changes={
        "channels": "bgr", "mean": "0.406,0.456,0.485", "std": "0.225,0.224,0.229"}),
    "uint8 BGR": Form(NHWC, UINT8, changes={"channels": "bgr"}),
    "softmax": Form(ending="Softmax"),
    "softmax of float16 NHWC": Form(NHWC, HALF, ending="Softmax"),
    "feature maps beside logits": Form(extra="features"),
    "logits (N, 10, 1, 1)": Form(spatial=True),
    "one logit": Form(classes=1),
    "one probability": Form(classes=1, ending="Sigmoid"),
    "open height and width": Form(("N", 3, "H", "W"), image_size=SIZE, pooled=True),
    "open height and width, NHWC": Form(("N", "H", "W", 3), image_size=SIZE, pooled=True),
    "weights made by operators": Form(made=True),
    "batches of 7": Form((7, 3, SIZE, SIZE)),
    "shape of the logits untold": Form(told=False),
    "weights in a file of a long name": Form(apart="w" * 200),
}  # fmt: skip
REFUSED = {
    "two logits": (Form(extra="logits"), "2 outputs"),
    "open size and none given": (Form(("N", 3, "H", "W"), pooled=True), "image size open"),
    "another size given": (Form(image_size=32), "--image-size 32 has no effect"),
    "480 x 270": (Form(("N", 3, 270, 480), pooled=True), "takes images of shape"),
    "open channels": (Form(("N", "C", "H", "W"), pooled=True), "where its channels are"),
    "3 x 3": (Form(("N", 3, SIZE, 3), pooled=True), "channels first or last"),
    "grey": (Form(("N", 1, SIZE, SIZE)), "takes images of shape"),
    "int64": (Form(dtype=TensorProto.INT64), "a kind that is not known"),
    "1001 outputs": (Form(classes=1001), "1001 outputs"),
    "5 outputs": (Form(classes=5), "5 outputs"),
    "12 outputs, untold": (Form(classes=12, told=False), "12 outputs"),
    "one output of a hard sigmoid": (Form(classes=1, ending="HardSigmoid"), "operation is HardSig"),
    "mean of pixels": (Form(NHWC, UINT8, changes={"mean": "0.5"}), "no effect"),
}


def wanted(form: Form) -> np.ndarray:
    """What the reference answers, of as many classes."""
    if form.pooled:
        means = ((PIXELS / 255 - MEAN) / STD).mean((1, 2))
        return np.asarray(means @ KERNEL[:, :, 0, 0].T)
    if form.dtype == UINT8 and form.inside is None:
        pixels = PIXELS[..., ::-1].transpose(0, 3, 1, 2).astype(float)
        return np.asarray(np.einsum("nchw,kchw->nk", pixels, KERNEL))
    logits = logits_of(KERNEL)
    return logits[:, :2] if form.classes == 1 else logits


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_bare_model_is_right(tmp_path: Path, kind: str, name: str) -> None:
    form = RIGHT[name]
    path = write(tmp_path / "m.onnx", form)
    path = path if kind == "onnx" else write_openvino(path)
    data = Photographs(wanted(form))
    inputs = InputChanges(**form.changes)
    with open_model(path, image_size=form.image_size, inputs=inputs) as model:
        model.check_data(data)
        predictions = predict(
            model.session, data, model.input_spec, embed_preprocess=model.embed_preprocess
        )
        assert model.answers == ("probabilities" if form.ending else "logits")
        assert model.precision == ("fp16" if form.dtype == HALF else "fp32")
    assert accuracy(predictions).top1 == 1
    logits = predictions.logits
    if form.ending == "Softmax":
        logits = np.log(logits)
    elif form.ending == "Sigmoid":
        logits = np.log(logits) - np.log(1 - logits)
    against = data_logits = wanted(form)
    if form.classes == 1:
        logits, against = np.diff(logits)[:, 0], np.diff(data_logits)[:, 0]
        logits = logits / 2 if form.ending == "Sigmoid" else logits
    elif form.ending:
        logits, against = logits - logits[:, :1], against - against[:, :1]
    tolerance = 0.02 if form.dtype == HALF else 1e-3
    assert np.abs(logits - against).max() <= tolerance * np.ptp(against)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_bare_model_is_refused_before_any_image(tmp_path: Path, kind: str, name: str) -> None:
    form, told = REFUSED[name]
    path = write(tmp_path / "m.onnx", form)
    path = path if kind == "onnx" else write_openvino(path)
    inputs = InputChanges(**form.changes)
    with (
        pytest.raises(InputError, match=told),
        open_model(path, image_size=form.image_size, inputs=inputs) as model,
    ):
        model.check_data(Photographs(logits_of(KERNEL)))


def test_weights_travel_along_when_their_file_has_any_name(tmp_path: Path) -> None:
    for name in ("w" * 200, "weights of ä.bin"):
        path = write(tmp_path / "m.onnx", Form(apart=name))
        assert files_beside(path) == [name]


def write_shared(path: Path, *, quantized: bool = False) -> Path:
    """Two convolutions of the same weights, a product of matrices and what is added to it."""
    nodes = [
        helper.make_node("Conv", ["images", "w", "b"], ["c1"], "c1", pads=[1] * 4),
        helper.make_node("Conv", ["c1", "w"], ["c2"], "c2", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c2"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "m"], ["p"], "fc"),
        helper.make_node("Add", ["p", "a"], ["logits"], "add"),
    ]
    constants = {
        "w": np.ones((3, 3, 3, 3)), "b": np.ones(3), "m": np.ones((3, 10)), "a": np.ones(10)
    }  # fmt: skip
    initializers = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in constants.items()]
    if quantized:
        scale = [numpy_helper.from_array(np.array(0.1, np.float32), "s")]
        initializers += [*scale, numpy_helper.from_array(np.array(0, np.uint8), "z")]
        nodes[:0] = [
            helper.make_node("QuantizeLinear", ["images", "s", "z"], ["q"], "q"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
        ]
        nodes[2].input[0] = "d"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", FLOAT, ("N", 3, "H", "W"))],
        [helper.make_tensor_value_info("logits", FLOAT, ("N", 10))], initializers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_inspect_counts_shared_weights_once_and_takes_an_image_size(
    tmp_path: Path, kind: str
) -> None:
    path = write_shared(tmp_path / "m.onnx")
    path = path if kind == "onnx" else write_openvino(path)
    found = describe_model(path, image_size=12)
    assert (found["image_size"], found["parameters"]) == (12, 81 + 3 + 30 + 10)
    assert [layer["parameters"] for layer in found["layers"]] == [84, 81, 40]
    assert [layer["macs"] for layer in found["layers"]] == [81 * 144, 81 * 144, 30]
    with pytest.raises(InputError, match="--image-size 12 has no effect"):
        describe_model(write(tmp_path / "fixed.onnx", Form()), image_size=12)


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_precision_is_that_of_the_tensors(tmp_path: Path, kind: str) -> None:
    path = write_shared(tmp_path / "QuantizeLinear.onnx", quantized=True)
    path = path if kind == "onnx" else write_openvino(path)
    with open_model(path, image_size=12) as model:
        assert model.precision == "int8"
