"""Machines of strangers: what a far end of ``--on`` prints, and what it sends back.

The user's own ssh and rsync are scripts here, which end where the attack wants. So all that runs on
this side is what runs for a user.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.host.export.export_bundle import export_bundle
from tests.host.training.test_train_checkpoint import NARROW
from tests.hostile.attack import REFUSED, Attack
from tests.hostile.far_answers import FIGURES, PROBED, VALUES, changed, texts
from tests.hostile.terminal import PAYLOADS
from tests.small_checkpoints import make_checkpoint

ANY = (0, *REFUSED)
ADDRESS = ("--on", "ssh://far.invalid")
# Finds out what is asked of it, and then is what the attack has written for that.
SSH = """#!/bin/sh
PATH=/usr/bin:/bin
far=${0%/*}/../far
case "$*" in
"-O check "*) exit 0 ;;
"-M "*) . "$far/connect" ;;
esac
for last; do :; done
eval "set -- $last"
if [ "$1" = sh ]; then mark=$4; shift 4; fi
case "$1" in
env) does=command ;;
mkdir|xargs) does=$1 ;;
tar) does=tar$2 ;;
*) does=$3; case "$4" in */engines) does=engines ;; esac ;;
esac
. "$far/$does"
"""
RSYNC = """#!/bin/sh
PATH=/usr/bin:/bin
far=${0%/*}/../far
case "$*" in --version) echo "rsync  version 3.2.7  protocol version 31"; exit 0 ;; esac
. "$far/rsync"
"""
MARK = r"""printf '\n%s\n' "$mark"; """
ENGINE = {"e": b"engine", "e.json": b"{}"}
BUILT = {"target": "onnx", "device": "cpu", "engine": "engines/e", "size_bytes": 6}
GOOD: dict[str, Any] = {**FIGURES, "build": BUILT}
ACTIONS = ("probe", "missing", "hashes", "engines", "command")


def attacks(folder: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """By what the far end does; then good answers with something changed."""
    far = _Far(folder)
    for kind in (_honest, _noise, _texts, _codes, _endless, _machines, _results, _names, _archives):
        yield from kind(far)
    yield from _terminal(far, rng)
    yield from _changed(far, rng)


class _Far:
    """A folder with a bundle, images, and the far end's answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        checkpoint = make_checkpoint(size=8, widths=NARROW)
        export_bundle(checkpoint, target="onnx", precision="fp32", out_dir=folder / "good")
        pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
        for name in ("a", "b"):
            (folder / "photos" / "val" / name).mkdir(parents=True)
            Image.fromarray(pixels).save(folder / "photos" / "val" / name / "i.png")
        (folder / "bin").mkdir()
        for name, text in (("ssh", SSH), ("rsync", RSYNC)):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)

    def attack(
        self,
        name: str,
        verb: str = "profile",
        codes: tuple[int, ...] = (3,),
        /,
        **acts: str | bytes,
    ) -> Iterator[Attack]:
        """A command to a far end that answers as it should, except for these actions.

        Args:
            acts: by action (``_`` for ``-``): a script, or the answer as it stands between markers.
        """
        self._write(verb, {name.replace("_", "-"): act for name, act in acts.items()})
        data = ("--data", "photos") if verb == "evaluate" else ()
        yield Attack(
            f"{verb}: {name}", (verb, "b", *data, *ADDRESS), codes=codes,
            harmless=self._harmless, environment={"PATH": str(self.folder / "bin")},
            programs=("ssh", "rsync"),
        )  # fmt: skip
        fault = self._harmless("")
        assert fault is None, f"{name}: {fault}"

    def _write(self, command: str, acts: Mapping[str, str | bytes]) -> None:
        for name in ("b", "far"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.folder / "good", self.folder / "b")
        far = self.folder / "far"
        far.mkdir()
        hashes = {name: sha256_bytes(content) for name, content in ENGINE.items()}
        usual: dict[str, str | bytes] = {
            "connect": ': > "$3"; exec cat',
            "mkdir": f"{MARK}{MARK}exit 0",
            "xargs": f"{MARK}{MARK}exit 0",
            "venv": "exit 1",
            "tar-xf": "cat > /dev/null; exit 0",
            "rsync": "exit 0",
            "probe": json.dumps(PROBED).encode(),
            "missing": b"[]",
            "hashes": b"{}",
            "engines": json.dumps(hashes).encode(),
            "tar-cf": archive(ENGINE),
            "command": json.dumps(GOOD[command]).encode(),
        }
        (far / "whole").write_bytes(archive(ENGINE))
        for name, act in {**usual, **acts}.items():
            if isinstance(act, bytes):
                (far / f"{name}.answer").write_bytes(act)
                act = f'{MARK}cat "$far/{name}.answer"; {MARK}exit 0'
            (far / name).write_text(act)

    def _harmless(self, printed: str) -> str | None:
        """In the bundle is what was there, and an engine only as it was told."""
        before = {p.name for p in (self.folder / "good").iterdir()}
        more = {p.name for p in (self.folder / "b").iterdir()} - before
        if more - {"engines"}:
            return f"leaves {sorted(more)}"
        got = {p.name: p for p in (self.folder / "b").glob("engines/*") if p.is_file()}
        if got and {n: p.read_bytes() for n, p in got.items()} != ENGINE:
            return f"takes {sorted(got)}"
        return "takes a link" if any(p.is_symlink() for p in got.values()) else None


def archive(files: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """A tar archive of files, and of entries as they are."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as made:
        for name, data in files.items():
            entry = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(data, bytes):
                entry.size = len(data)
            made.addfile(entry, io.BytesIO(data if isinstance(data, bytes) else b""))
    return content.getvalue()


def _entry(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, link, size
    return entry


def _quoted(text: str) -> str:
    """As sh prints it."""
    return "'" + text.replace("'", "'\\''") + "'"


def _answered(text: str, before: str = "", after: str = "") -> str:
    """A script that answers, with other things around."""
    return f"{before}{MARK}printf %s {_quoted(text)}; {MARK}{after}exit 0"


def _honest(far: _Far) -> Iterator[Attack]:
    """That the others fail for what they do: these are fine."""
    for command in GOOD:
        yield from far.attack("harmless", command, (0,))
    yield from far.attack("harmless, by rsync", "build", (0,), probe=_probed(rsync=True))


def _probed(**values: Any) -> bytes:
    return json.dumps({**PROBED, **values}).encode()


def _noise(far: _Far) -> Iterator[Attack]:
    """A login that prints: its answers are found, or are missing."""
    good, probe = json.dumps(GOOD["profile"]), json.dumps(PROBED)
    carriage = r"""printf '\r\n%s\r\n' "$mark"; """
    evil = _quoted(json.dumps({**PROBED, "root": "/tmp/evil"}))
    for name, noise in {
        "banner": "echo Welcome; ",
        "banner of JSON": f"echo {evil}; ",
        "banner of bytes": r"printf '\377\000\033[2J'; ",
        "banner of 2 MiB": "head -c 2097152 /dev/zero; ",
        "banner of a marker": r"printf '\n%032d\n' 0; ",
        "banner on stderr": r"printf '\033[2Jfix: evil\n' >&2; ",
    }.items():
        for where in ("before", "after"):
            told = {where: noise}
            yield from far.attack(
                f"harmless {name} {where}", "profile", (0,),
                probe=_answered(probe, **told), command=_answered(good, **told),
            )  # fmt: skip
    for name, script in {
        "one marker": f"{MARK}printf %s {_quoted(probe)}; exit 0",
        "no marker": f"printf %s {_quoted(probe)}; exit 0",
        "three markers": f"{MARK}printf %s {_quoted(probe)}; {MARK}printf %s {evil}; {MARK}exit 0",
        "a marker within": f"{MARK}printf '[%s' \"$mark\"; {MARK}exit 0",
        "a marker of other lines": f"{carriage}printf %s {_quoted(probe)}; {carriage}exit 0",
        "markers without end": 'exec yes "$mark"',
    }.items():
        yield from far.attack(name, probe=script)
        yield from far.attack(f"result with {name}", "evaluate", command=script)


def _texts(far: _Far) -> Iterator[Attack]:
    """What is no JSON, or is more than there is room for."""
    for number, (name, text) in enumerate(texts().items()):
        act = ACTIONS[number % len(ACTIONS)]
        command = "build" if act == "engines" else "profile"
        yield from far.attack(f"{act} is {name}", command, **{act: text})
        yield from far.attack(f"result is {name}", "evaluate", command=text)


def _codes(far: _Far) -> Iterator[Attack]:
    good = f"{MARK}printf %s {_quoted(json.dumps(GOOD['profile']))}; {MARK}"
    for code in (1, 2, 3, 4, 77, 126, 127, 128, 129, 137, 141, 254, 255):
        # What a far end exits with, this side does; a result that came is shown as it is.
        yield from far.attack(
            f"exit {code} of nothing", "profile", (code if code < 128 else 3, 3, 128),
            command=f"{MARK}{MARK}echo 'error: no' >&2; echo 'fix: x' >&2; exit {code}",
        )  # fmt: skip
        yield from far.attack(
            f"exit {code} of a result", "profile", ANY, command=f"{good}exit {code}"
        )
    for act in ("probe", "mkdir", "hashes", "tar-xf", "missing", "xargs", "connect"):
        for end in ("exit 1", "exit 255", "kill -9 $$"):
            # What is not known to be there is sent.
            codes = ANY if act in ("xargs", "hashes") else (3,)
            said = r"printf 'error: x\033[2J\n\nfix: y\n' >&2; "
            yield from far.attack(f"{act}: {end}", "profile", codes, **{act: f"{said}{end}"})
    yield from far.attack("rsync fails", probe=_probed(rsync=True), rsync="echo no >&2; exit 23")
    yield from far.attack("installs and lacks", missing=b'["x"]')


def _endless(far: _Far) -> Iterator[Attack]:
    """What prints without end, on either stream."""
    for act in ("probe", "mkdir", "hashes", "tar-xf", "tar-cf", "command", "rsync"):
        command = "build" if act == "tar-cf" else "profile"
        by: dict[str, str | bytes] = {"probe": _probed(rsync=True)} if act == "rsync" else {}
        for name, script in {
            "zeros": "exec cat /dev/zero",
            "lines of errors": "exec yes fix >&2",
            "one line of errors": "exec cat /dev/zero >&2",
            "zeros behind a marker": f"{MARK}exec cat /dev/zero",
        }.items():
            yield from far.attack(f"{act} prints {name}", command, **{**by, act: script})
    yield from far.attack(
        "archive, then zeros", "build", **{"tar-cf": f'{MARK}cat "$far/whole"; exec cat /dev/zero'}
    )


def _machines(far: _Far) -> Iterator[Attack]:
    """What a machine says of itself goes into commands."""
    refused: dict[str, dict[str, Any]] = {
        "root of a line": {"root": "/r\nrm"},
        "relative root": {"root": "r"},
        "root of an option": {"root": "-x"},
        "root of another host": {"root": "evil.invalid:/x"},
        "long root": {"root": "/" + "r" * 5000},
        "interpreter with options": {"interpreter": "/bin/sh -c evil"},
        "interpreter of a line": {"interpreter": "/bin/sh\nevil"},
        "old Python": {"version": [2, 7]},
        "three numbers": {"version": [3, 11, 2]},
        "huge version": {"version": [10**5000 // 10**4000, 1.5]},
        "rsync of a text": {"rsync": "yes"},
    }
    for name, values in refused.items():
        yield from far.attack(f"machine with {name}", probe=_probed(**values))
    taken: dict[str, dict[str, Any]] = {
        "root of a shell": {"root": "/r$(touch evil)`touch evil`;touch evil"},
        "root of quotes": {"root": "/r'\"\\ #*?"},
        "root above": {"root": "/../.."},
        "new Python": {"version": [3, 10**30]},
        "more keys": {"evil": 1},
        "interpreter of a shell": {"interpreter": "/bin/$(touch${IFS}evil)"},
    }
    for name, values in taken.items():
        for rsync in (False, True):
            told = _probed(**values, rsync=rsync)
            yield from far.attack(f"machine with {name}, rsync {rsync}", "profile", ANY, probe=told)
    lacking = json.dumps(["-r /etc/passwd", "x; touch evil", "\x1b[2J"]).encode()
    yield from far.attack("lacks options of pip", missing=lacking)
    stale = json.dumps(dict.fromkeys(("../x", "/etc/x", "-rf", "a\nb", "\x1b[2J"), "0" * 64))
    yield from far.attack("has files elsewhere", "profile", ANY, hashes=stale.encode())
    many = json.dumps({f"f{n}": "0" * 64 for n in range(200_000)})
    yield from far.attack("has 200,000 files", "profile", ANY, hashes=many.encode())


def _results(far: _Far) -> Iterator[Attack]:
    """Results of another kind: every value of each is something else once."""
    for command, good in GOOD.items():
        for number, (key, value) in enumerate(good.items()):
            for odd_name, odd in VALUES[number % 4 :: 4]:
                told = json.dumps({**good, key: odd}).encode()
                yield from far.attack(f"{key} is {odd_name}", command, ANY, command=told)
            if number % 4 == 0:
                told = json.dumps({k: v for k, v in good.items() if k != key}).encode()
                yield from far.attack(f"{key} is missing", command, ANY, command=told)
            if isinstance(value, list):
                for count in (0, 1, 3):
                    told = json.dumps({**good, key: value[:1] * count}).encode()
                    yield from far.attack(f"{key} of {count}", command, ANY, command=told)
    others: dict[str, dict[str, Any]] = {
        "energy alone": {"energy_mj": 1.0},
        "layers of others": {"layers": [{"x": 1}]},
        "placement of others": {"placement": [{"unit": "cpu"}]},
        "names of others": {"target": "x" * 100_000},
        "phases alone": {"h2d_ms": 1.0},
        "huge figures": {"p50_ms": 1e308, "throughput_ips": 5e-324},
    }
    for name, more in others.items():
        row = {**GOOD["profile"], **more, "batches": [{**GOOD["profile"]["batches"][0], **more}]}
        yield from far.attack(name, "profile", ANY, command=json.dumps(row).encode())


def _names(far: _Far) -> Iterator[Attack]:
    """Engines of other names."""
    for name in ("../e", "engines/../../e", "/etc/passwd", "engines/", "engines/.x", "e", "engines",
                 "engines/a/b", "engines/\x1b[2J", "engines/-x", "engines/" + "e" * 300,
                 "engines/e\n", "../outside/sentinel", ""):  # fmt: skip
        told = json.dumps({**BUILT, "engine": name}).encode()
        yield from far.attack(f"engine {name[:40]!r}", "build", command=told)
    for name in ("engines/other", "engines/e.json", "engines/é"):
        told = json.dumps({**BUILT, "engine": name}).encode()
        yield from far.attack(f"engine {name!r}", "build", command=told)
    told = json.dumps({**BUILT, "engine": None}).encode()
    yield from far.attack("no engine", "build", (0,), command=told)


def _archives(far: _Far) -> Iterator[Attack]:
    """What comes back instead of an engine and its record."""
    e, record, up = ENGINE["e"], ENGINE["e.json"], "../../outside/sentinel"
    sent: dict[str, dict[str, bytes | tarfile.TarInfo]] = {
        "nothing": {},
        "less": {"e": e},
        "more": {**ENGINE, "x": b""},
        "other content": {"e": b"altered", "e.json": record},
        "a name above": {up: e, "e.json": record},
        "an absolute name": {"/tmp/edgeresnet-evil": e, "e.json": record},
        "a dotted name": {"./e": e, "./e.json": record},
        "a folder": {"e": _entry("e", tarfile.DIRTYPE), "e.json": record},
        "a pipe": {"e": _entry("e", tarfile.FIFOTYPE), "e.json": record},
        "a device": {"e": _entry("e", tarfile.CHRTYPE), "e.json": record},
        "a link": {"e": _entry("e", tarfile.SYMTYPE, up), "e.json": record},
        "a hard link": {"e": _entry("e", tarfile.LNKTYPE, up), "e.json": record},
        "a link to the other": {"e": e, "e.json": _entry("e.json", tarfile.LNKTYPE, "e")},
        "a link, and through it": {"e": _entry("e", tarfile.SYMTYPE, ".."), "e/x": e},
        "control signs": {"e\x1b[2J": e, "e.json": record},
        "a long name": {"e" * 5000: e, "e.json": record},
    }
    for name, files in sent.items():
        yield from far.attack(f"sends {name}", "build", **{"tar-cf": archive(files)})
    twice = archive({"e": e})[:1024] + archive(ENGINE)
    whole = archive(ENGINE)
    hole = tarfile.TarInfo("e")
    hole.size = 1 << 60
    for name, content in {
        "a file twice": twice,
        "half": whole[:700],
        "a head": whole[:512],
        "noise": bytes(range(256)) * 400,
        "zip": b"PK\x03\x04" + bytes(1000),
        "gzip": b"\x1f\x8b\x08" + bytes(1000),
        "a file of 2^60 bytes": hole.tobuf() + bytes(4096),
        "200,000 files": archive({"x": b""})[:512] * 200_000,
        "200,000 files of one name": archive({"e": b""})[:512] * 200_000,
        "a head of 100 MiB": _pax(100 << 20),
        "a head in heads": _pax(10) * 2000,
        "a sparse file": _sparse(),
    }.items():
        yield from far.attack(f"sends {name}", "build", **{"tar-cf": content})
    for name, told in {
        "of other hashes": dict.fromkeys(ENGINE, "0" * 64),
        "of no hashes": {},
        "of hashes above": {f"../{n}": sha256_bytes(c) for n, c in ENGINE.items()},
    }.items():
        yield from far.attack(f"engines {name}", "build", engines=json.dumps(told).encode())
    loud = f'{MARK}head -c 2097152 /dev/zero >&2; cat "$far/whole"; {MARK}exit 0'
    yield from far.attack("sends errors first", "build", ANY, **{"tar-cf": loud})


def _pax(size: int) -> bytes:
    """A head that says more of the next file."""
    head = tarfile.TarInfo("h")
    head.type, head.size = tarfile.XHDTYPE, size
    return head.tobuf() + bytes(min(size, 1 << 20) + 511 & ~511)


def _sparse() -> bytes:
    head = tarfile.TarInfo("e")
    head.type = tarfile.GNUTYPE_SPARSE
    content = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    content[483:495] = b"77777777777\0"
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 256 + sum(content[156:512]))
    return bytes(content) + bytes(1024)


def _terminal(far: _Far, rng: np.random.Generator) -> Iterator[Attack]:
    """What would steer a terminal, wherever a far end's text is shown."""
    profile, evaluate = GOOD["profile"], GOOD["evaluate"]
    for number, (name, text) in enumerate(PAYLOADS.items()):
        text += "".join(rng.choice(list("abc äö"), 3))
        told = json.dumps({**profile, "target": text, "device": text, "warnings": [text]})
        yield from far.attack(f"terminal: {name}", "profile", ANY, command=told.encode())
        told = json.dumps({**evaluate, "per_class": {text: 0.5}, "skipped": [text]})
        yield from far.attack(f"terminal: {name}", "evaluate", ANY, command=told.encode())
        raw = os.fsencode(text) if "\ud800" not in text else b"\xed\xa0\x80"
        script = "".join(f"\\{byte:03o}" for byte in raw)
        # A line of progress, of an error, of a refusal to connect, and of installing.
        act = ("command", "mkdir", "connect", "tar-xf")[number % 4]
        yield from far.attack(
            f"terminal: {name} by {act}", "profile", REFUSED,
            **{act: f"printf '{script}\\nerror: {script}\\nfix: {script}\\n' >&2; exit 1"},
        )  # fmt: skip


def _changed(far: _Far, rng: np.random.Generator) -> Iterator[Attack]:
    """Good answers, of which a value or some bytes are others."""
    acts = [(c, "command", GOOD[c]) for c in GOOD] + [("profile", "probe", PROBED)]
    for number in range(60):
        command, act, good = acts[number % len(acts)]
        told = json.dumps(changed(good, rng)).encode()
        yield from far.attack(f"changed {act} {number}", command, ANY, **{act: told})
    for number in range(30):
        content = bytearray(archive(ENGINE))
        for _ in range(int(rng.integers(1, 5))):
            content[int(rng.integers(1600))] = int(rng.integers(256))
        yield from far.attack(
            f"changed archive {number}", "build", ANY, **{"tar-cf": bytes(content)}
        )
