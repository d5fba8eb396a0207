"""Results of a run as `edgeresnet run` leaves them, without a run."""

from __future__ import annotations

from typing import Any


def row(name: str, p50: float, top1: float = 0.97, **more: Any) -> dict[str, Any]:
    """A model that was timed."""
    return {
        "name": name, "target": "onnx", "device": "cpu", "precision": "int8", "answers": "logits",
        "n": 359, "top1": top1, "top5": 1.0, "top1_interval": [top1 - 0.02, top1 + 0.01],
        "top1_difference": {"value": -0.003, "low": -0.012, "high": 0.006},
        "agreement": 0.99, "agreement_interval": [0.98, 1.0], "runs": 100,
        "p50_ms": p50, "p99_ms": 2 * p50, "cold_p50_ms": 1.5 * p50, "load_ms": 10.0,
        "first_ms": 3 * p50, "speedup": {"value": 2.0, "low": 1.9, "high": 2.1},
        "speedup_against": "onnx-fp32", "emulated": False, "preprocess_ms": 0.2, **more,
    }  # fmt: skip


def rung(method: str, drop: float) -> dict[str, Any]:
    """A rung that was tried."""
    return {
        "method": method, "top1_int8": 0.97 - drop, "drop": drop,
        "drop_interval": [drop - 0.01, drop + 0.01], "agreement": 0.98, "images": 359,
        "seconds": 12.5, "doubts": [],
    }  # fmt: skip


def results(**more: Any) -> dict[str, Any]:
    """Of a run with two models, a budget and two rungs."""
    return {
        "schema": 1, "baseline": "onnx-fp32",
        "rows": [
            row("onnx-fp32", 2.0),
            row(
                "onnx-int8", 1.0, change_text="no drop shown; with 359 images one of 1 points",
                changed_classes=[
                    {"class": "shirt", "images": 36, "lost": 9, "gained": 0, "p": 0.01}
                ],
            ),
        ],
        "budgets": [
            {
                "name": "max_drop", "limit": 0.005, "value": 0.003, "low": -0.006, "high": 0.012,
                "met": True, "decision": "undecided", "candidate": "onnx-int8", "images": 359,
                "looks": [359], "images_needed": 14000,
            }
        ],
        "verdict": "pass", "verdict_text": "Every budget is met.", "strict": False,
        "data": "digits", "n": 359, "images_available": 359, "rounds": 100, "batch": 1,
        "note": None, "environment": {"cpu": "A processor", "versions": {"numpy": "2.1"}},
        "doubts": ["one class for all"], "recipe": "quickstart", "unmeasured": ["qnn-int8"],
        "device_commands": ["edgeresnet compare PATH/a PATH/b"],
        "rungs": [rung("ptq", 0.15), rung("equalize", 0.003)], **more,
    }  # fmt: skip
