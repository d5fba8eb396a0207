"""Bundles of strangers: where their files lie, what their manifests say, what is only a link."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.hostile.attack import Attack
from tests.small_bundles import write_small_bundle
from tests.small_models import keep_weights_apart

NAN, INFINITE = float("nan"), float("inf")
TARGETS = {"onnx": "model.onnx", "openvino": "model.xml"}
EVALUATE = ("evaluate", "b", "--data", "digits", "--limit", "4", "--quiet")
INSPECT, BUILD, PROFILE = ("inspect", "b"), ("build", "b"), ("profile", "b")
COMPARE = ("compare", "good", "b", "--data", "digits", "--limit", "4", "--rounds", "2")
COMMANDS = (EVALUATE, INSPECT, BUILD, PROFILE, COMPARE)
# What ends with 0 where nothing is wrong, and starts no process for it.
HARMLESS = (EVALUATE, INSPECT, BUILD)
ANY_CODE = (0, 1, 2, 3)

Change = Callable[[Path], object]


class Room:
    """A folder with good bundles, and ``b``, the one that is spoilt anew for each attack."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bundle = folder, folder / "b"
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        for target in TARGETS:
            shutil.copytree(
                write_small_bundle(folder / f"good-{target}", target), self.elsewhere / target
            )

    def spoilt(self, change: Change, target: str) -> Path:
        """``b`` as a good one that a stranger has changed, and ``good`` beside it."""
        for name in ("b", "good"):
            path = self.folder / name
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.exists():
                shutil.rmtree(path)
            shutil.copytree(self.folder / f"good-{target}", path)
        change(self.bundle)
        return self.bundle


def told(**changes: Any) -> Change:
    """A manifest that says something else."""

    def change(bundle: Path) -> None:
        path = bundle / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def told_inside(key: str, **changes: Any) -> Change:
    """A manifest of which a part says something else."""

    def change(bundle: Path) -> None:
        values = json.loads((bundle / "manifest.json").read_text())
        told(**{key: values[key] | changes})(bundle)

    return change


def untold(*names: str) -> Change:
    """A manifest without some of its keys."""

    def change(bundle: Path) -> None:
        path = bundle / "manifest.json"
        values = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in values.items() if k not in names}))

    return change


def listed(name: str, place: str | None = None) -> Change:
    """A manifest that lists one more file, with its right hash where there is one."""

    def change(bundle: Path) -> None:
        path = Path(place) if place and place.startswith("/") else bundle / (place or name)
        content = path.read_bytes() if path.is_file() else b""
        told_inside("files", **{name: hashlib.sha256(content).hexdigest()})(bundle)

    return change


def opened_as(model: str, *, listed_too: bool) -> Change:
    """A manifest whose model lies elsewhere."""

    def change(bundle: Path) -> None:
        told(model=model)(bundle)
        if listed_too:
            listed(model)(bundle)

    return change


def linked(name: str, to: str) -> Change:
    """A file of the bundle that is a link."""

    def change(bundle: Path) -> None:
        path = bundle / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return change


def moved_out(name: str) -> Change:
    """A file of the bundle that lies elsewhere, and a link to it."""

    def change(bundle: Path) -> None:
        shutil.copyfile(bundle / name, bundle.parent / "elsewhere" / name)
        linked(name, f"../elsewhere/{name}")(bundle)

    return change


def piped(name: str) -> Change:
    """A file of the bundle that is a pipe, which nobody writes."""

    def change(bundle: Path) -> None:
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).unlink(missing_ok=True)
        os.mkfifo(bundle / name)

    return change


def written(name: str, content: bytes) -> Change:
    """Another file in the place of one."""

    def change(bundle: Path) -> None:
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_bytes(content)

    return change


def emptied_to(name: str, size: int) -> Change:
    """A file of zeros that the disk does not hold, listed with the hash that was there."""

    def change(bundle: Path) -> None:
        with (bundle / name).open("ab") as file:
            file.truncate(size)

    return change


def a_folder(name: str) -> Change:
    """A folder in the place of a file."""

    def change(bundle: Path) -> None:
        (bundle / name).unlink(missing_ok=True)
        (bundle / name).mkdir(parents=True)

    return change


def deep(bundle: Path) -> None:
    """Folders in folders."""
    here = os.open(bundle, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)


def wrong_golden(**changes: Any) -> Change:
    """Golden logits that the model does not give, and a manifest that lets them pass."""

    def change(bundle: Path) -> None:
        with np.load(bundle / "golden.npz") as stored:
            images, logits = stored["images"], stored["logits"]
        logits = logits[:, ::-1] + np.float32(len(str(changes)))
        np.savez_compressed(bundle / "golden.npz", images=images, logits=logits)
        told(**changes)(bundle)
        listed("golden.npz")(bundle)

    return change


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(bundle: Path) -> None:
        for one in changes:
            one(bundle)

    return change


def weights_at(location: str, place: str | None) -> Change:
    """A model whose weights lie elsewhere, as its file says.

    Args:
        location: that it says.
        place: where they are, from the bundle; None: nowhere.
    """

    def change(bundle: Path) -> None:
        keep_weights_apart(bundle / "model.onnx", "w")
        if place is not None:
            (bundle / place).parent.mkdir(exist_ok=True)
            shutil.copyfile(bundle / "w", bundle / place)
        (bundle / "w").unlink()
        model = onnx.load(bundle / "model.onnx", load_external_data=False)
        for constant in model.graph.initializer:
            for entry in constant.external_data:
                if entry.key == "location":
                    entry.value = location
        (bundle / "model.onnx").write_bytes(model.SerializeToString())
        listed("model.onnx")(bundle)

    return change


PARTIAL = ".manifest.json.partial"
LINKS: dict[str, tuple[Change, tuple[str, ...]]] = {
    "partial manifest is a link": (linked(PARTIAL, "../../outside/sentinel"), BUILD),
    "partial manifest is a link, and the manifest is to be written": (
        both(
            linked(PARTIAL, "../../outside/sentinel"),
            written("engines/optimized.onnx", b"x"),
            listed("engines/optimized.onnx"),
        ),
        BUILD,
    ),
    "manifest is a link": (moved_out("manifest.json"), EVALUATE),
    "golden is a link": (moved_out("golden.npz"), EVALUATE),
    "optimized is a link": (linked("engines/optimized.onnx", "../../../outside/sentinel"), BUILD),
    "blob is a link": (linked("engines/cpu.blob", "../../../outside/sentinel"), BUILD),
    "record is a link": (linked("engines/gpu.blob.json", "../../../outside/sentinel"), INSPECT),
    "partial blob is a link": (linked("engines/.cpu.blob.partial", "../../../outside/new"), BUILD),
    "engines is a link": (linked("engines", "../../outside"), BUILD),
    "engines is a link to nothing": (linked("engines", "../../outside/new"), BUILD),
    "example is a link": (linked("example.py", "../../outside/sentinel"), EVALUATE),
    "unlisted link": (linked("more/data", "../../../outside/sentinel"), EVALUATE),
    "link in a circle": (linked("engines/loop.json", "loop.json"), INSPECT),
    "link to the folder above": (linked("up", ".."), PROFILE),
    "link to a device": (linked("golden.npz", "/dev/zero"), EVALUATE),
    "manifest is a device": (linked("manifest.json", "/dev/zero"), INSPECT),
    "manifest is a pipe": (piped("manifest.json"), INSPECT),
    "golden is a pipe": (piped("golden.npz"), EVALUATE),
    "record is a pipe": (piped("engines/cpu.blob.json"), INSPECT),
    "engine is a pipe": (both(piped("engines/cpu.blob"), listed("engines/cpu.blob")), EVALUATE),
    "golden is a folder": (a_folder("golden.npz"), EVALUATE),
    "manifest is a folder": (a_folder("manifest.json"), INSPECT),
    "engines is a file": (written("engines", b"x"), BUILD),
    "golden is endless": (emptied_to("golden.npz", 1 << 42), EVALUATE),
    "manifest is endless": (emptied_to("manifest.json", 1 << 42), INSPECT),
}  # fmt: skip
NAMES = (
    "../elsewhere/{target}/{model}", "/proc/self/exe", "..\\elsewhere\\{model}", "C:{model}",
    "C:\\{model}", "", ".", "..", "./{model}", "x/../{model}", "//etc/hostname", "{model}/",
    "a\0b", "new\nline", "\x1b[2J", "x" * 5000, "engines/../{model}", "MODEL.ONNX", "Golden.npz",
    "MANIFEST.JSON", "manifest.json", "a//b", "~/x", "\udcff", "engines", "mode\u006c\u0301", "nul",
)  # fmt: skip
TOLERANCES: tuple[Any, ...] = (
    NAN, INFINITE, -INFINITE, None, 0.99, -1, "0.001", True, 10**400, [], {}, 1e300, 2.0,
)  # fmt: skip
VALUES: dict[str, tuple[Any, ...]] = {
    "format_version": ("1", -1, 0, 99, 10**400, True, None, [], 1.0, NAN, INFINITE, {}),
    "classes": ([], "ab", None, [1, 2], [[]], {}, ["x" * 10**6] * 10),
    "input_spec": (None, [], "x", {}, 5),
    "batch": (None, [], {}, {"smallest": 0, "best": 1, "largest": 1}, {"smallest": 1},
              {"smallest": 8, "best": 1, "largest": 2},
              {"smallest": 1, "best": 1, "largest": 10**30},
              {"smallest": "1", "best": 1, "largest": 1}),
    "target": ("", "../x", "nothing", None, 5, ["onnx"], "x" * 10**5, "\x1b]0;t\x07"),
    "precision": ("", "int3", None, 8, [], {}, "x" * 10**5),
    "model": (None, 5, [], {}, True),
    "files": (None, [], "x", {}, {"a": 1}, {"model.onnx": "00"}),
    "layers": (None, {}, "x", [1], [{}], [{"name": 1}], [None]),
    "widths": (None, [], "x"),
    "proof": (None, [], "x", 5),
    "provenance": (None, [], {"pruning": {}}, {"pruning": {"widths_before": 1}}, {"notes": 5},
                   {"notes": [{}]}, {"assumed": {"a": 1}}),
    "answers": ("maybe", None, 5, []),
    "channels_last": ("no", 5, []),
    "stride_in": ("5x5", None, 3, []),
    "parameters": (-1, "many", None, 10**400, 1.5, INFINITE),
    "macs": (-1, "many", None, 10**400, NAN),
    "embed_preprocess": ("no", 1, None, []),
    "classes_known": ("no", 0, None),
    "data": (5, [], {}, "x" * 10**6),
    "data_fingerprint": (5, [], {}),
    "arch": (None, 5, [], "x" * 10**6),
    "stem": (None, 5, {}),
}  # fmt: skip
SPEC: dict[str, tuple[Any, ...]] = {
    "image_size": (0, -1, 7, 20_000, 10**9, 10**30, "16", 16.5, None, True),
    "mean": ([], [0, 0], [NAN] * 3, ["a"] * 3, None, "0.5,0.5,0.5", [1e308] * 3, 5),
    "std": ([0, 0, 0], [-1] * 3, [INFINITE] * 3, [1e-320] * 3, None, "1/255"),
    "resize": (0, -5, "large", 10**12, 1.5, []),
    "crop_ratio": (0, 2, NAN, 1e-300, 1e-4, "all"),
    "interpolation": ("magic", None, 5),
    "channels": ("cmyk", 3, []),
    "crop_rounding": ("up", None, {}),
}  # fmt: skip
TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "deep lists": b"[" * 200_000,
    "deep values": b'{"a":' * 500 + b"1" + b"}" * 500,
    "a key twice": b'{"format_version": 1, "format_version": 1}',
    "UTF-16": '{"format_version": 1}'.encode("utf-16"),
    "a mark before it": b"\xef\xbb\xbf{}",
    "no UTF-8": b'{"format_version": "\xff"}',
    "many digits": b'{"format_version": ' + b"1" * 10_000 + b"}",
    "too large": b'{"format_version": 1, "x": "' + b"x" * (17 << 20) + b'"}',
    "zeros": bytes(1000),
}


def hand_made(room: Room) -> Iterator[tuple[str, Change, str, tuple[str, ...]]]:
    """Name, change, target and command of each."""
    for name, (change, command) in LINKS.items():
        yield name, change, "onnx", command
    for target, model in TARGETS.items():
        for name, change in {
            "model is a link": moved_out(model),
            "model is a pipe": piped(model),
            "model is a device": linked(model, "/dev/zero"),
            "model is endless": emptied_to(model, 1 << 42),
            "model is not listed": both(told(files={}), listed("golden.npz")),
            "golden is not listed": both(told(files={}), listed(model)),
            "a model elsewhere": opened_as(f"../elsewhere/{target}/{model}", listed_too=False),
            "a listed one elsewhere": opened_as(f"../elsewhere/{target}/{model}", listed_too=True),
            "an absolute one": opened_as(
                str(room.elsewhere.resolve() / target / model), listed_too=True
            ),
            "another's file": opened_as("../../outside/sentinel", listed_too=True),
        }.items():
            yield f"{target} {name}", change, target, EVALUATE
    for place in ("w.bin", "engines/w.bin", "more/w.bin"):
        yield f"weights without hash in {place}", weights_at(place, place), "onnx", EVALUATE
    for location in ("../elsewhere/onnx/model.onnx", "../../outside/sentinel", "/etc/hostname"):
        yield f"weights at {location}", weights_at(location, None), "onnx", EVALUATE
    yield "another target's model", told(target="openvino"), "onnx", EVALUATE
    yield "weights are a link", moved_out("model.bin"), "openvino", EVALUATE
    unhashed = both(told(files={}), listed("golden.npz"), listed("model.xml"))
    yield "weights are not listed", unhashed, "openvino", EVALUATE
    for key in ("golden_tolerance", "logit_bound"):
        for value in TOLERANCES:
            # Without a bound the tolerance counts, as it does in older bundles.
            if (key, value) == ("logit_bound", None):
                continue
            changes = {"logit_bound": None, "golden_tolerance": 0.001} | {key: value}
            yield f"{key} {value!r:.20}", wrong_golden(**changes), "onnx", EVALUATE


def attacks(folder: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """Each is refused, or opened as what it is."""
    room = Room(folder)
    for name, change, target, command in hand_made(room):
        room.spoilt(change, target)
        yield Attack(name, command)
    for number, name in enumerate(NAMES):
        target = list(TARGETS)[number % 2]
        full = name.format(target=target, model=TARGETS[target])
        room.spoilt(listed(full, "manifest.json"), target)
        yield Attack(f"name {full!a:.30}", COMMANDS[number % len(COMMANDS)])
    for name, content in TEXTS.items():
        room.spoilt(written("manifest.json", content), "onnx")
        yield Attack(f"manifest: {name}", COMMANDS[len(name) % len(COMMANDS)])
    room.spoilt(deep, "onnx")
    yield Attack("folders in folders", EVALUATE, ANY_CODE)
    yield from _values(room, rng)
    yield from _fuzzed(room, rng, 60)


def _values(room: Room, rng: np.random.Generator) -> Iterator[Attack]:
    """Some of the values that a key must not have, and each key left out."""
    for key, values in VALUES.items():
        for i in rng.permutation(len(values))[:3]:
            room.spoilt(told(**{key: values[i]}), "onnx")
            command = COMMANDS[int(rng.integers(len(COMMANDS)))]
            yield Attack(f"{key} {values[i]!a:.24} {i}", command)
        room.spoilt(untold(key), "openvino")
        # What older versions did not write may be missing.
        yield Attack(f"no {key}", HARMLESS[int(rng.integers(len(HARMLESS)))], ANY_CODE)
    for key, values in SPEC.items():
        for i in rng.permutation(len(values))[:4]:
            room.spoilt(told_inside("input_spec", **{key: values[i]}), "onnx")
            yield Attack(f"{key} {values[i]!a:.24} {i}", EVALUATE)


def _fuzzed(room: Room, rng: np.random.Generator, count: int) -> Iterator[Attack]:
    """Bytes of a manifest turned, cut or doubled; what is read all the same says no other thing."""
    for number in range(count):
        target = list(TARGETS)[number % 2]

        def change(bundle: Path) -> None:
            path = bundle / "manifest.json"
            content = bytearray(path.read_bytes())
            for _ in range(int(rng.integers(1, 4))):
                at = int(rng.integers(len(content)))
                kind = int(rng.integers(4))
                if kind == 0:
                    content[at] ^= 1 << int(rng.integers(8))
                elif kind == 1:
                    content[at : at + 1] = b"9" * int(rng.integers(1, 30))
                elif kind == 2:
                    del content[at : at + int(rng.integers(1, 40))]
                else:
                    content[at:at] = content[at : at + int(rng.integers(1, 200))]
            path.write_bytes(content)

        room.spoilt(change, target)
        yield Attack(f"fuzzed manifest {number}", HARMLESS[number % len(HARMLESS)], ANY_CODE)
