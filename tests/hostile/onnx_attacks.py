"""Graphs that no honest exporter writes, each as the content of a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node


def value(name: str, shape: Sequence[Any] | None, kind: int = FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, numbers: Any, kind: Any = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.array(numbers, kind), name)


def file_of(
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto] = (),
    *,
    inputs: Sequence[ValueInfoProto] | None = None,
    outputs: Sequence[ValueInfoProto] | None = None,
    domains: Sequence[str] = (),
    functions: Sequence[Any] = (),
    opset: int = 17,
    ir_version: int = 8,
) -> bytes:
    """What lies between ``images`` (1, 3, 8, 8) and ``logits`` (1, 10)."""
    graph = GraphProto(name="theirs")
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    graph.input.extend([value("images", (1, 3, 8, 8))] if inputs is None else inputs)
    graph.output.extend([value("logits", (1, 10))] if outputs is None else outputs)
    model = ModelProto(ir_version=ir_version, graph=graph)
    model.opset_import.extend([helper.make_opsetid("", opset)])
    model.opset_import.extend(helper.make_opsetid(domain, 1) for domain in domains)
    model.functions.extend(functions)
    return model.SerializeToString()


def ending(name: str) -> list[NodeProto]:
    """Any tensor becomes ten logits."""
    return [
        node("ReduceMean", [name], ["mean"], keepdims=0),
        node("Reshape", ["mean", "one"], ["row"]),
        node("Expand", ["row", "ten"], ["logits"]),
    ]


ENDS = [constant("one", [1, 1]), constant("ten", [1, 10])]


def after(nodes: Sequence[NodeProto], last: str, constants: Sequence[TensorProto] = ()) -> bytes:
    return file_of([*nodes, *ending(last)], [*ENDS, *constants])


def _body() -> GraphProto:
    return helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Identity", ["x"], ["y"])],
        "body",
        [value("i", [], INT64), value("go", [], TensorProto.BOOL), value("x", (1, 3, 8, 8))],
        [value("on", [], TensorProto.BOOL), value("y", (1, 3, 8, 8))],
    )


def _loop() -> bytes:
    constants = [constant("often", 2**62), constant("true", True, np.bool_)]
    nodes = [node("Loop", ["often", "true", "images"], ["l"], body=_body())]
    return after(nodes, "l", constants)


def _if(depth: int = 1) -> bytes:
    def branch(level: int) -> GraphProto:
        inner = (
            [node("Identity", ["images"], [f"b{level}"])]
            if level == 0
            else [
                node("If", ["true"], [f"b{level}"], then_branch=branch(level - 1),
                     else_branch=branch(0))
            ]
        )  # fmt: skip
        return helper.make_graph(inner, "branch", [], [value(f"b{level}", (1, 3, 8, 8))])

    nodes = [node("If", ["true"], ["l"], then_branch=branch(depth), else_branch=branch(0))]
    return after(nodes, "l", [constant("true", True, np.bool_)])


def _scan() -> bytes:
    body = helper.make_graph(
        [node("Identity", ["s"], ["t"]), node("Identity", ["s"], ["u"])], "body",
        [value("s", (3, 8, 8))], [value("t", (3, 8, 8)), value("u", (3, 8, 8))],
    )  # fmt: skip
    return after([node("Scan", ["images"], ["l"], body=body, num_scan_inputs=1)], "l")


def _sequence_map() -> bytes:
    body = helper.make_graph(
        [node("Identity", ["s"], ["t"])], "body", [value("s", None)], [value("t", None)]
    )
    nodes = [
        node("SequenceConstruct", ["images", "images"], ["many"]),
        node("SequenceMap", ["many"], ["mapped"], body=body),
        node("ConcatFromSequence", ["mapped"], ["l"], axis=0),
    ]
    return after(nodes, "l")


def _custom(domain: str, op: str = "Op", **attributes: Any) -> bytes:
    nodes = [node(op, ["images"], ["l"], domain=domain, **attributes), *ending("l")]
    return file_of(nodes, ENDS, domains=[domain])


def _functions(levels: int, *, endless: bool = False) -> bytes:
    """Each calls the one below ten times."""
    made = []
    for level in range(levels):
        below = level - 1 if level or not endless else 0
        op, domain = (f"F{below}", "laughs") if below >= 0 else ("Identity", "")
        names = ["x", *(f"t{i}" for i in range(9)), "y"]
        body = [node(op, [a], [b], domain=domain) for a, b in pairwise(names)]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("laughs", 1)]
        made.append(helper.make_function("laughs", f"F{level}", ["x"], ["y"], body, imports))
    nodes = [node(f"F{levels - 1}", ["images"], ["l"], domain="laughs"), *ending("l")]
    return file_of(nodes, ENDS, domains=["laughs"], functions=made)


def _initializer(**facts: Any) -> bytes:
    tensor = TensorProto(name="w", data_type=FLOAT)
    tensor.dims.extend(facts.pop("dims", [3]))
    for key, own in facts.items():
        setattr(tensor, key, own) if not isinstance(own, list) else getattr(tensor, key).extend(own)
    return after([node("Mul", ["images", "w"], ["l"])], "l", [tensor])


def _input(shape: Sequence[Any] | None, kind: int = FLOAT) -> bytes:
    nodes = [node("Cast", ["images"], ["l"], to=FLOAT), *ending("l")]
    return file_of(nodes, ENDS, inputs=[value("images", shape, kind)])


def _typed(kind: Any) -> bytes:
    info = helper.make_value_info("images", kind)
    nodes = [node("Identity", ["images"], ["x"]), node("SequenceAt", ["x", "at"], ["l"])]
    return file_of([*nodes, *ending("l")], [*ENDS, constant("at", 0)], inputs=[info])


def _output(
    shape: Sequence[Any] | None, kind: int = FLOAT, sides: Sequence[int] = (1, 10)
) -> bytes:
    *before, _ = ending("images")
    nodes = [
        *before,
        node("Expand", ["row", "sides"], ["e"]),
        node("Cast", ["e"], ["logits"], to=kind),
    ]
    constants = [*ENDS, constant("sides", list(sides))]
    return file_of(nodes, constants, outputs=[value("logits", shape, kind)])


def _attribute(op: str, **attributes: Any) -> bytes:
    weights = constant("w", np.ones((3, 3, 3, 3)), np.float32)
    given = ["images", "w"] if op.startswith("Conv") else ["images"]
    return after([node(op, given, ["l"], **attributes)], "l", [weights])


def _chain(length: int, op: str = "Relu") -> bytes:
    nodes = [node(op, [f"c{i - 1}" if i else "images"], [f"c{i}"]) for i in range(length)]
    return after(nodes, f"c{length - 1}")


def _integer(op: str, a: int, b: int) -> bytes:
    nodes = [
        node("Cast", ["images"], ["whole"], to=INT64),
        node("Mul", ["whole", "zero"], ["nothing"]),
        node("Add", ["nothing", "a"], ["left"]),
        node("Add", ["nothing", "b"], ["right"]),
        node(op, ["left", "right"], ["divided"]),
        node("Cast", ["divided"], ["l"], to=FLOAT),
    ]
    constants = [constant("zero", 0), constant("a", a), constant("b", b)]
    return after(nodes, "l", constants)


def _reference() -> bytes:
    made = node("Flatten", ["images"], ["l"])
    made.attribute.append(AttributeProto(name="axis", ref_attr_name="axis", type=2))
    return after([made], "l")


STRUCTURES: dict[str, Callable[[], bytes]] = {
    "Loop without end": _loop,
    "If": _if,
    "If in If": lambda: _if(5),
    "Scan": _scan,
    "SequenceMap": _sequence_map,
    "another's operator": lambda: _custom("evil"),
    "operator in Python": lambda: _custom("pyop", "PyOp", module="os", **{"class_name": "system"}),
    "engine elsewhere": lambda: _custom(
        "com.microsoft", "EPContext", ep_cache_context="/etc/passwd", embed_mode=0
    ),
    "functions that explode": lambda: _functions(12),
    "function that calls itself": lambda: _functions(1, endless=True),
    "harmless attribute of no function": _reference,
    "initializer of 10^12": lambda: _initializer(dims=[10**6, 10**6]),
    "initializer of 10^12 integers in a list": lambda: _initializer(
        dims=[10**12], float_data=[1.0]
    ),
    "initializer with a negative side": lambda: _initializer(dims=[-3], raw_data=b"abcd" * 3),
    "initializer whose product overflows": lambda: _initializer(
        dims=[2**32, 2**32, 3], raw_data=b"abcd" * 3
    ),
    "initializer of rank 100,000": lambda: _initializer(dims=[1] * 100_000, raw_data=b"abcd"),
    "initializer that is cut": lambda: _initializer(raw_data=b"abcdabc"),
    "initializer that is longer": lambda: _initializer(raw_data=b"abcd" * 300),
    "initializer twice": lambda: after(
        [node("Mul", ["images", "w"], ["l"])], "l",
        [constant("w", [1.0], np.float32), constant("w", [2.0], np.float32)],
    ),
    **{
        f"initializer of type {kind}": lambda kind=kind: _initializer(
            data_type=kind, raw_data=b"abcd" * 3
        )
        for kind in (0, 8, 14, 17, 22, 99, -1)
    },
    **{
        f"input of type {kind}": lambda kind=kind: _input((1, 3, 8, 8), kind)
        for kind in (0, 8, 14, 17, 22, 99)
    },
    "input that is a sequence": lambda: _typed(
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    ),
    "input that may be": lambda: _typed(
        helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, (1, 3, 8, 8)))
    ),
    "input that is a map": lambda: _typed(
        helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, None))
    ),
    "input of rank 50": lambda: _input([1] * 50),
    "input with a negative side": lambda: _input((1, 3, -8, 8)),
    "input of 10^12 images": lambda: _input((10**12, 3, 8, 8)),
    "input of images of 10^6": lambda: _input((1, 3, 10**6, 10**6)),
    "input whose product overflows": lambda: _input((2**32, 2**32, 2**32, 3)),
    "harmless no input": lambda: file_of(
        [node("Identity", ["w"], ["logits"])], [constant("w", np.ones((1, 10)), np.float32)],
        inputs=[],
    ),
    "no output": lambda: file_of([node("Relu", ["images"], ["l"])], outputs=[]),
    "output that nothing makes": lambda: file_of([node("Relu", ["images"], ["l"])]),
    "thousand inputs of 10^9": lambda: file_of(
        [node("Relu", ["i0"], ["logits"])], inputs=[value(f"i{n}", (10**9,)) for n in range(1000)]
    ),
    "output of 10^12 classes": lambda: _output((1, 10**12), sides=(1, 10**12)),
    "output of 4 * 10^9 classes": lambda: _output(("N", "C"), sides=(1, 4 * 10**9)),
    "operation whose input nothing makes": lambda: after([node("Relu", ["ghost"], ["l"])], "l"),
    "operation that eats itself": lambda: after([node("Relu", ["l"], ["l"])], "l"),
    "circle of what hands on": lambda: file_of(
        [
            node("Identity", ["b"], ["a"]),
            node("Identity", ["a"], ["b"]),
            node("MatMul", ["images", "a"], ["x"]),
            node("Identity", ["a"], ["logits"]),
        ]
    ),
    "names twice": lambda: after(
        [node("Relu", ["images"], ["l"]), node("Sigmoid", ["images"], ["l"])], "l"
    ),
    "name of a megabyte": lambda: after(
        [node("Relu", ["images"], ["x" * 10**6]), node("Nope", ["x" * 10**6], ["l"])], "l"
    ),
    "names that colour a terminal": lambda: after(
        [node("Nope\x1b]0;owned\x07[red]", ["images"], ["l"], name="\x1b[2J\x07[bold]")], "l"
    ),
    "chain of 60,000": lambda: _chain(60_000),
    "steps of 0": lambda: _attribute("Conv", strides=[0, 0]),
    "negative steps": lambda: _attribute("Conv", strides=[-1, -1]),
    "spread of 0": lambda: _attribute("Conv", dilations=[0, 0]),
    "no group": lambda: _attribute("Conv", group=0),
    "negative groups": lambda: _attribute("Conv", group=-1),
    "border of 2^62": lambda: _attribute("Conv", pads=[2**62] * 4),
    "kernel of 2^62": lambda: _attribute("MaxPool", kernel_shape=[2**62, 2**62]),
    "kernel of 0": lambda: _attribute("AveragePool", kernel_shape=[0, 0]),
    "window with steps of 0": lambda: _attribute(
        "MaxPool", kernel_shape=[2, 2], strides=[0, 0]
    ),
    "negative LRN": lambda: _attribute("LRN", size=-1),
    "blocks of 0": lambda: _attribute("SpaceToDepth", blocksize=0),
    "axes twice": lambda: _attribute("Transpose", perm=[0, 0, 0, 0]),
    "quotient of 0": lambda: _integer("Div", 1, 0),
    "rest of 0": lambda: _integer("Mod", 1, 0),
    "quotient that overflows": lambda: _integer("Div", -(2**63), -1),
    "operator set 99": lambda: file_of(ending("images"), ENDS, opset=99),
    "operator set 2^62": lambda: file_of(ending("images"), ENDS, opset=2**62),
    "operator set -1": lambda: file_of(ending("images"), ENDS, opset=-1),
    "version 2^62": lambda: file_of(ending("images"), ENDS, ir_version=2**62),
}  # fmt: skip


def _expanded(
    op: str, given: Sequence[str], constants: Sequence[TensorProto], **more: Any
) -> bytes:
    return after([node(op, given, ["l"], **more)], "l", constants)


def _hidden(op: str, times: int) -> bytes:
    """As large as the file does not tell: times the side that the input shows."""
    nodes = [
        node("Shape", ["images"], ["shape"]),
        node("Mul", ["shape", "times"], ["sides"]),
        node(op, [*(["images"] if op == "Tile" else []), "sides"], ["l"]),
    ]
    return after(nodes, "l", [constant("times", [1, 1, times, times])])


def _doubled(often: int) -> bytes:
    nodes = [
        node("Concat", [f"d{i - 1}" if i else "images"] * 2, [f"d{i}"], axis=0)
        for i in range(often)
    ]
    return after(nodes, f"d{often - 1}")


def _products(side: int, count: int, *, of_constants: bool) -> bytes:
    """Takes minutes of a core, and little memory."""
    first = [
        node("Flatten", ["images"], ["flat"]),
        node("MatMul", ["flat", "wide"], ["p"]),
        node("Expand", ["p", "square"], ["m"]),
    ]
    nodes = [node("MatMul", [f"m{i - 1}" if i else "m", "m"], [f"m{i}"]) for i in range(count)]
    constants = [
        constant("wide", np.ones((192, side)), np.float32),
        constant("square", [side, side]),
        constant("flat", np.ones((1, 192)), np.float32),
    ]
    if of_constants:
        mean = node("ReduceMean", [f"m{count - 1}"], ["middle"], keepdims=0)
        added = node("Add", ["images", "middle"], ["l"])
        return after([*first[1:], *nodes, mean, added], "l", constants)
    return after([*first, *nodes], f"m{count - 1}", constants[:2])


SIDES = constant("sides", [10**6, 10**6])
BOMBS: dict[str, Callable[[], bytes]] = {
    "ConstantOfShape": lambda: _expanded("ConstantOfShape", ["sides"], [SIDES]),
    "ConstantOfShape of 4 GB": lambda: _expanded(
        "ConstantOfShape", ["sides"], [constant("sides", [10**4, 10**5])]
    ),
    "Expand": lambda: _expanded(
        "Expand", ["images", "sides"], [constant("sides", [10**9, 3, 8, 8])]
    ),
    "Tile": lambda: _expanded(
        "Tile", ["images", "often"], [constant("often", [1, 1, 10**5, 10**5])]
    ),
    "Tile that overflows": lambda: _expanded(
        "Tile", ["images", "often"], [constant("often", [2**32, 2**32, 1, 1])]
    ),
    "Resize": lambda: _expanded(
        "Resize", ["images", "", "scales"],
        [constant("scales", [1, 1, 1e5, 1e5], np.float32)],
    ),
    "Resize to sizes": lambda: _expanded(
        "Resize", ["images", "", "", "sides"], [constant("sides", [1, 3, 10**6, 10**6])]
    ),
    "Pad": lambda: _expanded(
        "Pad", ["images", "pads"], [constant("pads", [0, 0, 0, 0, 0, 0, 10**6, 10**6])]
    ),
    "Range": lambda: _expanded(
        "Range", ["a", "b", "c"], [constant("a", 0), constant("b", 10**12), constant("c", 1)]
    ),
    "RandomNormal": lambda: _expanded("RandomNormal", [], [], shape=[10**6, 10**6]),
    "RandomUniform of 3 GB": lambda: _expanded("RandomUniform", [], [], shape=[10**4, 80_000]),
    "OneHot": lambda: _expanded(
        "OneHot", ["at", "depth", "both"],
        [constant("at", [1, 2]), constant("depth", 10**12), constant("both", [0, 1], np.float32)],
    ),
    "broadcast": lambda: _expanded(
        "Mul", ["tall", "wide"],
        [constant("tall", np.ones((10**5, 1)), np.float32),
         constant("wide", np.ones((1, 10**6)), np.float32)],
    ),
    "outer product": lambda: _expanded(
        "MatMul", ["tall", "wide"],
        [constant("tall", np.ones((10**5, 1)), np.float32),
         constant("wide", np.ones((1, 10**6)), np.float32)],
    ),
    "Concat doubled 40 times": lambda: _doubled(40),
    "Concat doubled 23 times": lambda: _doubled(23),
    "transposed convolution": lambda: _attribute("ConvTranspose", strides=[10**5, 10**5]),
    "Pad by convolution": lambda: _attribute("Conv", pads=[10**5] * 4),
    "hidden ConstantOfShape": lambda: _hidden("ConstantOfShape", 10**5),
    "hidden ConstantOfShape of 3 GB": lambda: _hidden("ConstantOfShape", 2000),
    "hidden Tile": lambda: _hidden("Tile", 10**5),
    "minutes of products": lambda: _products(1500, 400, of_constants=False),
    "minutes of products of constants": lambda: _products(1500, 400, of_constants=True),
}  # fmt: skip
