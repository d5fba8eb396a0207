"""What ``trtexec`` prints, as NVIDIA documents it."""

from __future__ import annotations

import re
from typing import Any

from edgeresnet.errors import CheckError, InputError

SUMMARY = re.compile(
    r"(?P<what>Latency|Enqueue Time|H2D Latency|GPU Compute Time|D2H Latency): "
    r"(?P<figures>min = .*)$"
)
FIGURE = re.compile(r"(min|max|mean|median|percentile\((\d+)%\)) = ([\d.]+) ms")


def parse_version(text: str) -> str:
    """From the banner ``[TensorRT v8502]``; with two digits for each part since 10: ``v100300``."""
    match = re.search(r"\[TensorRT v([\d.]+)\]", text)
    if match is None:
        raise InputError("trtexec does not say its version", "install TensorRT again.")
    if "." in match[1]:
        return match[1]
    number = int(match[1])
    step = 10_000 if number >= 100_000 else 1_000
    return f"{number // step}.{number % step // 100}.{number % 100}"


def parse_device(output: str) -> tuple[str | None, str | None]:
    """The GPU's name and compute capability, from ``=== Device Information ===``."""
    name = re.search(r"Selected Device: (.+)$", output, re.M)
    capability = re.search(r"Compute Capability: ([\d.]+)", output)
    return (name[1].strip() if name else None), (capability[1] if capability else None)


def parse_summary(output: str, batch: int) -> dict[str, Any]:
    """Read ``=== Performance summary ===``.

    Returns:
        The keys of ``profile``: the latency from host to host, and the parts of it.

    Raises:
        CheckError: there is none.
    """
    lines = {m["what"]: m["figures"] for m in map(SUMMARY.search, output.splitlines()) if m}
    if "Latency" not in lines:
        raise CheckError(f"trtexec printed no latency: {last_error(output)}", "run it by hand.")
    latency = _figures(lines["Latency"])
    parts = {
        "h2d_ms": "H2D Latency",
        "compute_ms": "GPU Compute Time",
        "d2h_ms": "D2H Latency",
        "enqueue_ms": "Enqueue Time",
    }
    throughput = re.search(r"Throughput: ([\d.]+) qps", output)
    seconds = re.search(r"Total Host Walltime: ([\d.]+) s", output)
    runs_a_second = float(throughput[1]) if throughput else None
    runs = round(runs_a_second * float(seconds[1])) if runs_a_second and seconds else None
    return {
        "batch": batch,
        "load_ms": None,
        "first_ms": None,
        "p50_ms": latency.get("median"),
        **{f"p{q}_ms": latency.get(str(q)) for q in (90, 95, 99)},
        "mean_ms": latency.get("mean"),
        "std_ms": None,
        "throughput_ips": None if runs_a_second is None else runs_a_second * batch,
        "n": runs,
        **{
            key: _figures(lines[name]).get("median") for key, name in parts.items() if name in lines
        },
    }


def _figures(text: str) -> dict[str, float]:
    return {q or name: float(value) for name, q, value in FIGURE.findall(text)}


def numbers_of(version: str) -> tuple[int, ...]:
    """``10.3.0`` as (10, 3, 0)."""
    return tuple(int(part) for part in version.split("."))


def last_error(output: str) -> str:
    """The last line that reports a failure."""
    errors = [line for line in output.splitlines() if "[E]" in line or "FAILED" in line]
    return errors[-1].strip() if errors else "it gives no reason"
