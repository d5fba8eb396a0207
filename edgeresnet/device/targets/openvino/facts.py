"""What OpenVINO reads from an ``.xml`` file: its inputs and outputs, and each of its operations."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from edgeresnet.device.targets.model_facts import ModelFacts, layer_facts
from edgeresnet.device.targets.openvino.compiling import CPU, make_core, sides, tensors
from edgeresnet.device.targets.openvino.graph_file import WEIGHTED, weights_of
from edgeresnet.device.targets.openvino.guard import check_shapes
from edgeresnet.device.targets.openvino.session import OpenVinoSession
from edgeresnet.device.targets.stranger import said
from edgeresnet.errors import InputError
from edgeresnet.settings.measuring import RunOptions

# Ends and weights of the graph, which compute nothing.
PASSIVE = ("Parameter", "Constant", "Result")


def read_openvino(path: Path, image_size: int | None = None) -> ModelFacts:
    """Read a file, and compile it for the CPU to see what its layers compute in.

    Args:
        path: the file.
        image_size: for an input that leaves it open.

    Raises:
        InputError: OpenVINO cannot read it.
        MissingError: OpenVINO is not installed.
    """
    try:
        model = make_core().read_model(str(path), weights_of(path) or "")
    except RuntimeError as error:
        raise InputError(
            f"OpenVINO cannot read {path}: {said(error)}",
            "export the model again; a newer OpenVINO may also read it.",
        ) from error
    if image_size is not None:
        for port in model.inputs:
            _fill(model, port, image_size)
    check_shapes(path, model)
    operations = model.get_ordered_ops()
    computed = _precisions(path, image_size)
    layers = [layer for operation in operations if (layer := _layer(operation, computed))]
    operators = [str(o.get_type_name()) for o in operations if o.get_type_name() not in PASSIVE]
    return ModelFacts(
        tensors(model.inputs), tensors(model.outputs), operators, layers, _opset(operations),
        weights_of(path), _parameters(operations),
    )  # fmt: skip


def _fill(model: Any, port: Any, image_size: int) -> None:
    """Fix the open sides of an input, but for the batch."""
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        return
    for at in range(1, len(shape)):
        if shape[at].is_dynamic:
            shape[at] = image_size
    model.reshape({port: shape})


def _opset(operations: Any) -> str | None:
    """The newest set that an operation is of, as ``opset14``."""
    versions = {str(operation.get_type_info().version_id) for operation in operations}
    numbers = [int(v.removeprefix("opset")) for v in versions if v.removeprefix("opset").isdigit()]
    return f"opset{max(numbers)}" if numbers else None


def _precisions(path: Path, image_size: int | None) -> dict[str, str]:
    """What each layer computes in on the CPU; empty for a model that a session does not open."""
    try:
        with OpenVinoSession(path, CPU, RunOptions(image_size=image_size)) as session:
            kernels = session.kernels()
    except InputError:
        return {}
    return {layer: kernel.precision for kernel in kernels for layer in kernel.layers}


def _layer(operation: Any, computed: dict[str, str]) -> dict[str, Any] | None:
    op = str(operation.get_type_name())
    # OpenVINO splits a layer in two, and appends to the name of the part without the bias.
    name = str(operation.get_friendly_name()).split("/WithoutBiases")[0]
    if op not in WEIGHTED:
        return None
    given, weights, output = map(
        sides, (operation.input_value(0), operation.input_value(1), operation.output(0))
    )
    if given is None or weights is None or output is None or len(output) < 2:
        return None
    if None in weights or None in output[1:] or given[-1] is None:
        return None
    known = [side or 1 for side in weights]
    return layer_facts(
        name, op, [1, *(side or 1 for side in output[1:])], known,
        products=given[-1] if op == "MatMul" else prod(known[-3:]),
        bias=_bias(operation), precision=computed.get(name),
    )  # fmt: skip


def _parameters(operations: Any) -> int | None:
    """Elements of all weights and biases, shared ones once; None where operations make some."""
    found: dict[str, int] = {}
    for operation in operations:
        if operation.get_type_name() in WEIGHTED:
            weights = operation.input_value(1)
            if not _is_constant(weights.get_node()):
                return None
            for value in (weights, *_added(operation)):
                found[_constant_of(value.get_node())] = _elements(value)
    return sum(found.values()) or None


def _bias(operation: Any) -> int:
    """Elements of the constant that is added to the output and to nothing else; 0 if none is."""
    return sum(map(_elements, _added(operation)))


def _added(operation: Any) -> list[Any]:
    """The constants that are added to an output that goes nowhere else."""
    users = list(operation.output(0).get_target_inputs())
    if len(users) != 1 or users[0].get_node().get_type_name() != "Add":
        return []
    own = operation.get_friendly_name()
    return [
        source
        for source in users[0].get_node().input_values()
        if source.get_node().get_friendly_name() != own and _is_constant(source.get_node())
    ]


def _elements(value: Any) -> int:
    return prod(side or 1 for side in sides(value) or ())


def _constant_of(node: Any) -> str:
    """The name of the constant that a value is made of."""
    while node.get_input_size():
        node = node.input_value(0).get_node()
    return str(node.get_friendly_name())


def _is_constant(node: Any, depth: int = 6) -> bool:
    """Whether a value comes from constants alone, as a quantized bias does after some steps."""
    sources = [value.get_node() for value in node.input_values()]
    if not sources:
        return bool(node.get_type_name() == "Constant")
    return depth > 0 and all(_is_constant(source, depth - 1) for source in sources)
