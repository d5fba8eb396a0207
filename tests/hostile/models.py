"""Model files of strangers: ``.onnx``, and ``.xml`` with its ``.bin``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.hostile.attack import Attack
from tests.hostile.onnx_attacks import BOMBS, STRUCTURES
from tests.hostile.openvino_attacks import EDITS, FILES_OF_WEIGHTS
from tests.small_models import keep_weights_apart, write_onnx, write_openvino

ANY = (0, 1, 2, 3)
# Of what takes its time: the attack is over when it is refused.
SOON = ("--first-run-limit-s", "2")
EXTREME = (0, 1, -1, 2, 7, 255, 4096, 10**6, 10**9, 2**31, 2**32 + 1, 2**62, -(2**63))
OPERATORS = (
    "Add", "Mul", "Div", "Mod", "Conv", "MaxPool", "AveragePool", "Gemm", "MatMul", "Expand",
    "Tile", "Reshape", "Resize", "Gather", "Concat", "Split", "ConvTranspose", "TopK", "Pad",
    "Range", "Where", "Softmax", "Loop", "If", "OneHot", "NonZero", "CumSum", "LRN", "Einsum",
)  # fmt: skip
EXTERNAL = {
    "above": "../outside/sentinel",
    "absolute": "/etc/passwd",
    "through a folder": "sub/../../outside/sentinel",
    "backslashes": "..\\outside\\sentinel",
    "link": "link",
    "pipe": "pipe",
    "folder": "folder",
    "device": "zero",
    "is not there": "absent",
    "control signs": "a\x1b[2Jb",
    "long": "x" * 10_000,
}
RANGES = {
    "offset behind the end": ("offset", "1000000"),
    "negative offset": ("offset", "-8"),
    "offset of many digits": ("offset", "9" * 5000),
    "offset that is no number": ("offset", "abc"),
    "length behind the end": ("length", "1000000000000"),
    "negative length": ("length", "-1"),
    "length of less": ("length", "4"),
}


def attacks(folder: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """Hand-made ones by kind, then good files with something changed."""
    good = onnx.load(write_onnx(folder / "good.onnx", shape=(1, 3, 16, 16)))
    ir = write_openvino(folder / "good.onnx")
    text, weights = ir.read_text(), ir.with_suffix(".bin").read_bytes()
    kinds = (
        _structures(folder), _bombs(folder), _external(folder), _files(folder, good),
        _edited(folder, text, weights), _weights(folder, text, weights),
        _mutated(folder, rng, good), _fuzzed(folder, rng, good), _fuzzed_ir(folder, rng, text),
    )  # fmt: skip
    number = 0
    for kind in kinds:
        for name, path, more in kind:
            # Each command meets each kind of file.
            yield _attack(name, path, number, more)
            number += 1


Made = tuple[str, Path, tuple[str, ...]]


def _attack(name: str, path: Path, number: int, more: tuple[str, ...]) -> Attack:
    may_do = "changed" in name or "harmless" in name
    command = ("inspect", "evaluate", "inspect", "profile")[number % 4]
    if command == "profile" and may_do:
        command = "inspect"
    data = ("--data", "digits", "--limit", "4") if command == "evaluate" else ()
    told = (command, path.name, *data, *more)
    return Attack(f"{command}: {name}", told, codes=ANY if may_do else (2,))


def _structures(folder: Path) -> Iterator[Made]:
    for name, make in STRUCTURES.items():
        path = folder / "m.onnx"
        path.write_bytes(make())
        yield name, path, SOON


def _bombs(folder: Path) -> Iterator[Made]:
    for name, make in BOMBS.items():
        path = folder / "m.onnx"
        path.write_bytes(make())
        yield f"bomb: {name}", path, SOON


def _external(folder: Path) -> Iterator[Made]:
    path = keep_weights_apart(write_onnx(folder / "apart.onnx", shape=(1, 3, 16, 16)), "w.bin")
    good = onnx.load(path, load_external_data=False)
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "folder").mkdir(exist_ok=True)
    (folder / "link").symlink_to("../outside/sentinel")
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    for name, location in EXTERNAL.items():
        yield f"external {name}", _pointing(folder, good, "location", location), SOON
    for name, (key, value) in RANGES.items():
        yield f"external {name}", _pointing(folder, good, key, value), SOON


def _pointing(folder: Path, good: onnx.ModelProto, key: str, value: str) -> Path:
    model = onnx.ModelProto()
    model.CopyFrom(good)
    for tensor in model.graph.initializer:
        pairs = {pair.key: pair.value for pair in tensor.external_data} | {key: value}
        del tensor.external_data[:]
        for own_key, own in pairs.items():
            tensor.external_data.add(key=own_key, value=own)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _files(folder: Path, good: onnx.ModelProto) -> Iterator[Made]:
    """What is no regular file, or larger than a machine; and damaged ones."""
    content = good.SerializeToString()
    for suffix in (".onnx", ".xml"):
        path = folder / f"odd{suffix}"
        made: dict[str, Callable[[Path], object]] = {
            "pipe": os.mkfifo,
            "link to a device": lambda place: place.symlink_to("/dev/zero"),
            "link to a pipe": lambda place: place.symlink_to("pipe"),
            "hole of 100 GiB": lambda place: (place.touch(), os.truncate(place, 100 << 30)),
            "hole of 1 GiB": lambda place: (place.touch(), os.truncate(place, 1 << 30)),
            "nothing": Path.touch,
            "noise": lambda place: place.write_bytes(bytes(range(256)) * 64),
            "link to itself": lambda place: place.symlink_to(place.name),
        }
        for name, make in made.items():
            make(path)
            yield f"{suffix} is {name}", path, SOON
            path.unlink()
    path = folder / "m.onnx"
    for at in (1, 2, 8, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:at])
        yield f"harmless or cut after {at} bytes", path, SOON
    for name, odd in {
        "a number without end": b"\xff" * 100_000,
        "a length beyond 64 bits": b"\x3a" + b"\xff" * 9 + b"\x7f",
        "a length beyond the file": b"\x3a\xff\xff\xff\xff\x0f",
        "groups in groups": b"\x3b" * 100_000,
        "fields of nothing": b"\x3a\x00" * 500_000,
        "millions of nodes": field(7, b"\x0a\x00" * 3_000_000),
        "millions of initializers": field(7, b"\x2a\x00" * 2_000_000),
        "graphs in graphs": _deep(3000),
        "a field numbered 0": b"\x02\x00" + content,
        "a second graph": content + field(7, field(2, b"x")),
    }.items():
        path.write_bytes(odd)
        may = "harmless or " if name == "a second graph" else ""
        yield f"{may}{name}", path, SOON


def field(number: int, content: bytes) -> bytes:
    size, head = len(content), bytearray([number << 3 | 2])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(head) + bytes([size]) + content


def _deep(levels: int) -> bytes:
    inner = b""
    for _ in range(levels):
        # A graph's node's attribute's graph.
        inner = field(1, field(5, field(6, inner)))
    return field(7, inner)


def _edited(folder: Path, text: str, weights: bytes) -> Iterator[Made]:
    path = folder / "m.xml"
    for name, edit in EDITS.items():
        edited = edit(text)
        assert edited != text, name
        path.write_bytes(edited if isinstance(edited, bytes) else edited.encode())
        path.with_suffix(".bin").write_bytes(weights)
        yield f"ir {name}", path, SOON


def _weights(folder: Path, text: str, weights: bytes) -> Iterator[Made]:
    path = folder / "w.xml"
    path.write_text(text)
    place = path.with_suffix(".bin")
    for name, make in FILES_OF_WEIGHTS.items():
        make(place, weights)
        yield f"ir whose weights are {name}", path, SOON
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


def _mutated(folder: Path, rng: np.random.Generator, good: onnx.ModelProto) -> Iterator[Made]:
    """Good graphs, of which one thing is another."""
    for number in range(40):
        model = onnx.ModelProto()
        model.CopyFrom(good)
        for _ in range(int(rng.integers(1, 4))):
            _mutate(model.graph, rng)
        path = folder / "m.onnx"
        path.write_bytes(model.SerializeToString())
        yield f"changed graph {number}", path, SOON


def _mutate(graph: onnx.GraphProto, rng: np.random.Generator) -> None:
    def extreme() -> int:
        return max(-(2**63), min(int(rng.choice(np.array(EXTREME, dtype=object))), 2**63 - 1))

    node = graph.node[int(rng.integers(len(graph.node)))]
    tensor = graph.initializer[int(rng.integers(len(graph.initializer)))]
    names = [name for one in graph.node for name in [*one.input, *one.output]]
    what = int(rng.integers(8))
    if what == 0:
        node.op_type = str(rng.choice(OPERATORS))
    elif what == 1:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = extreme()
    elif what == 2:
        tensor.data_type = int(rng.integers(0, 24))
    elif what == 3 and node.input:
        node.input[int(rng.integers(len(node.input)))] = str(rng.choice(names))
    elif what == 4:
        sides = graph.input[0].type.tensor_type.shape.dim
        sides[int(rng.integers(len(sides)))].dim_value = extreme()
    elif what == 5:
        graph.input[0].type.tensor_type.elem_type = int(rng.integers(0, 24))
    elif what == 6:
        name = str(rng.choice(["strides", "pads", "dilations", "group", "kernel_shape", "axis"]))
        single = name in ("group", "axis")
        value = extreme() if single else [extreme() for _ in range(int(rng.integers(1, 5)))]
        node.attribute.append(helper.make_attribute(name, value, attr_type=7 if not single else 2))
    else:
        count = int(rng.integers(1, 5))
        sides = np.array([extreme() for _ in range(count)], np.int64)
        graph.initializer.append(numpy_helper.from_array(sides, f"sides{len(graph.initializer)}"))
        node.op_type = str(rng.choice(["Expand", "Tile", "Reshape", "ConstantOfShape", "Pad"]))
        node.input[:] = [node.input[0], graph.initializer[-1].name]


def _fuzzed(folder: Path, rng: np.random.Generator, good: onnx.ModelProto) -> Iterator[Made]:
    """Good files, of which some bytes are others."""
    content = good.SerializeToString()
    for number in range(30):
        odd = bytearray(content)
        for _ in range(int(rng.integers(1, 6))):
            at = int(rng.integers(len(odd)))
            way = int(rng.integers(3))
            if way == 0:
                odd[at] = int(rng.integers(256))
            elif way == 1:
                del odd[at : at + int(rng.integers(1, 20))]
            else:
                odd[at:at] = rng.bytes(int(rng.integers(1, 20)))
        path = folder / "m.onnx"
        path.write_bytes(bytes(odd))
        yield f"changed bytes {number}", path, SOON


def _fuzzed_ir(folder: Path, rng: np.random.Generator, text: str) -> Iterator[Made]:
    """Good texts, of which a value, a line or a sign is another."""
    path = folder / "good.xml"
    for number in range(40):
        lines = text.splitlines()
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(len(lines)))
            quoted = lines[at].split('"')
            way = int(rng.integers(4))
            if way == 0 and len(quoted) > 2:
                place = 1 + 2 * int(rng.integers(len(quoted) // 2))
                quoted[place] = str(rng.choice(np.array([*EXTREME, "", "x", "Loop"], dtype=object)))
                lines[at] = '"'.join(quoted)
            elif way == 1:
                lines.pop(at)
            elif way == 2:
                lines.insert(int(rng.integers(len(lines))), lines[at])
            elif lines[at]:
                place = int(rng.integers(len(lines[at])))
                lines[at] = lines[at][:place] + chr(rng.integers(32, 127)) + lines[at][place + 1 :]
        path.write_text("\n".join(lines))
        yield f"changed text {number}", path, SOON
