"""What an honest far end answers, and what another may."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

PROBED: dict[str, Any] = {
    "version": [3, 11], "root": "/r", "rsync": False, "interpreter": None,
}  # fmt: skip
_TIMES = dict.fromkeys(
    ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "std_ms", "load_ms", "first_ms"), 1.5
)
_OF = {"target": "onnx", "device": "cpu", "precision": "fp32"}
_PLACEMENT = [
    {"unit": "cpu", "precision": "fp32", "layers": 3, "layers_share": 1.0, "macs_share": 1.0}
]
_ROW: dict[str, Any] = {
    **_OF, **_TIMES, "batch": 1, "throughput_ips": 9.0, "threads": 1, "n": 50, "environment": {},
    "board": {}, "warnings": ["w"], "placement": _PLACEMENT,
}  # fmt: skip
_LAYER = {
    "name": "conv", "op": "Conv", "precision": "fp32", "unit": "cpu", "time_ms": 0.1, "share": 1.0,
    "macs": 9, "gmacs_per_s": 0.5, "peak_share": 0.1, "nodes": ["conv"], "kernel": "conv_token_1",
}  # fmt: skip
_OF_PEAK = {
    "share": 0.1, "gmacs_per_s": 0.5, "peak_gmacs_per_s": {"fp32": 5.0}, "limit": "below_peak",
    "lost_ms": {"below_peak": 0.09}, "busy": False, "text": "10 % of the peak here",
}  # fmt: skip
_LOSS = {"kind": "unfused add", "layer": "add", "why": "w", "lost_ms": 0.1, "command": "c"}
FIGURES: dict[str, Any] = {
    "profile": {**_ROW, "schema": 1, "batches": [_ROW], "layers": [_LAYER],
                "layers_ms": 0.1, "layers_run_ms": 0.2, "of_peak": _OF_PEAK, "why_slow": [_LOSS]},
    "evaluate": {
        **_OF, "schema": 1, "answers": "logits", "n": 2, "top1": 0.5, "top5": 1.0,
        "top1_interval": [0.1, 0.9], "per_class": {"a": 1.0, "b": None}, "data": "photos",
        "skipped": [], "conversions": {}, "doubts": ["d"], "preprocess_ms": 1.0, "run_ms": 1.0,
        "emulated": False, "placement": _PLACEMENT, "balanced_accuracy": 0.5, "macro_f1": 0.5,
        "calibration_error": 0.1, "confusion": {"a": {"a": 1}},
    },
}  # fmt: skip
VALUES: list[tuple[str, Any]] = [
    ("null", None),
    ("a text", "x"),
    ("a list", []),
    ("an object", {}),
    ("negative", -1),
    ("huge", 10**400),
    ("true", True),
    ("a list of texts", ["\x1b[2J", "b"]),
    ("deep", {"a": [[[[{}]]]]}),
]
_LEAVES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    0.5,
    "",
    "x",
    "\x1b[2J",
    "a\nfix: b",
    [],
    {},
    [None],
)


def texts() -> dict[str, bytes]:
    """What is no JSON, none of the command, or too much of it."""
    return {
        "cut": b'{"version": [3, 1',
        "a list": b"[1]",
        "null": b"null",
        "a number": b"7",
        "a text": b'"x"',
        "deep lists": b"[" * 200_000,
        "deep objects": b'{"a":' * 100_000,
        "deep within": b'{"environment": ' + b"[" * 200 + b"]" * 200 + b"}",
        "NaN": b'{"top1": NaN}',
        "infinite": b'{"top1": 1e999}',
        "a key twice": b'{"root": "/a", "root": "/b"}',
        "a number of many digits": b'{"n": ' + b"9" * 10_000 + b"}",
        "half a surrogate": b'{"target": "\\ud800"}',
        "no text": b"\xff\xfe\x00",
        "zeros": bytes(100_000),
        "two answers": b"{}{}",
        "100,000 keys": b"{" + b",".join(b'"%d":0' % n for n in range(100_000)) + b"}",
        "100,000 keys and one twice": b"{"
        + b",".join(b'"%d":0' % (n % 99_999) for n in range(100_000))
        + b"}",
        "40 MiB of a text": b'"' + b"x" * (40 << 20) + b'"',
        "escape sequences": b'{"\\u001b[2J": "\x1b]0;x\x07"}',
        "another command's": b'{"schema": 1, "rows": [], "baseline": null}',
    }


def changed(good: Any, rng: np.random.Generator) -> Any:
    """A copy with one to three values that are others, or are gone."""
    made = copy.deepcopy(good)
    for _ in range(int(rng.integers(1, 4))):
        here = made
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                break
            key = keys[int(rng.integers(len(keys)))]
            inner = here[key]
            if isinstance(inner, (dict, list)) and inner and rng.random() < 0.7:
                here = inner
                continue
            if rng.random() < 0.2:
                del here[key]
            else:
                here[key] = _LEAVES[int(rng.integers(len(_LEAVES)))]
            break
    return made
