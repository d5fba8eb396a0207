"""Recipes of strangers, and what lies in the folders of their runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.hostile.attack import Attack

GOOD = """\
name: theirs
data: digits
model: {arch: resnet18, stem: small}
image_size: 16
train: {epochs: 1}
"""
HEAD = "name: theirs\ndata: digits\nmodel: {arch: resnet18, stem: small}\n"
DIGITS = "9" * 10_000
EXPLODING = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)
MERGING = "a: &a {p: 1, q: 2, r: 3}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{','.join([f'*{chr(97 + i)}'] * 30)}], z{i}: 1}}\n"
    for i in range(6)
)
# Put behind a recipe that is fine.
ADDED = {
    "no YAML": "a: [",
    "aliases explode": EXPLODING,
    "merges explode": MERGING,
    "alias of itself": "a: &a [*a]\n",
    "alias of itself in keys": "a: &a {b: *a}\n",
    "merge of itself": "prune: &p {macs: 0.5, <<: *p}\n",
    "alias of nothing": "prune: *gone\n",
    "tag that runs code": "x: !!python/object/apply:os.system ['touch ../outside/ran']\n",
    "tag that makes a tuple": "x: !!python/tuple [1]\n",
    "tag bool of no bool": "skip_broken: !!bool perhaps\n",
    "tag int of no int": "limit: !!int many\n",
    "tag float of no float": "budgets: {max_drop: !!float none}\n",
    "tag timestamp of no time": "classes: !!timestamp soon\n",
    "time that is none": "classes: 2026-99-99\n",
    "binary that is none": "classes: !!binary '='\n",
    "set": "limit: !!set {1, 2}\n",
    "ordered pairs": "limit: !!omap [a: 1]\n",
    "own tag": "limit: !stranger 1\n",
    "equals sign": "limit: =\n",
    "number to the base of 16": "limit: 0x10\n",
    "limit of 10,000 digits": f"limit: {DIGITS}\n",
    "seed of 10,000 digits": f"seed: {DIGITS}\n",
    "seed of 400 digits": f"seed: {DIGITS[:400]}\n",
    "seed beyond 64 bits": f"seed: {2**64}\n",
    "seed below 0": "seed: -1\n",
    "key of 10,000 digits": f"{DIGITS}: 1\n",
    "key that is a number": "1: 2\n",
    "key that is nothing": "null: 2\n",
    "key that is true": "true: 2\n",
    "key that is a list": "? [a, b]\n: 1\n",
    "key that is a mapping": "? {a: b}\n: 1\n",
    "key of 100,000 letters": f"{'k' * 100_000}: 1\n",
    "double key": "data: digits\n",
    "double key inside": "budgets: {max_drop: 0.1, max_drop: 0.9}\n",
    "double key in other writing": "\"data\": 'digits'\n",
    "second document": "---\nname: other\n",
    "deep lists": f"x: {'[' * 50_000}\n",
    "deep mappings": f"x: {'{a: ' * 5_000}1{'}' * 5_000}\n",
    "deep blocks": "x:\n" + "".join(f"{' ' * i}a:\n" for i in range(1, 900)),
    "100,000 keys": "".join(f"k{i}: 1\n" for i in range(100_000)),
    "3,000 keys": "".join(f"k{i}: 1\n" for i in range(3_000)),
    "value of 200,000 letters": f"budgets: {{max_drop: {'v' * 200_000}}}\n",
    "text of 200,000 letters for a choice": f"class_order: {'v' * 200_000}\n",
    "no targets": "export: {targets: []}\n",
    "no precisions": "export: {precisions: []}\n",
    "empty target": "export: {targets: ['']}\n",
    "20,000 targets": f"export: {{targets: [{', '.join(f't{i}' for i in range(20_000))}]}}\n",
    "target that is a path": "export: {targets: [../../outside/sentinel]}\n",
    "target that is nested": "export: {targets: [[onnx]]}\n",
    "precision of signs": "export: {precisions: [\"int8\\e[2J\"]}\n",
    "batch of 10,000 digits": f"export: {{batch: '{DIGITS}'}}\n",
    "batch of 10,000 digits, bare": f"export: {{batch: {DIGITS}}}\n",
    "batch of 4,000 digits": f"export: {{batch: '1:1:{DIGITS[:4000]}'}}\n",
    "batch of 10**12": f"export: {{batch: {10**12}}}\n",
    "batch below 0": "export: {batch: -1}\n",
    "rounds 0": "compare: {rounds: 0}\n",
    "rounds 10**12": f"compare: {{rounds: {10**12}}}\n",
    "threads 10**9": f"compare: {{threads: {10**9}}}\n",
    "threads 0": "compare: {threads: 0}\n",
    "device of signs": "compare: {device: \"cpu\\e]0;x\\a\"}\n",
    "device that is a path": "compare: {device: ../../etc}\n",
    "budget NaN": "budgets: {max_drop: .nan}\n",
    "budget NaN as text": "budgets: {max_drop: nan}\n",
    "budget infinite": "budgets: {max_p99_ms: .inf}\n",
    "budget beyond floats": "budgets: {max_p99_ms: 1e999}\n",
    "budget of 400 digits": f"budgets: {{max_p99_ms: {DIGITS[:400]}}}\n",
    "speed-up below 0": "budgets: {min_speedup: -1}\n",
    "share of 400 digits": f"prune: {{macs: {DIGITS[:400]}}}\n",
    "share NaN": "prune: {macs: .nan}\n",
    "iterations 10**12": f"prune: {{macs: 0.5, iterations: {10**12}}}\n",
    "step 10**12": f"prune: {{macs: 0.5, step: {10**12}}}\n",
    "calibration of 10**18": f"quantize: {{calibration_images: {10**18}}}\n",
    "mean that never ends": "inputs: {mean: '1e-999999999'}\n",
    "mean beyond floats": "inputs: {mean: '1e5000/3'}\n",
    "std of next to nothing": "inputs: {std: 1e-300}\n",
    "resize of 10,000 digits": f"inputs: {{resize: '{DIGITS}'}}\n",
    "resize 10**9": f"inputs: {{resize: {10**9}}}\n",
    "resize below 0": "inputs: {resize: -5}\n",
    "classes that are a folder": "classes: /\n",
    "classes of another user": "classes: ~nobody-at-all/x\n",
    "classes with NUL": "classes: \"a\\0b\"\n",
}  # fmt: skip
# Whole recipes, each with something else wrong at its beginning.
WHOLE = {
    "empty": "",
    "nothing but a comment": "# nothing\n",
    "text": "just text",
    "list": "- name\n",
    "image size 0": GOOD.replace("16", "0"),
    "image size 10**9": GOOD.replace("16", str(10**9)),
    "image size of 10,000 digits": GOOD.replace("16", DIGITS),
    "epochs 10**12": GOOD.replace("epochs: 1", f"epochs: {10**12}"),
    "batches of 10**12": GOOD.replace("epochs: 1", f"batch_size: {10**12}"),
    "learning rate beyond fp32": GOOD.replace("epochs: 1", "lr: 1e300"),
    "learning rate NaN": GOOD.replace("epochs: 1", "lr: .nan"),
    "temperature of next to nothing": GOOD.replace("epochs: 1", "temperature: 1e-300"),
    "workers 10**9": GOOD.replace("epochs: 1", f"workers: {10**9}"),
    "weights with NUL": GOOD.replace("stem: small", 'weights: "a\\0b"'),
    "weights of 10,000 letters": GOOD.replace("stem: small", f"weights: {'w' * 10_000}"),
    "weights that are a device": GOOD.replace("stem: small", "weights: /dev/zero"),
    "weights of colons": GOOD.replace("stem: small", "weights: 'torchvision:::::'"),
    "data with NUL": GOOD.replace("digits", '"a\\0b"'),
    "data of 10,000 letters": GOOD.replace("digits", "d" * 10_000),
    "data that is a device": GOOD.replace("digits", "/dev/zero"),
    "UTF-16": GOOD.encode("utf-16"),
    "zeros": b"\0" * 4096,
    "escape sequences": b"name: \x1b[2J\n",
    "overlong UTF-8": b"name: \xc0\xae\xc0\xae\n",
    "a GiB of nothing": None,
}
# Each leaves runs/, or makes a folder that systems choke on.
NAMES = (
    "../outside/x", "..", ".", "/tmp/x", "../../../../tmp/x", "a/../../x", "a/b", "..\\x",
    "C:\\x", "C:x", "CON", "nul.txt", "com1", "x.", "x ", " x", "n" * 300, "a\\tb", "a\\0b",
    "a\\eb", "a\\u202eb", "a\\u2066b", "a\\x9bb", "a\\nb",
)  # fmt: skip


def attacks(folder: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """Each is refused before any work; stage records of strangers are not believed."""
    path = folder / "recipe.yaml"

    def run(name: str, *more: str) -> Attack:
        return Attack(name, ("run", path.name, "-o", "run", *more))

    for name, text in ADDED.items():
        path.write_text(GOOD + text)
        yield run(name)
    for name, whole in WHOLE.items():
        if whole is None:
            with path.open("wb") as file:
                file.truncate(1 << 30)
        else:
            path.write_bytes(whole if isinstance(whole, bytes) else whole.encode())
        yield run(f"whole: {name}")
    for name in NAMES:
        path.write_text(f"{GOOD.replace('theirs', json.dumps('@'))}".replace("@", name))
        yield Attack(f"name: {name[:20]!r}", ("run", path.name))
    path.write_text(GOOD)
    for given in ("seed", "=1", "train.epochs=[", f"seed={DIGITS}", "name=../x", "train.lr=.inf",
                  f"export.batch={DIGITS}", "a.b.c.d=1", "data.x=1", f"{'k' * 5000}=1",
                  "x=&a [*a]", "train=!!python/name:os.system", "\x1b[2J=1",
                  "\u202e=1"):  # fmt: skip
        yield run(f"set {given[:30]!r}", "--set", given)
    yield from _pipes(folder)
    yield from _fuzzed(path, rng)
    yield from _records(folder, rng)


def _pipes(folder: Path) -> Iterator[Attack]:
    os.mkfifo(folder / "pipe.yaml")
    yield Attack("pipe", ("run", "pipe.yaml", "-o", "run"))
    (folder / "circle.yaml").symlink_to("circle.yaml")
    yield Attack("link in a circle", ("run", "circle.yaml", "-o", "run"))


def _fuzzed(path: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """Bytes of a recipe exchanged; none could run, for its weights are nowhere."""
    good = (GOOD + "prune: {macs: 0.5}\nquantize: {method: ptq}\nexport: {batch: 1:4:8}\n").encode()
    alphabet = np.frombuffer(b"{}[]:,-&*!|>'\"%@#?\n \t0e.~<\x00\x1b\x9b\xff", np.uint8)
    for number in range(16):
        content = bytearray(good)
        for place in rng.integers(0, len(content), 1 + number):
            content[place] = rng.choice(alphabet)
        path.write_bytes(bytes(content) + b"\nmodel: {weights: gone}\n")
        yield Attack(f"fuzzed {number}", ("run", path.name, "-o", "run"))


def _records(folder: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """A run that somebody else began, whose files lead elsewhere."""
    (folder / "recipe.yaml").write_text(GOOD)
    links = (".stages", "results.json", "01-train", "01-train/checkpoint.pt", "01-train/resume.pt",
             ".stages/01-train.json", "04-export/onnx-fp32")  # fmt: skip
    for number, name in enumerate(links):
        theirs = folder / f"theirs{number}"
        (theirs / ".stages").mkdir(parents=True)
        link = theirs / name
        if name == ".stages":
            link.rmdir()
        link.parent.mkdir(exist_ok=True)
        inside = link.suffix or rng.random() < 0.5
        link.symlink_to(folder.parent / "outside" / ("sentinel" if inside else "new"))
        yield Attack(f"{name} is a link", ("run", "recipe.yaml", "-o", theirs.name, "--fresh"))
