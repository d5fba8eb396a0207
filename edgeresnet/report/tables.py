"""Results as terminal tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

from edgeresnet.report.decisions import decision_lines
from edgeresnet.report.figures import figure, ratio_text, row_name


def table_of(title: str, columns: Sequence[tuple[str, bool]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name, is_number in columns:
        table.add_column(
            name, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number
        )
    return table


def recipes_table(lines: Mapping[str, str]) -> Table:
    """One row a recipe: its name and what it does."""
    table = table_of("Recipes", [("name", False), ("what it does", False)])
    for name, text in lines.items():
        table.add_row(name, text)
    return table


def profile_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row a batch size."""
    first = rows[0]
    title = f"Latency in ms · {first['target']} · {first['device']} · {first['precision']}"
    columns = ["batch", "p50", "p90", "p95", "p99", "mean", "std", "img/s", "load", "first"]
    table = table_of(title, [(c, True) for c in columns])
    for row in rows:
        keys = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "std_ms")
        table.add_row(
            _short_label(row),
            *(figure(row[k], 2) for k in keys),
            figure(row["throughput_ips"], 1),
            figure(row["load_ms"], 0),
            figure(row["first_ms"], 1),
        )
    return table


def _short_label(row: Mapping[str, Any]) -> str:
    """``8``, or where more is swept over ``8 t2 x4``: of two threads, four runs at once."""
    parts = [str(row["batch"])]
    if "threads" in row.get("label", ""):
        parts.append(f"t{row['threads']}")
    if "at once" in row.get("label", ""):
        parts.append(f"x{row['concurrency']}")
    return " ".join(parts)


def energy_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row a batch size, of those with a power sensor."""
    measured = [row for row in rows if "energy_mj" in row]
    columns = ["batch", "mJ an input", "with idle", "W running", "W idle", "img/J"]
    table = table_of(f"Energy · {measured[0]['power_sensor']}", [(c, True) for c in columns])
    keys = ("energy_mj", "energy_with_idle_mj", "power_w", "idle_power_w")
    for row in measured:
        figures = (*(row[key] for key in keys), row.get("images_per_joule"))
        table.add_row(str(row["batch"]), *(figure(one, 2) for one in figures))
    return table


def phase_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where a run's time goes, one line for each row that knows."""
    parts = {
        "h2d_ms": "to device",
        "compute_ms": "compute",
        "d2h_ms": "back",
        "enqueue_ms": "launch",
    }
    return [
        f"batch {row['batch']}: "
        + ", ".join(f"{name} {row[key]:.3f} ms" for key, name in parts.items() if key in row)
        for row in rows
        if "compute_ms" in row
    ]


def evaluate_table(result: Mapping[str, Any]) -> Table:
    """Overall accuracy, then each class."""
    low, high = result["top1_interval"]
    title = (
        f"Accuracy · {result['target']} · {result['device']} · {result['precision']} · "
        f"{result['n']} images" + (" · emulated" if result.get("emulated") else "")
    )
    table = table_of(
        title, [("", False), ("top-1", True), ("95 % interval", True), ("top-5", True)]
    )
    table.add_row(
        "all classes", f"{result['top1']:.4f}", f"{low:.4f} to {high:.4f}", f"{result['top5']:.4f}"
    )
    for name, share in result["per_class"].items():
        table.add_row(f"  {name}", "–" if share is None else f"{share:.4f}", "", "")
    return table


def compare_table(result: Mapping[str, Any]) -> Table:
    """One row a model, the baseline first."""
    columns = [
        ("model", False), ("top-1", True), ("difference", True), ("agree", True),
        ("p50 ms", True), ("p99 ms", True), ("speed-up", True),
    ]  # fmt: skip
    n, available = result["n"], result.get("images_available", result["n"])
    images = f"{n} images" if n == available else f"{n} of {available} images"
    title = f"Before and after · {result['data']} · {images} · batch {result['batch']}"
    table = table_of(title, columns)
    table.collapse_padding = True  # leaves the names 6 characters more
    for row in result["rows"]:
        difference, faster = row["top1_difference"], row["speedup"]
        change = "–"
        if difference is not None and row["name"] != result["baseline"]:
            margin = (difference["high"] - difference["low"]) / 2
            change = f"{difference['value']:+.4f}±{margin:.4f}"
        table.add_row(
            f"{row['name']}{' *' * bool(row.get('fastest'))}",
            figure(row["top1"], 4),
            change,
            f"{row['agreement']:.4f}",
            figure(row["p50_ms"], 2),
            figure(row["p99_ms"], 2),
            ratio_text(faster) if faster else ("emulated" if row.get("emulated") else "–"),
        )
    return table


def cold_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line on runs with cold caches, which a device sees that does other work in between."""
    figures = [
        f"{row_name(row)} {row['cold_p50_ms']:.2f}"
        for row in rows
        if row.get("cold_p50_ms") is not None
    ]
    return [f"p50 in ms with cold caches: {', '.join(figures)}"] if figures else []


def agreement_table(result: Mapping[str, Any]) -> Table:
    """Share of images with the same top-1 class, for every pair of models."""
    names = [row["name"] for row in result["rows"]]
    numbered = [(f"{i}", True) for i in range(1, len(names) + 1)]
    table = table_of(f"Same top-1 class · {result['n']} images", [("model", False), *numbered])
    for i, (name, row) in enumerate(zip(names, result["agreements"], strict=True), start=1):
        table.add_row(f"{i} {name}", *(f"{share:.4f}" for share in row))
    return table


def budget_lines(result: Mapping[str, Any]) -> list[str]:
    """What became of each budget: the value with its 95 % interval, and how it was decided."""
    return [line for budget in result["budgets"] for line in decision_lines(budget)]


def inspect_table(result: Mapping[str, Any]) -> Table:
    """One row a layer; of a bare model, what it does not tell is left out or a dash."""
    table = table_of(
        " · ".join(_inspect_title(result)),
        [
            ("layer", False), ("op", False), ("channels", True), ("MMACs", True),
            ("precision", False),
        ],
    )  # fmt: skip
    for layer in result["layers"]:
        table.add_row(
            layer["name"],
            layer["op"],
            _text(layer["out_channels"]),
            "–" if layer["macs"] is None else f"{layer['macs'] / 1e6:.2f}",
            _text(layer["precision"]),
        )
    return table


def _inspect_title(result: Mapping[str, Any]) -> list[str]:
    folded = result.get("normalization_folded")
    parts: dict[str, Callable[[Any], str]] = {
        "arch": str,
        "stem": lambda value: f"stem {value}",
        "stride_in": lambda value: f"stride in {value}",
        "classes": lambda value: f"{len(value)} classes" if value else "no classifier",
        "image_size": lambda value: f"{value} px",
        "macs": lambda value: f"{value / 1e9:.3f} GMACs",
        "parameters": lambda value: (
            f"{value:,} parameters{' with normalization folded in' * bool(folded)}"
        ),
    }
    # A usual one goes without saying.
    told = {key: result[key] for key in parts if (key, result[key]) != ("stride_in", "3x3")}
    known = [parts[key](value) for key, value in told.items() if value is not None]
    return known if result["arch"] else [f"{result['target']} · {result['precision']}", *known]


def _text(value: object) -> str:
    return "–" if value is None else str(value)


def model_lines(result: Mapping[str, Any]) -> list[str]:
    """What a bare model file tells beside its layers; nothing for what has a manifest."""
    if "operators" not in result:
        return []
    lines = [
        f"{kind}: {tensor['name']} {tensor['dtype']} {_shape_text(tensor['shape'])}"
        for kind, key in (("input", "inputs"), ("output", "outputs"))
        for tensor in result[key] or ()
    ]
    counts = ", ".join(f"{count} {op}" for op, count in result["operators"].items())
    lines += [f"operators: {counts}"] if counts else []
    opset = f", opset {result['opset']}" if result["opset"] else ""
    return [*lines, f"{result['size_bytes'] / 2**20:.1f} MiB{opset}"]


def origin_lines(result: Mapping[str, Any]) -> list[str]:
    """What was assumed of a foreign checkpoint and left out of it, and what a bundle notices."""
    lines = [f"taken as {result['assumed']}"] if result.get("assumed") else []
    if found := result.get("golden_detection"):
        rate = "golden images catch {caught} of {mutants} mutants anywhere, {caught_there} where"
        lines.append(f"{rate.format(**found)} the export's kernels run")
    return [*lines, *result.get("notes", ())]


def _shape_text(shape: Sequence[int | None] | None) -> str:
    if shape is None:
        return "of any shape"
    return "(" + ", ".join("?" if side is None else str(side) for side in shape) + ")"


def engines_table(engines: Sequence[Mapping[str, Any]]) -> Table:
    """What was compiled for which device."""
    table = table_of("Engines", [("file", False), ("facts", False)])
    hidden = {"file", "schema", "model_sha256", "engine_sha256", "timing_cache_sha256"}
    for engine in engines:
        facts = [f"{k} {v}" for k, v in engine.items() if k not in hidden and v is not None]
        table.add_row(engine["file"], ", ".join(facts))
    return table


def widths_table(pruning: Mapping[str, Any]) -> Table:
    """Channels before and after pruning, of the stem, each residual stream and each block."""
    before, after = pruning["widths_before"], pruning["widths_after"]
    share = pruning["macs_after"] / pruning["macs_before"]
    title = f"Pruned by {pruning['criterion']} · {share:.2f} of the multiply-accumulates stay"
    table = table_of(title, [("channels", False), ("before", True), ("after", True)])
    table.add_row("stem", str(before["stem"]), str(after["stem"]))
    for s, (old, new) in enumerate(zip(before["streams"], after["streams"], strict=True), start=1):
        table.add_row(f"layer{s} stream", str(old), str(new))
        for b, blocks in enumerate(zip(before["inner"][s - 1], after["inner"][s - 1], strict=True)):
            texts = [" ".join(map(str, block)) or "removed" for block in blocks]
            table.add_row(f"layer{s}.{b} inner", *texts)
    return table


def devices_table(result: Mapping[str, Any]) -> Table:
    """What runs here, and what would have to be installed."""
    table = table_of(
        "Targets", [("target", False), ("version", False), ("devices, or what is missing", False)]
    )
    for target in result["targets"]:
        if target["available"]:
            lines = [f"{d['name']}: {d['description']}" for d in target["devices"]]
            lines = lines or [target["reason"] or "no device is here"]
            for lacking in target["missing"]:
                lines += [f"{lacking['name']}: {lacking['reason']}", f"  {lacking['fix']}"]
        else:
            lines = [f"{target['reason']}", f"{target['fix']}"]
        table.add_row(target["name"], target["version"] or "–", Group(*lines))
    return table


def share_lines(placement: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for people."""
    parts = []
    for share in placement:
        of_macs = share["macs_share"]
        work = "" if of_macs is None else f", {100 * of_macs:.1f} % of the multiply-accumulates"
        parts.append(
            f"{share['unit']} {share['precision']}: {share['layers']} layers "
            f"({100 * share['layers_share']:.0f} %){work}"
        )
    return ["ran on " + "; ".join(parts)] if parts else []
