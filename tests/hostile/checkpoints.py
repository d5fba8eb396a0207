"""Checkpoints of strangers: ours, foreign ones of each format, and what lies beside them."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.settings.inputs import InputSpec
from tests.hostile.attack import REFUSED, Attack

CHANNELS = 8
SIZE = 16
WIDTHS = Widths(CHANNELS, (CHANNELS,) * 4, (((CHANNELS,),) * 2,) * 4)
WEIGHT, VAR = "layer2.0.conv1.weight", "layer3.1.bn2.running_var"
FLIPS, BYTES, VALUES = 12, 16, 16
EITHER = (0, *REFUSED)
Content = dict[str, Any]


def small_checkpoint() -> Checkpoint:
    """A random ResNet-18 of 8 channels."""
    torch.manual_seed(0)
    model = build_resnet("resnet18", 10, "small", WIDTHS)
    return Checkpoint(
        "resnet18", "small", WIDTHS, tuple(str(i) for i in range(10)), InputSpec(SIZE),
        {name: tensor.clone() for name, tensor in model.state_dict().items()}, data="digits",
    )  # fmt: skip


def inspected(name: str, file: str = "x.pt", **more: Any) -> Attack:
    """``inspect``, which reads all of a file."""
    return Attack(name, ("inspect", file), **more)


def attacks(folder: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """Each is refused, or answered as if nothing was wrong where nothing is."""
    good = folder / "good.pt"
    save_checkpoint(small_checkpoint(), good)
    content = torch.load(good, weights_only=True)
    path = folder / "x.pt"
    yield from _flipped(good, path, rng)
    for name, change in {**TENSORS, **FIELDS, **PICKLES}.items():
        changed = {**content, "state_dict": dict(content["state_dict"])}
        made = change(changed)
        torch.save(changed if made is None else made, path)
        yield inspected(f"own: {name}", codes=REFUSED)
    yield from _evaluated(content, path)
    for name, written in ARCHIVES.items():
        path.write_bytes(written(good))
        # What was only packed anew holds what was saved.
        codes = EITHER if name.endswith(" deflated") else REFUSED
        yield inspected(f"archive: {name}", codes=codes)
    for name, pickled in PROGRAMS.items():
        path.write_bytes(_with_pickle(good, pickled))
        yield inspected(f"pickle: {name}")
    yield from _no_files(folder)
    yield from _foreign(folder, content["state_dict"])
    yield from _beside(folder, content["state_dict"])
    yield from _fuzzed(folder, good, content, rng)


def _flipped(good: Path, path: Path, rng: np.random.Generator) -> Iterator[Attack]:
    for number in range(FLIPS):
        content, told = flipped(good, rng, again=bool(number % 2))
        path.write_bytes(content)
        yield inspected(f"{told} ({number})")


def flipped(good: Path, rng: np.random.Generator, *, again: bool = False) -> tuple[bytes, str]:
    """A file with one bit of a weight another, and which.

    Args:
        good: the file.
        rng: chooses the bit.
        again: the archive is packed again, so that its CRC is right.
    """
    with zipfile.ZipFile(good) as archive:
        data = [part for part in archive.infolist() if "/data/" in part.filename]
    data = [part for part in data if part.file_size >= 256]
    part = data[int(rng.integers(len(data)))]
    place, bit = int(rng.integers(part.file_size)), int(rng.integers(8))
    told = f"bit {bit} of byte {place} of {part.filename}"
    if again:
        return rezipped(good, part.filename, lambda content: _flip(content, place, bit)), told
    whole = good.read_bytes()
    return _flip(whole, whole.index(_read(good, part.filename)) + place, bit), told


def _flip(content: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def _read(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def rezipped(
    path: Path, name: str, change: Callable[[bytes], bytes], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """The archive with another part in the place of one, whose name ends so."""
    made = io.BytesIO()
    with zipfile.ZipFile(path) as theirs, zipfile.ZipFile(made, "w") as ours:
        for part in theirs.infolist():
            content = theirs.read(part)
            own = part.filename.endswith(name)
            ours.writestr(part.filename, change(content) if own else content,
                          compression if own else zipfile.ZIP_STORED)  # fmt: skip
    return made.getvalue()


def _with_pickle(path: Path, program: bytes) -> bytes:
    return rezipped(path, "/data.pkl", lambda _: program)


def _tensor(name: str, make: Callable[[Tensor], Any]) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        content["state_dict"][name] = make(content["state_dict"][name])

    return change


def _filled(name: str, value: float) -> Callable[[Content], None]:
    return _tensor(name, lambda t: torch.full_like(t, value))


def _without(content: Content) -> None:
    del content["state_dict"][WEIGHT]


def _all_one(content: Content) -> None:
    """Every tensor of a ResNet-152 with eight times the channels, in one number."""
    wide = Widths.dense("resnet152")
    with torch.device("meta"):
        shapes = build_resnet("resnet152", 10, "small", wide).state_dict()
    one = torch.ones(1)
    content["arch"], content["widths"] = "resnet152", wide.to_dict()
    content["state_dict"] = {
        name: one.expand(like.shape) if like.ndim else torch.tensor(0)
        for name, like in shapes.items()
    }


# Malformed tensors of our own checkpoints.
TENSORS: dict[str, Callable[[Content], Any]] = {
    "float8": _tensor(WEIGHT, lambda t: t.to(torch.float8_e4m3fn)),
    "bfloat16 statistics": _tensor(VAR, lambda t: t.bfloat16()),
    "double": _tensor(WEIGHT, lambda t: t.double()),
    "complex": _tensor(WEIGHT, lambda t: t.to(torch.complex64)),
    "integers": _tensor(WEIGHT, lambda t: t.int()),
    "booleans": _tensor(WEIGHT, lambda t: t.bool()),
    "counter of floats": _tensor("bn1.num_batches_tracked", lambda t: t.float()),
    "sparse": _tensor("fc.weight", lambda t: t.to_sparse()),
    "sparse rows": _tensor("fc.weight", lambda t: t.to_sparse_csr()),
    "quantized": _tensor(WEIGHT, lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)),
    "on no device": _tensor(WEIGHT, lambda t: t.to("meta")),
    "no tensor": _tensor(WEIGHT, lambda t: t.tolist()),
    "None": _tensor(WEIGHT, lambda t: None),
    "too few dimensions": _tensor(WEIGHT, lambda t: t.flatten()),
    "too many dimensions": _tensor(WEIGHT, lambda t: t[None]),
    "no dimension": _tensor("fc.bias", lambda t: t[0].clone()),
    "no element": _tensor(WEIGHT, lambda t: t[:0].clone()),
    "one channel more": _tensor(WEIGHT, lambda t: torch.cat([t, t[:1]])),
    "transposed": _tensor("fc.weight", lambda t: t.T.contiguous()),
    "NaN": _filled(WEIGHT, float("nan")),
    "infinite": _filled("fc.bias", float("inf")),
    "NaN mean": _filled("bn1.running_mean", float("nan")),
    "infinite variance": _filled(VAR, float("inf")),
    "negative variance": _filled(VAR, -1.0),
    "stride 0": _tensor(WEIGHT, lambda t: torch.zeros(1).expand(t.shape)),
    "stride 0 of 8 GB": _tensor(WEIGHT, lambda t: torch.zeros(1).expand(2**31, 1, 1, 1)),
    "stride 0 of 2**62": _tensor("fc.bias", lambda t: torch.zeros(1).expand(2**60)),
    "overlapping": _tensor(WEIGHT, lambda t: torch.zeros(600).as_strided(t.shape, (8, 1, 1, 1))),
    "all in one number": _all_one,
    "missing": _without,
    "one too many": lambda c: c["state_dict"].update(extra=torch.zeros(3)),
    "a name that is none": lambda c: c["state_dict"].update({7: torch.zeros(3)}),
    "a name of control characters": lambda c: c["state_dict"].update(
        {"\x1b[31m\x07": torch.zeros(3)}),
    "no tensors": lambda c: c.update(state_dict={}),
    "state_dict is a list": lambda c: c.update(state_dict=list(c["state_dict"].values())),
}  # fmt: skip


def _field(name: str, value: Any) -> Callable[[Content], None]:
    return lambda content: content.update({name: value})


def _spec(**values: Any) -> Callable[[Content], None]:
    return lambda content: content.update(input_spec={**content["input_spec"], **values})


def _widths(**values: Any) -> Callable[[Content], None]:
    return lambda content: content.update(widths={**content["widths"], **values})


def _dropped(name: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        del content[name]

    return change


# What stands beside the tensors.
FIELDS: dict[str, Callable[[Content], Any]] = {
    "image_size 20000": _spec(image_size=20_000),
    "image_size 0": _spec(image_size=0),
    "image_size 2**70": _spec(image_size=2**70),
    "image_size is a float": _spec(image_size=16.5),
    "image_size is a text": _spec(image_size="16"),
    "image_size is true": _spec(image_size=True),
    "resize 2**40": _spec(resize=2**40),
    "mean is NaN": _spec(mean=[float("nan")] * 3),
    "mean is infinite": _spec(mean=[float("inf"), 0.0, 0.0]),
    "std is 0": _spec(std=[0.0, 1.0, 1.0]),
    "std is nearly 0": _spec(std=[1e-320, 1.0, 1.0]),
    "std is infinite": _spec(std=[float("inf")] * 3),
    "mean of four": _spec(mean=[0.0] * 4),
    "crop ratio NaN": _spec(crop_ratio=float("nan")),
    "crop ratio nearly 0": _spec(crop_ratio=1e-300),
    "input_spec is a list": _field("input_spec", [16]),
    "interpolation is a list": _spec(interpolation=["bilinear"]),
    "widths of 2**40": _widths(stem=2**40),
    "widths of 2**70": _widths(streams=[2**70] * 4),
    "widths below 0": _widths(streams=[-8] * 4),
    "widths of three levels": _widths(streams=[8] * 3),
    "widths without blocks": _widths(inner=[[], [], [], []]),
    "widths of 100,000 blocks": _widths(inner=[[[8]] * 100_000] + [[[8], [8]]] * 3),
    "widths are texts": _widths(streams=["8"] * 4),
    "widths are floats": _widths(stem=8.0),
    "widths are not these": _widths(stem=16),
    "widths are a list": _field("widths", [8] * 4),
    "arch is unknown": _field("arch", "vgg16"),
    "arch is a list": _field("arch", ["resnet18"]),
    "arch is another": _field("arch", "resnet34"),
    "stem is unknown": _field("stem", "\x1b[2J"),
    "stem is another": _field("stem", "imagenet"),
    "stride is unknown": _field("stride_in", "5x5"),
    "stride of a basic block": _field("stride_in", "1x1"),
    "precision int8 without quantizers": _field("precision", "int8"),
    "precision is unknown": _field("precision", "int4"),
    "precision is a dict": _field("precision", {}),
    "quantization is a list": _field("quantization", [7]),
    "classes are one too few": _field("classes", [str(i) for i in range(9)]),
    "classes are none": _field("classes", []),
    "classes are numbers": _field("classes", list(range(10))),
    "classes are a text": _field("classes", "0123456789"),
    "classes are 10**7": _field("classes", "x"),
    "classes twice the same": _field("classes", ["a"] * 10),
    "classes_known is a text": _field("classes_known", "yes"),
    "data is a list": _field("data", ["digits"]),
    "data_fingerprint is a number": _field("data_fingerprint", 7),
    "provenance is a list": _field("provenance", []),
    "provenance says what is no text": _field("provenance", {"assumed": 7, "notes": 7}),
    "version 10**30": _field("version", 10**30),
    "version is a list": _field("version", [1]),
    "version is true": _field("version", True),
    "version is a text": _field("version", "1"),
    "format is a list": _field("format", ["edgeresnet-checkpoint"]),
    "without widths": _dropped("widths"),
    "without classes": _dropped("classes"),
    "without provenance": _dropped("provenance"),
    "without state_dict": _dropped("state_dict"),
    "digest is of another": _field("edgeresnet_sha256", "0" * 64),
    "digest is a number": _field("edgeresnet_sha256", 7),
}  # fmt: skip


def _loop(content: Content) -> Content:
    content["provenance"]["self"] = content["provenance"]
    return content


def _deep(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def _wide_loop(content: Content) -> Content:
    """A dictionary in which each of 200 keys leads back to it."""
    loop: Content = {}
    loop.update({f"k{i}": loop for i in range(200)})
    return {"model": loop, **content["state_dict"]}


PICKLES: dict[str, Callable[[Content], Any]] = {
    "provenance holds itself": _loop,
    "provenance is deep": lambda c: c.update(provenance={"a": _deep(100)}),
    "a dictionary of itself, foreign": _wide_loop,
    "a list": lambda c: [c],
    "a number": lambda c: 7,
    "a tensor": lambda c: torch.zeros(3),
    "nothing": lambda c: {},
    "a number of 5000 digits": lambda c: {**c["state_dict"], "epoch": 10**4999},
    "a key of 5000 digits": lambda c: {**c["state_dict"], 10**4999: 1, "num_classes": 10**4999},
    "a key of a tuple": lambda c: {("a",): 1},
}  # fmt: skip


def _evaluated(content: Content, path: Path) -> Iterator[Attack]:
    """What costs more than reading."""
    commands = {
        "evaluate": ("evaluate", path.name, "--data", "digits", "--limit", "8"),
        "quantize": ("quantize", path.name, "--data", "digits", "--method", "ptq", "-o", "out.pt"),
        "export": ("export", path.name, "--target", "onnx", "-o", "out"),
        "profile": ("profile", path.name),
    }
    changes = {
        "negative variance": TENSORS["negative variance"],
        "float8": TENSORS["float8"],
        "image_size 20000": FIELDS["image_size 20000"],
    }
    for command, arguments in commands.items():
        for name, change in changes.items():
            changed = {**content, "state_dict": dict(content["state_dict"])}
            change(changed)
            torch.save(changed, path)
            yield Attack(f"{command}: {name}", arguments)


def _zeros_deflated(mib: int) -> bytes:
    """A deflate stream of so many zeros, of which one MiB is repeated."""
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = press.compress(bytes(1 << 20)) + press.flush(zlib.Z_FULL_FLUSH)
    return block * mib + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def _raw_zip(parts: list[tuple[str, int, int, bytes, int]]) -> bytes:
    """A zip archive of (name, method, declared size, content as it lies there, CRC)."""
    whole, directory = b"", b""
    for name, method, size, content, crc in parts:
        head = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 0, crc, len(content), size,
                           len(name), 0)  # fmt: skip
        directory += b"PK\1\2" + struct.pack("<H", 20) + head + struct.pack(
            "<HHHII", 0, 0, 0, 0, len(whole)) + name.encode()  # fmt: skip
        whole += b"PK\3\4" + head + name.encode() + content
    count = len(parts)
    return whole + directory + b"PK\5\6" + struct.pack(
        "<HHHHIIH", 0, 0, count, count, len(directory), len(whole), 0)  # fmt: skip


def _bomb(good: Path) -> bytes:
    """One tensor of 3 GB in 3 MB."""
    mib = 3 << 10
    numbers = (mib << 20) // 4
    program = pickle_of_tensor("fc.weight", numbers, (numbers // 8, 8), (8, 1))
    size = mib << 20
    return _raw_zip([
        ("x/data.pkl", 0, len(program), program, zlib.crc32(program)),
        ("x/data/0", 8, size, _zeros_deflated(mib), 0),
        ("x/version", 0, 2, b"3\n", zlib.crc32(b"3\n")),
    ])  # fmt: skip


def pickle_of_tensor(
    name: str, numbers: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
) -> bytes:
    """The pickle of a dictionary with one tensor of floats, whatever its storage has."""

    def whole(value: int) -> bytes:
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw

    def text(value: str) -> bytes:
        raw = value.encode()
        return b"X" + struct.pack("<I", len(raw)) + raw

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    return b"".join([
        b"\x80\x02}", text(name), b"ctorch._utils\n_rebuild_tensor_v2\n(",
        storage, whole(numbers), b"tQ", whole(offset),
        b"(", *map(whole, shape), b"t(", *map(whole, strides), b"t\x89",
        b"ccollections\nOrderedDict\n)RtRs.",
    ])  # fmt: skip


def _twice(good: Path) -> bytes:
    made = io.BytesIO(good.read_bytes())
    with zipfile.ZipFile(made, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that there are two of a name
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        archive.writestr(name, b"}.")
    return made.getvalue()


def _overlapping(good: Path) -> bytes:
    """1,000 names of the same 4 MiB: 4 GiB in all."""
    size = 1 << 20
    program = b"".join([b"\x80\x02}("] + [
        pickle_of_tensor(f"t{i}", size, (size,), (1,))[3:-2].replace(
            b"X\1\0\0\x000", b"X" + struct.pack("<I", len(str(i))) + str(i).encode())
        for i in range(1000)
    ] + [b"u."])  # fmt: skip
    whole = _raw_zip([
        ("x/data.pkl", 0, len(program), program, zlib.crc32(program)),
        ("x/data/0", 0, 4 * size, bytes(4 * size), zlib.crc32(bytes(4 * size))),
    ])  # fmt: skip
    start = whole.index(b"PK\1\2")
    end = whole.index(b"PK\5\6")
    first = whole.index(b"PK\1\2", start + 4)
    entry = whole[first:end]
    many = b""
    for i in range(1000):
        name = f"x/data/{i}".encode()
        many += entry[:28] + struct.pack("<H", len(name)) + entry[30:46] + name
    directory = whole[start:first] + many
    return whole[:start] + directory + b"PK\5\6" + struct.pack(
        "<HHHHIIH", 0, 0, 1001, 1001, len(directory), start, 0)  # fmt: skip


def _with_flag(good: Path) -> bytes:
    """Said to be encrypted."""
    whole = bytearray(good.read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = whole.find(magic)
        whole[place + offset] |= 1
    return bytes(whole)


def _of_tensor(*arguments: Any, **more: Any) -> Callable[[Path], bytes]:
    return lambda good: _with_pickle(good, pickle_of_tensor(*arguments, **more))


def _legacy(numbers: int, keys: bool = True) -> Callable[[Path], bytes]:
    """The format of before 2020, with one tensor of so many numbers and none behind it."""

    def made(good: Path) -> bytes:
        small: dict[str, Tensor] = {"fc.weight": torch.arange(4.0)}
        buffer = io.BytesIO()
        torch.save(small, buffer, _use_new_zipfile_serialization=False)
        whole = buffer.getvalue()
        wide = b"J" + struct.pack("<i", numbers)
        # The storage's length, the tensor's size, and the length before its numbers.
        whole = whole.replace(b"K\x04N", wide + b"N").replace(b"K\x04\x85", wide + b"\x85")
        place = whole.rindex(struct.pack("<q", 4) + struct.pack("<f", 0))
        if not keys:
            return whole[:place]
        return whole[:place] + struct.pack("<q", numbers) + whole[place + 8 :]

    return made


ARCHIVES: dict[str, Callable[[Path], bytes]] = {
    "bomb of 3 GB": _bomb,
    "1,000 names of one part": _overlapping,
    "pickle twice": _twice,
    "encrypted": _with_flag,
    "without its end": lambda good: good.read_bytes()[:-100],
    "half": lambda good: good.read_bytes()[: good.stat().st_size // 2],
    "empty": lambda good: b"",
    "zeros": lambda good: bytes(100_000),
    "only its directory's end": lambda good: b"PK\5\6" + bytes(18),
    "bytes before it": lambda good: b"x" * 1000 + good.read_bytes(),
    "two archives": lambda good: good.read_bytes() + good.read_bytes()[:-30] + (
        b"PK\5\6" + bytes(18)),
    "pickle deflated": lambda good: rezipped(good, "data.pkl", bytes, zipfile.ZIP_DEFLATED),
    "weights deflated": lambda good: rezipped(good, "data/1", bytes, zipfile.ZIP_DEFLATED),
    "weights in lzma": lambda good: rezipped(good, "data/1", bytes, zipfile.ZIP_LZMA),
    "a part shorter than its storage": lambda good: rezipped(good, "data/1", lambda b: b[:-4]),
    "a part without a byte": lambda good: rezipped(good, "data/1", lambda b: b""),
    "a part not there": lambda good: rezipped(good, "data.pkl", lambda b: b.replace(
        b"X\1\0\0\x001", b"X\1\0\0\0z")),
    "big endian": lambda good: rezipped(good, "byteorder", lambda b: b"big"),
    "byte order unknown": lambda good: rezipped(good, "byteorder", lambda b: b"\xff\xfe"),
    "alignment is no number": lambda good: rezipped(good, ".storage_alignment", lambda b: b"x"),
    "storage longer than its part": _of_tensor("fc.weight", 10**6, (10**6,), (1,)),
    "storage of 8 TB": _of_tensor("fc.weight", 2**41, (2**41,), (1,)),
    "storage of 2**62": _of_tensor("fc.weight", 2**62, (4,), (1,)),
    "storage of 2**200": _of_tensor("fc.weight", 2**200, (4,), (1,)),
    "storage below 0": _of_tensor("fc.weight", -4, (4,), (1,)),
    "shape of 2**40": _of_tensor("fc.weight", 4, (2**40, 2**40), (0, 0)),
    "shape below 0": _of_tensor("fc.weight", 4, (-1, 4), (1, 1)),
    "shape of 2**200": _of_tensor("fc.weight", 4, (2**200,), (1,)),
    "stride below 0": _of_tensor("fc.weight", 4, (4,), (-1,)),
    "offset below 0": _of_tensor("fc.weight", 4, (4,), (1,), offset=-4),
    "offset of 2**62": _of_tensor("fc.weight", 4, (4,), (1,), offset=2**62),
    "5,000 dimensions": _of_tensor("fc.weight", 4, (1,) * 5000, (1,) * 5000),
    "old format, 1.9 GB that are not there": _legacy(475_000_000),
    "old format, 8 GB that are not there": _legacy(2**31 - 1),
    "old format without its numbers": _legacy(4, keys=False),
}  # fmt: skip


def _calls(what: str, argument: bytes) -> bytes:
    """A pickle of protocol 2 that calls a global, in a dictionary."""
    module, _, name = what.rpartition(".")
    return b"\x80\x02}X\1\0\0\0ac" + f"{module}\n{name}\n".encode() + argument + b"Rs."


RANGE = b"c__builtin__\nrange\nJ" + struct.pack("<i", 10**9) + b"\x85R\x85"
TEXT = b"X\x0c\0\0\x001e99999999\0\0".replace(b"\0\0", b"", 0)
# Pickles as they lie in data.pkl.
PROGRAMS: dict[str, bytes] = {
    "runs code": _calls("os.system", b"X\x12\0\0\0touch ../outside/a\x85"),
    "runs code by another name": _calls("posix.system", b"X\x02\0\0\0id\x85"),
    "imports": _calls("importlib.import_module", b"X\x04\0\0\0this\x85"),
    "evaluates": _calls("builtins.eval", b"X\x01\0\0\x001\x85"),
    "reads attributes": _calls("builtins.getattr", b"X\x01\0\0\0aX\x01\0\0\0b\x86"),
    "a list of 10**9": _calls("__builtin__.list", RANGE),
    "a set of 10**9": _calls("builtins.set", RANGE),
    "bytes of 10**10": _calls("builtins.bytearray", b"\x8a\x06\0\xe4\x0bT\x02\0\x85"),
    "an array of 10**10": _calls(
        "numpy.core.multiarray._reconstruct",
        b"cnumpy\nndarray\n\x8a\x06\0\xe4\x0bT\x02\0\x85X\1\0\0\0b\x87",
    ),
    "an array of 10**9 objects": _calls("numpy.ndarray", b"J\0\xca\x9a\x3b\x85X\1\0\0\0O\x86"),
    "a type of 10**9 bytes": _calls("numpy.dtype", b"X\x0b\0\0\0V1000000000\x85"),
    "a fraction of 10**8 digits": _calls("fractions.Fraction", b"X\x0a\0\0\x001e99999999\x85"),
    "a decimal of 10**8 digits": _calls("decimal.Decimal", b"X\x0a\0\0\x001e99999999\x85"),
    "a number of a million digits": _calls(
        "builtins.int", b"X\x40\x42\x0f\0" + b"9" * 10**6 + b"\x85"),
    "a tensor of 10**10": _calls("torch.FloatTensor", b"\x8a\x06\0\xe4\x0bT\x02\0\x85"),
    "a size below 0": _calls("torch.Size", b"J\xff\xff\xff\xff\x85\x85"),
    "no stack": b"\x80\x02R.",
    "no end": b"\x80\x02}",
    "unknown operation": b"\x80\x02\xff.",
    "memo that is not there": b"\x80\x02h\x07.",
    "memo of 2**32": b"\x80\x02}r\xff\xff\xff\xff.",
    "a text of 2 GB that is not there": b"\x80\x02X\xff\xff\xff\x7f.",
    "100,000 tuples deep": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "100,000 lists deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "a dictionary as a key": b"\x80\x02}}Ns.",
    "a text that is no UTF-8": b"\x80\x02}X\2\0\0\0\xff\xfeNs.",
    "protocol 0": b"(dp0\n.",
    "protocol 5": pickle.dumps({"fc.weight": [1.0] * 10}, protocol=5),
    "a persistent object": b"\x80\x02}X\1\0\0\0aX\1\0\0\0bQs.",
    "a class as a value": b"\x80\x02}X\5\0\0\0stylectorch\nTensor\ns.",
}  # fmt: skip


def _no_files(folder: Path) -> Iterator[Attack]:
    for name, make in {
        "a pipe": os.mkfifo,
        "a folder": Path.mkdir,
        "a link to a device": lambda p: p.symlink_to("/dev/zero"),
        "a link to itself": lambda p: p.symlink_to(p.name),
        "a link to nothing": lambda p: p.symlink_to("nowhere"),
    }.items():
        path = folder / "no_file.pt"
        make(path)
        yield inspected(f"file: {name}", path.name)
        path.rmdir() if path.is_dir() else path.unlink()


def _header(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def _safetensors(tensors: Mapping[str, Tensor], **more: Any) -> bytes:
    """As the library writes it; ``more`` are entries over those of the tensors."""
    entries: dict[str, Any] = {}
    data = b""
    for name, tensor in tensors.items():
        raw = tensor.contiguous().numpy().tobytes()
        kind = {torch.float32: "F32", torch.int64: "I64"}[tensor.dtype]
        entries[name] = {"dtype": kind, "shape": list(tensor.shape),
                         "data_offsets": [len(data), len(data) + len(raw)]}  # fmt: skip
        data += raw
    return _header(json.dumps({**entries, **more}).encode(), data)


def _foreign(folder: Path, tensors: dict[str, Tensor]) -> Iterator[Attack]:
    """Files of other origins."""
    path = folder / "x.safetensors"
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    files = {
        "header of 2**63": struct.pack("<Q", 2**63) + b"{}",
        "header of 90 MB that is not there": struct.pack("<Q", 90 << 20) + b"{}",
        "header is no JSON": _header(b"{"),
        "header is deep": _header(b'{"a":' * 100_000),
        "header is a list": _header(b"[]"),
        "offsets overlap": _header(json.dumps({"a": entry, "b": entry}).encode(), bytes(16)),
        "offsets beyond the end": _header(json.dumps({"fc.weight": entry}).encode(), bytes(8)),
        "offsets the wrong way": _header(
            json.dumps({"a": {**entry, "data_offsets": [16, 0]}}).encode(), bytes(16)),
        "shape of 2**70": _header(
            json.dumps({"a": {**entry, "shape": [2**70]}}).encode(), bytes(16)),
        "shape of 2**40 twice": _header(
            json.dumps({"a": {**entry, "shape": [2**40, 2**40]}}).encode(), bytes(16)),
        "unknown type": _safetensors(tensors, a={**entry, "dtype": "F7"}),
        "float8": _safetensors(tensors).replace(b'"F32"', b'"F8_E4M3"', 1),
        "metadata is a number": _safetensors(tensors, __metadata__=7),
        "metadata is deep": _safetensors(tensors, __metadata__={"config": "[" * 100_000}),
        "metadata says huge sizes": _safetensors(
            tensors, __metadata__={"image_size": "9" * 5000, "crop_pct": "1e-300"}),
    }  # fmt: skip
    allowed = {"metadata is deep", "metadata says huge sizes"}
    for name, content in files.items():
        path.write_bytes(content)
        yield inspected(
            f"safetensors: {name}", path.name, codes=EITHER if name in allowed else REFUSED
        )
    path.unlink()
    changes: dict[str, Callable[[dict[str, Tensor]], Any]] = {
        "float8": lambda t: t.update({WEIGHT: t[WEIGHT].to(torch.float8_e5m2)}),
        "complex": lambda t: t.update({WEIGHT: t[WEIGHT].to(torch.complex64)}),
        "negative variance": lambda t: t.update({VAR: -t[VAR]}),
        "doubles beyond float32": lambda t: t.update(
            {"fc.weight": t["fc.weight"].double() + 1e300}),
        "sparse": lambda t: t.update({"fc.weight": t["fc.weight"].to_sparse()}),
        "quantized": lambda t: t.update(
            {WEIGHT: torch.quantize_per_tensor(t[WEIGHT], 0.1, 0, torch.qint8)}),
        "nested": lambda t: t.update(
            {"fc.weight": torch.nested.nested_tensor([t["fc.weight"][0]])}),
        "stride 0": lambda t: t.update({"fc.weight": torch.zeros(1).expand(2**31, 8)}),
        "wrong rank of a statistic": lambda t: t.update({VAR: t[VAR][None]}),
        "no dimension": lambda t: t.update({"conv1.weight": torch.tensor(1.0)}),
        "counter of two": lambda t: t.update({"bn1.num_batches_tracked": torch.zeros(2)}),
        "mask of complex": lambda t: t.update(
            {f"{WEIGHT}_orig": t.pop(WEIGHT),
             f"{WEIGHT}_mask": torch.zeros(8, 8, 3, 3).to(torch.complex64)}),
        "names of a million letters": lambda t: t.update(
            {"layer1." * 150_000: torch.zeros(3, 3, 3, 3)}),
        "block 10**20": lambda t: t.update(
            {f"layer1.{10**20}.conv1.weight": torch.zeros(8, 8, 3, 3)}),
        "block of 5,000 digits": lambda t: t.update(
            {f"layer1.{'9' * 5000}.conv1.weight": torch.zeros(8, 8, 3, 3)}),
        "a huge input": lambda t: t.update(image_size=20_000),
        "a resize that never ends": lambda t: t.update(transform="Resize(size=" * 20_000),
        "a configuration that is deep": lambda t: t.update(cfg="a = " + "[" * 50_000),
        "a configuration of minus signs": lambda t: t.update(cfg="a = " + "-" * 50_000 + "1"),
        "classes of a number with 5,000 digits": lambda t: t.update(classes=[10**4999] * 10),
        "classes by a number with 5,000 digits": lambda t: t.update(
            idx_to_class={str(i): "a" for i in range(9)} | {"9" * 5000: "b"}),
        "classes that are infinite": lambda t: t.update(idx_to_class={float("inf"): "a", 1: "b"}),
        "mean of huge numbers": lambda t: t.update(mean=[10**400] * 3, std=[1] * 3),
        "mean that is NaN": lambda t: t.update(mean=[float("nan")] * 3, std=[1.0] * 3),
        "std that is nearly 0": lambda t: t.update(mean=[0.5] * 3, std=[1e-320] * 3),
    }  # fmt: skip
    said = ("a resize", "a config", "classes", "mean", "std", "a huge input")
    path = folder / "foreign.pth"
    for name, change in changes.items():
        changed = dict(tensors)
        change(changed)
        torch.save(changed, path)
        yield inspected(
            f"foreign: {name}", path.name, codes=EITHER if name.startswith(said) else REFUSED
        )
    path.unlink()
    yield from _programs(folder)


def _programs(folder: Path) -> Iterator[Attack]:
    """TorchScript and ``.pt2``."""

    def config(**meta: Any) -> bytes:
        tensor = {"dtype": 7, "sizes": [{"as_int": 4}], "strides": [{"as_int": 1}],
                  "storage_offset": {"as_int": 0}, **meta}  # fmt: skip
        one = {"path_name": "weight_0", "use_pickle": False, "tensor_meta": tensor}
        return json.dumps({"config": {"conv1.weight": one}}).encode()

    graph = json.dumps({"graph_module": {"graph": {"nodes": []}, "signature": {"input_specs": []}}})
    exported = {
        "numbers of 8 GB": (config(sizes=[{"as_int": 2**31}], strides=[{"as_int": 0}]), graph),
        "sizes of 2**70": (config(sizes=[{"as_int": 2**70}], strides=[{"as_int": 0}]), graph),
        "no element of 2**70": (
            config(sizes=[{"as_int": 0}, {"as_int": 2**70}], strides=[{"as_int": 1}] * 2), graph),
        "sizes are texts": (config(sizes=[{"as_int": "4"}]), graph),
        "sizes are named": (config(sizes=[{"as_name": "s0"}]), graph),
        "fewer strides": (config(strides=[]), graph),
        "type is a list": (config(dtype=[7]), graph),
        "type is unknown": (config(dtype=99), graph),
        "weights are a list": (b"[]", graph),
        "weights are deep": (b"[" * 100_000, graph),
        "program is a list": (config(), "[]"),
        "program is deep": (config(), '{"graph_module":' * 50_000),
        "a convolution without weight": (config(), graph.replace(
            '"nodes": []', '"nodes": [{"target": "torch.ops.aten.conv2d.default", "inputs": []}]')),
    }  # fmt: skip
    path = folder / "x.pt2"
    for name, (weights, program) in exported.items():
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/archive_format", "pt2")
            archive.writestr("x/data/weights/model_weights_config.json", weights)
            archive.writestr("x/data/weights/weight_0", bytes(16))
            archive.writestr("x/models/model.json", program)
        yield inspected(f"pt2: {name}", path.name)
    path.unlink()
    module = b"c__torch__\nA\n)\x81"
    deep = b"\x80\x02" + module + b"}X\1\0\0\0a" * 0
    nested = b"".join([b"\x80\x02", (module + b"}X\1\0\0\0a") * 5000, b"N", b"sb" * 5000, b"."])
    # Each module has the next one twice: 2**40 paths.
    doubled = b"\x80\x02" + module + b"q\x00"
    for i in range(40):
        doubled += module + b"}(X\1\0\0\0ah" + bytes([i]) + b"X\1\0\0\0bh" + bytes([i])
        doubled += b"ubq" + bytes([i + 1])
    scripts = {
        "nothing": deep + module + b".",
        "5,000 modules deep": nested,
        "2**40 paths": doubled + b".",
        "attributes that are numbers": b"\x80\x02" + module + b"}K\1Nsb.",
        "runs code": _calls("os.system", b"X\x02\0\0\0id\x85"),
    }
    path = folder / "script.pt"
    for name, program in scripts.items():
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", program)
            archive.writestr("x/constants.pkl", b"\x80\x02).")
            archive.writestr("x/code/__torch__.py", b"x" * 100, zipfile.ZIP_DEFLATED)
            archive.writestr("x/version", b"3\n")
        yield inspected(f"TorchScript: {name}", path.name)
    whole = _raw_zip([
        ("x/data.pkl", 0, 4, b"\x80\x02}.", zlib.crc32(b"\x80\x02}.")),
        ("x/constants.pkl", 0, 4, b"\x80\x02).", zlib.crc32(b"\x80\x02).")),
        ("x/code/a.py", 8, 3 << 30, _zeros_deflated(3 << 10), 0),
    ])  # fmt: skip
    path.write_bytes(whole)
    yield inspected("TorchScript: code of 3 GB", path.name)
    path.unlink()


def _beside(folder: Path, tensors: dict[str, Tensor]) -> Iterator[Attack]:
    """What lies in the same folder as somebody's weights: used, or named as unused."""
    torch.save(tensors, folder / "weights.pth")
    about = {"model_type": "resnet", "num_labels": 10}
    files: dict[str, list[tuple[str, bytes]]] = {
        "config.json": [
            ("deep", b"[" * 100_000),
            ("no UTF-8", b"\xff\xfe{}"),
            ("huge numbers", json.dumps({**about, "image_size": 10**400}).encode()),
            ("numbers of 5,000 digits", b'{"num_labels": ' + b"9" * 5000 + b"}"),
            ("keys twice", b'{"num_labels": 10, "num_labels": 9}'),
            ("labels of lists", json.dumps({**about, "id2label": {"0": [1]}}).encode()),
            ("labels are a list", json.dumps({**about, "id2label": [[]] * 10}).encode()),
            ("strides of texts", json.dumps({**about, "downsample_in_bottleneck": "x"}).encode()),
        ],
        "preprocessor_config.json": [
            ("deep", b'{"size":' * 50_000),
            ("sizes of 10**30", json.dumps({"size": 10**30, "crop_size": 10**30}).encode()),
            ("a crop of nothing", json.dumps({"size": 224, "crop_pct": 0}).encode()),
            ("infinite", b'{"size": 224, "image_mean": [Infinity, 0, 0], "image_std": [1, 1, 1]}'),
            ("factor of 10**400", json.dumps({"rescale_factor": 10**400, "size": 64}).encode()),
            ("factor is a list", json.dumps({"rescale_factor": [1], "size": 64}).encode()),
        ],
        "classes.txt": [
            ("500,000 names", b"\n".join(b"%d" % i for i in range(500_000))),
            ("escapes", b"\n".join(b"\x1b[3%dm" % i for i in range(10))),
            ("no text", bytes(range(256)) * 10),
        ],
        "labels.json": [
            ("deep", b"[" * 100_000),
            ("numbers of 5,000 digits", b'{"a": ' + b"9" * 5000 + b', "b": 1}'),
            ("indices below 0", json.dumps({str(-i): "a" for i in range(10)}).encode()),
            ("indices that are none", json.dumps({"x": "a", "y": "b"}).encode()),
        ],
        "labels.csv": [
            ("a field of a MB", b"a" * (1 << 20) + b"\nb\n"),
            ("nothing", b"\n\n"),
            ("quotes without end", b'"a\n' * 1000),
        ],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(about))
    for file, contents in files.items():
        for name, content in contents:
            (folder / file).write_bytes(content)
            yield inspected(f"{file}: {name}", "weights.pth", codes=EITHER)
        (folder / file).unlink()
        (folder / "config.json").write_text(json.dumps(about))
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    yield inspected("config.json: a pipe", "weights.pth", codes=EITHER)
    (folder / "config.json").unlink()


def _fuzzed(
    folder: Path, good: Path, content: Content, rng: np.random.Generator
) -> Iterator[Attack]:
    """Bytes of a good file, and values of its fields."""
    path = folder / "x.pt"
    for number in range(BYTES):
        path.write_bytes(mutated(good.read_bytes(), rng))
        yield inspected(f"fuzzed bytes {number}", codes=EITHER, harmless=_same_network)
    for number in range(VALUES):
        name = list(content)[int(rng.integers(len(content) - 1))]
        value = ODD[int(rng.integers(len(ODD)))]
        torch.save({**content, name: value}, path)
        # Fields that say nothing may hold another value that they could have.
        yield inspected(f"fuzzed field {number}: {name}", codes=EITHER, harmless=_same_network)


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 2**70, 1e308, float("nan"), "", "x" * 10_000, "\x1b[2J", b"x",
    [], [[]], {}, {"": None}, (), {"a": {"b": [None]}}, torch.zeros(2), [torch.zeros(2)],
    complex(1, 2),
)  # fmt: skip


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The same with a few bytes changed, cut out, doubled, or cut off."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(max(1, len(changed))))
        length = int(rng.integers(1, 65))
        match int(rng.integers(5)):
            case 0:
                changed[place : place + 1] = bytes([int(rng.integers(256))])
            case 1:
                changed[place : place + length] = rng.bytes(length)
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[place : place + length]
            case _:
                if rng.random() < 0.3:
                    del changed[place:]
                else:
                    changed[place : place + 8] = struct.pack("<q", int(rng.integers(2**62)))
    return bytes(changed)


def _same_network(printed: str) -> str | None:
    """What was opened must be the network that was saved."""
    return None if "resnet18" in printed else "is opened as another network"
