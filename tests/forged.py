"""Bundles and runs that lie, with every hash and key made again so that none of these tells."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeresnet.device.bundle.manifest import GOLDEN, MANIFEST, Manifest
from edgeresnet.device.data.preprocess import to_input
from edgeresnet.device.measure.budgets import verdict_of
from edgeresnet.device.measure.statistics import paired_interval, wilson
from edgeresnet.device.targets.precision import float_precision
from edgeresnet.device.targets.registry import target_of
from edgeresnet.files.hashes import sha256_file
from edgeresnet.run.folder import RECORDS
from edgeresnet.run.making import Making
from edgeresnet.run.recorded import Recorded
from edgeresnet.run.stage_record import output_hashes
from edgeresnet.settings.measuring import RunOptions

Random = np.random.Generator
BUNDLE, FLOAT_BUNDLE = "onnx-int8", "onnx-fp32"


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")


def reseal_bundle(path: Path) -> None:
    """Make every hash of the manifest that of the file as it is."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["files"] = {name: sha256_file(path / name) for name in manifest["files"]}

    edit_json(path / MANIFEST, change)


def reseal_run(path: Path) -> None:
    """Make every key that of its settings, in their chain, and every hash that of its file."""
    run = Recorded(path)
    keys: dict[str, str] = {}
    for stage in sorted(run.records, key=lambda name: (name[:2], "dense" not in name, name)):
        record: dict[str, Any] = dict(run.records[stage])
        before = run.before(stage)
        if before is not None:
            record["settings"]["before"] = keys[before]
        record["key"] = keys[stage] = Making(stage, record["version"], record["settings"]).key
        if not stage.startswith("04-export"):
            record["outputs"] = output_hashes(path, run.checkpoint(stage))
        (path / RECORDS / f"{stage}.json").write_text(json.dumps(record), encoding="utf-8")


def manifest_of(bundle: Path) -> Manifest:
    return Manifest.from_json((bundle / MANIFEST).read_bytes())


def regild(bundle: Path) -> None:
    """Make the golden logits what the model answers, whatever it is, and all hashes."""
    manifest = manifest_of(bundle)
    images = np.load(bundle / GOLDEN)["images"]
    options = RunOptions(precision=float_precision(manifest.precision))
    with target_of(manifest.target).load(bundle / manifest.model, "cpu", options) as session:
        inputs = to_input(images, manifest.input_spec, raw=False, channels_last=False)
        logits = np.concatenate([session.run(inputs[i : i + 1]) for i in range(len(images))])
    np.savez_compressed(bundle / GOLDEN, images=images, logits=logits)
    loosen(bundle, 1.0)


def loosen(bundle: Path, times: float) -> None:
    """Make the bound so many times as wide, wherever it is told; then all hashes."""
    logits = np.load(bundle / GOLDEN)["logits"]

    def change(manifest: dict[str, Any]) -> None:
        manifest["logit_bound"] *= times
        manifest["golden_tolerance"] = manifest["logit_bound"] / (float(np.ptp(logits)) or 1.0)
        if "logit_bound" in manifest["proof"]:
            manifest["proof"]["logit_bound"] = manifest["logit_bound"]

    edit_json(bundle / MANIFEST, change)
    reseal_bundle(bundle)


def edit_model(bundle: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    path = bundle / manifest_of(bundle).model
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


def edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit_json(bundle / MANIFEST, change)
    reseal_bundle(bundle)


# --- bundles -------------------------------------------------------------------------------


def other_weights(bundle: Path, random: Random) -> None:
    """A swapped model: of the same shape, with other weights; golden logits are its own."""

    def change(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype in (np.float32, np.int8) and values.ndim > 1:
                flat = random.permutation(values.reshape(-1)).reshape(values.shape)
                tensor.CopyFrom(numpy_helper.from_array(flat, tensor.name))

    edit_model(bundle, change)
    regild(bundle)


def other_weights_alone(bundle: Path, random: Random) -> None:
    """A swapped model beside the golden logits of the right one."""
    golden = (bundle / GOLDEN).read_bytes()
    other_weights(bundle, random)
    (bundle / GOLDEN).write_bytes(golden)
    loosen(bundle, 1.0)


def constant_answers(bundle: Path, random: Random) -> None:
    """A model that ignores its input, and golden logits to match."""

    def change(model: onnx.ModelProto) -> None:
        output = model.graph.output[0].name
        last = next(node for node in model.graph.node if output in node.output)
        last.output[list(last.output).index(output)] = "computed"
        logits = random.standard_normal((1, 10)).astype(np.float32)
        nothing = numpy_helper.from_array(np.zeros((1, 1), np.float32), "nothing")
        stored = numpy_helper.from_array(logits, "stored")
        model.graph.initializer.extend([nothing, stored])
        model.graph.node.extend([
            helper.make_node("Mul", ["computed", "nothing"], ["silenced"], name="silence"),
            helper.make_node("Add", ["silenced", "stored"], [output], name="speak"),
        ])  # fmt: skip

    edit_model(bundle, change)
    regild(bundle)


def cached_logits(bundle: Path, random: Random) -> None:
    """A model that knows the golden images and has their logits stored; else it is another."""
    manifest = manifest_of(bundle)
    golden = np.load(bundle / GOLDEN)
    known = to_input(golden["images"], manifest.input_spec, raw=False, channels_last=False)
    logits = golden["logits"]
    other_weights(bundle, random)

    def change(model: onnx.ModelProto) -> None:
        output, images = model.graph.output[0].name, model.graph.input[0].name
        last = next(node for node in model.graph.node if output in node.output)
        last.output[list(last.output).index(output)] = "computed"
        constants = {
            "known": known.reshape(len(known), -1).astype(np.float32),
            "stored": logits.astype(np.float32),
            "near": np.float32(1e-3).reshape(1, 1),
            "one": np.float32(1).reshape(1, 1),
            "flat": np.array([1, -1], np.int64),
        }
        axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
        model.graph.initializer.extend(
            [numpy_helper.from_array(np.array(v), k) for k, v in constants.items()] + [axes]
        )
        steps = [
            ("Reshape", ["images_", "flat"], "row", {}),
            ("Sub", ["row", "known"], "apart", {}),
            ("Abs", ["apart"], "size", {}),
            ("ReduceMax", ["size", *(["axes"] if opset(model) >= 18 else [])], "far",
             {"keepdims": 1} if opset(model) >= 18 else {"axes": [1], "keepdims": 1}),
            ("Transpose", ["far"], "distance", {"perm": [1, 0]}),
            ("Less", ["distance", "near"], "hit", {}),
            ("Cast", ["hit"], "hits", {"to": TensorProto.FLOAT}),
            ("MatMul", ["hits", "stored"], "looked_up", {}),
            ("ReduceMax", ["hits", *(["axes"] if opset(model) >= 18 else [])], "any",
             {"keepdims": 1} if opset(model) >= 18 else {"axes": [1], "keepdims": 1}),
            ("Sub", ["one", "any"], "none", {}),
            ("Mul", ["computed", "none"], "fallback", {}),
            ("Add", ["looked_up", "fallback"], output, {}),
        ]  # fmt: skip
        model.graph.node.extend(
            helper.make_node(op, [images if n == "images_" else n for n in inputs], [made],
                             name=f"lookup_{made}", **attributes)
            for op, inputs, made, attributes in steps
        )  # fmt: skip

    edit_model(bundle, change)
    np.savez_compressed(bundle / GOLDEN, images=golden["images"], logits=logits)
    loosen(bundle, 1.0)


def opset(model: onnx.ModelProto) -> int:
    return next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))


def golden_edited(bundle: Path, random: Random) -> None:
    """The golden logits of one image are those of another class."""
    golden = dict(np.load(bundle / GOLDEN))
    place = int(random.integers(len(golden["logits"])))
    golden["logits"][place] = np.roll(golden["logits"][place], 1)
    np.savez_compressed(bundle / GOLDEN, **golden)
    loosen(bundle, 1.0)


def bound_widened(bundle: Path, random: Random) -> None:
    """A bound within which a damaged network would be right, in all three places."""
    loosen(bundle, float(random.uniform(2, 3)))

    def change(manifest: dict[str, Any]) -> None:
        if manifest["proof"]["largest_difference"] <= manifest["logit_bound"]:
            manifest["proof"]["share_outside"] = 0.0

    edit_manifest(bundle, change)


def precision_edited(bundle: Path, random: Random) -> None:
    """A float model whose manifest says INT8, layer by layer."""

    def change(manifest: dict[str, Any]) -> None:
        other = "fp32" if manifest["precision"] == "int8" else "int8"
        manifest["precision"] = other
        for layer in manifest["layers"]:
            layer["precision"] = other

    edit_manifest(bundle, change)


def layer_precision_edited(bundle: Path, random: Random) -> None:
    """One layer is said to be of the other kind."""

    def change(manifest: dict[str, Any]) -> None:
        layer = manifest["layers"][int(random.integers(len(manifest["layers"])))]
        layer["precision"] = "fp32" if layer["precision"] == "int8" else "int8"

    edit_manifest(bundle, change)


def sizes_edited(bundle: Path, random: Random) -> None:
    """A layer is said to be smaller, and the sums follow."""

    def change(manifest: dict[str, Any]) -> None:
        layer = manifest["layers"][int(random.integers(len(manifest["layers"])))]
        for key in ("macs", "parameters"):
            less = int(layer[key] * random.uniform(0.3, 0.7))
            manifest[key] -= layer[key] - less
            layer[key] = less

    edit_manifest(bundle, change)


def sum_edited(bundle: Path, random: Random) -> None:
    """The sum of the multiply-accumulates alone is said to be half."""
    edit_manifest(bundle, lambda manifest: manifest.update(macs=manifest["macs"] // 2))


def layer_removed(bundle: Path, random: Random) -> None:
    """A layer is left out of the list, and the sums follow."""

    def change(manifest: dict[str, Any]) -> None:
        layer = manifest["layers"].pop(int(random.integers(len(manifest["layers"]))))
        for key in ("macs", "parameters"):
            manifest[key] -= layer[key]

    edit_manifest(bundle, change)


def normalization_edited(bundle: Path, random: Random) -> None:
    """Images are said to be normalized otherwise."""

    def change(manifest: dict[str, Any]) -> None:
        shift = float(random.uniform(0.1, 0.3))
        manifest["input_spec"]["mean"] = [m + shift for m in manifest["input_spec"]["mean"]]

    edit_manifest(bundle, change)


def detection_edited(bundle: Path, random: Random) -> None:
    """More damaged networks are said to be caught than were made."""

    def change(manifest: dict[str, Any]) -> None:
        made = int(random.integers(10, 100))
        manifest["golden_detection"] = {"mutants": made, "caught": made + 5, "caught_there": made}

    edit_manifest(bundle, change)


def kernel_removed(bundle: Path, random: Random) -> None:
    """One convolution of an INT8 network is left in float: its inputs are no longer quantized."""

    def change(model: onnx.ModelProto) -> None:
        made = {name: node for node in model.graph.node for name in node.output}
        layers = [node for node in model.graph.node if node.op_type == "Conv"]
        layer = layers[int(random.integers(1, len(layers)))]
        dequantize = made[layer.input[0]]
        quantize = made[dequantize.input[0]]
        # What stood before quantizing, as float; another runtime would fuse no integer kernel.
        layer.input[0] = quantize.input[0]

    edit_model(bundle, change)
    regild(bundle)


BUNDLES: Mapping[str, Callable[[Path, Random], None]] = {
    "other weights beside the right golden logits": other_weights_alone,
    "a model that ignores its input": constant_answers,
    "cached logits": cached_logits,
    "edited golden logits": golden_edited,
    "edited precision": precision_edited,
    "edited precision of a layer": layer_precision_edited,
    "edited sizes": sizes_edited,
    "edited sum": sum_edited,
    "a layer left out": layer_removed,
    "edited normalization": normalization_edited,
    "edited detection": detection_edited,
}
# These are found only beside the checkpoint, or need integers.
IN_RUN: Mapping[str, Callable[[Path, Random], None]] = {
    "a swapped model with its own golden logits": other_weights,
    "a bound that was made wider": bound_widened,
    "a kernel removed": kernel_removed,
}


# --- runs ----------------------------------------------------------------------------------


def _row(results: dict[str, Any], name: str) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in results["rows"] if row["name"] == name)
    return row


def _rejudge(results: dict[str, Any]) -> None:
    """The verdict that follows from the edited figures."""
    anew = verdict_of(
        results["budgets"], strict=results["strict"], doubts=results.get("doubts", ()),
        rows=results["rows"],
    )  # fmt: skip
    results.update(anew)


def accuracy_edited(run: Path, random: Random) -> None:
    """INT8 is said to be right more often, and every figure that follows from it is made anew."""

    def change(results: dict[str, Any]) -> None:
        row, before = _row(results, BUNDLE), results["rows"][0]
        n, more = row["n"], int(random.integers(2, 9))
        row["gained"] += more
        right = round(row["top1"] * n) + more
        row["top1"], row["top1_interval"] = right / n, list(wilson(right, n))
        row["top5"] = max(row["top5"], row["top1"])
        row["agreement"] = min(row["agreement"], 1 - (row["lost"] + row["gained"]) / n)
        change = paired_interval(row["gained"], row["lost"], n)
        row["top1_difference"] = {
            "value": row["top1"] - before["top1"], "low": change.low, "high": change.high
        }  # fmt: skip
        for budget in results["budgets"]:
            if budget["name"] == "max_drop":
                budget["value"] = before["top1"] - row["top1"]
        _rejudge(results)

    edit_json(run / "results.json", change)


def agreement_edited(run: Path, random: Random) -> None:
    """INT8 is said to answer as the float network does; or, where it does, not to."""

    def change(results: dict[str, Any]) -> None:
        row = _row(results, BUNDLE)
        if row["agreement"] == 1.0:
            row["agreement"] = 1 - 3 / row["n"]
            return
        row["agreement"], row["agreement_interval"] = 1.0, list(wilson(row["n"], row["n"]))
        row["lost"] = row["gained"] = 0
        row["top1"] = results["rows"][0]["top1"]
        row["top1_interval"] = results["rows"][0]["top1_interval"]
        row["top1_difference"] = {**row["top1_difference"], "value": 0.0}
        row["top1_difference"]["low"] = min(0.0, row["top1_difference"]["low"])
        row["top1_difference"]["high"] = max(0.0, row["top1_difference"]["high"])
        results["agreements"] = [[1.0] * len(results["rows"]) for _ in results["rows"]]
        results["changed_images"] = []
        _rejudge(results)

    edit_json(run / "results.json", change)


def interval_edited(run: Path, random: Random) -> None:
    """An interval is narrower than so many images allow."""

    def change(results: dict[str, Any]) -> None:
        row = _row(results, BUNDLE)
        row["top1_interval"] = [row["top1"] - 0.01, row["top1"] + 0.01]

    edit_json(run / "results.json", change)


def changed_images_edited(run: Path, random: Random) -> None:
    """The images whose answer changed are left out; where there are none, one is invented."""
    invented = {"image": "digits/val/0", "index": 0, "label": "0", "answers": {BUNDLE: "1"}}

    def change(results: dict[str, Any]) -> None:
        results["changed_images"] = [] if results["changed_images"] else [invented]

    edit_json(run / "results.json", change)


def budget_edited(run: Path, random: Random) -> None:
    """The drop that is held against its budget is said to be smaller."""

    def change(results: dict[str, Any]) -> None:
        for budget in results["budgets"]:
            budget["value"] -= float(random.uniform(0.03, 0.2))
        _rejudge(results)

    edit_json(run / "results.json", change)


def verdict_edited(run: Path, random: Random) -> None:
    """The verdict is another than the budgets come to."""

    def change(results: dict[str, Any]) -> None:
        results["verdict"] = "fail" if results["verdict"] == "pass" else "pass"

    edit_json(run / "results.json", change)


def _scale(row: dict[str, Any], factor: float) -> None:
    for key, value in row.items():
        if key.endswith("_ms") and isinstance(value, (int, float)):
            row[key] = value / factor
        elif key.endswith("_ms") and isinstance(value, list):
            row[key] = [one / factor for one in value]
    row["throughput_ips"] *= factor


def latency_edited(run: Path, random: Random) -> None:
    """One row is said to be two to five times as fast, and every figure follows."""

    def change(results: dict[str, Any]) -> None:
        factor = float(random.uniform(2, 5))
        row = _row(results, BUNDLE)
        _scale(row, factor)
        row["speedup"] = {k: v and v * factor for k, v in row["speedup"].items()}

    edit_json(run / "results.json", change)


def all_latencies_edited(run: Path, random: Random) -> None:
    """All rows are said to be as much faster, so that no ratio tells."""

    def change(results: dict[str, Any]) -> None:
        factor = float(random.uniform(2, 5))
        for row in results["rows"]:
            _scale(row, factor)

    edit_json(run / "results.json", change)


def speedup_edited(run: Path, random: Random) -> None:
    """The speed-up alone is said to be larger."""

    def change(results: dict[str, Any]) -> None:
        row = _row(results, BUNDLE)
        factor = float(random.uniform(1.3, 5))
        row["speedup"] = {k: v and v * factor for k, v in row["speedup"].items()}

    edit_json(run / "results.json", change)


def p99_edited(run: Path, random: Random) -> None:
    """A p99 below the median."""

    def change(results: dict[str, Any]) -> None:
        row = _row(results, BUNDLE)
        row["p99_ms"] = row["p50_ms"] * float(random.uniform(0.3, 0.9))

    edit_json(run / "results.json", change)


def class_names_edited(run: Path, random: Random) -> None:
    """Two class names of a bundle stand in each other's place."""

    def change(manifest: dict[str, Any]) -> None:
        names = manifest["classes"]
        one, other = random.choice(len(names), 2, replace=False)
        names[one], names[other] = names[other], names[one]

    edit_manifest(run / "04-export" / BUNDLE, change)


def proof_edited(run: Path, random: Random) -> None:
    """The proof is said to have seen a smaller difference."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["proof"]["largest_difference"] *= float(random.uniform(0.05, 0.3))
        manifest["proof"]["share_outside"] = 0.0

    edit_manifest(run / "04-export" / BUNDLE, change)


def saturation_edited(run: Path, random: Random) -> None:
    """Weights of 7 bits are said to have cost nothing, or to be none."""

    def change(manifest: dict[str, Any]) -> None:
        if manifest["saturation"].get("narrowed"):
            manifest["saturation"]["narrowed"] = manifest["saturation"]["narrowed"][1:]
        else:
            manifest["saturation"]["narrowed"] = ["fc"]

    edit_manifest(run / "04-export" / BUNDLE, change)


def bundle_widths_edited(run: Path, random: Random) -> None:
    """A bundle of narrower layers than the checkpoint's, in widths and layers."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["widths"]["stem"] //= 2
        layer = next(one for one in manifest["layers"] if one["name"] == "conv1")
        layer["out_channels"] //= 2

    edit_manifest(run / "04-export" / BUNDLE, change)


def checkpoint_swapped(run: Path, random: Random) -> None:
    """The float checkpoint is another network."""
    from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint

    path = run / "01-train" / "checkpoint.pt"
    checkpoint = load_checkpoint(str(path))
    state = {
        name: tensor.flip(0) if tensor.ndim > 1 else tensor
        for name, tensor in checkpoint.state_dict.items()
    }
    save_checkpoint(replace(checkpoint, state_dict=state), path)


def report_edited(run: Path, random: Random) -> None:
    """Quantizing is said to have cost less: in the report, the checkpoint, bundle and results."""
    from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint

    more = int(random.integers(8, 20))

    def change(figures: dict[str, Any]) -> None:
        n = figures["images"]
        figures["gained"] += more
        figures["top1_int8"] += more / n
        figures["drop"] = (figures["lost"] - figures["gained"]) / n
        own = paired_interval(figures["lost"], figures["gained"], n)
        figures["drop_interval"] = [own.low, own.high]
        next(iter(figures["class_changes"].values()))[2] += more
        for rung in figures["rungs"]:
            if rung is not figures:
                for key in ("top1_int8", "drop", "drop_interval", "gained"):
                    rung[key] = figures[key]

    edit_json(run / "03-quantize" / "report.json", change)
    path = run / "03-quantize" / "checkpoint.pt"
    checkpoint = load_checkpoint(str(path))
    quantization = json.loads(json.dumps(checkpoint.quantization))
    change(quantization)
    save_checkpoint(replace(checkpoint, quantization=quantization), path)
    edit_manifest(
        run / "04-export" / BUNDLE,
        lambda manifest: change(manifest["provenance"]["quantization"]),
    )
    rungs = json.loads((run / "03-quantize" / "report.json").read_text())["rungs"]
    edit_json(run / "results.json", lambda results: results.update(rungs=rungs))


def report_alone_edited(run: Path, random: Random) -> None:
    """The report is another than the checkpoint's."""
    edit_json(
        run / "03-quantize" / "report.json",
        lambda report: report.update(top1_int8=report["top1_int8"] + 0.05),
    )


def data_edited(run: Path, random: Random) -> None:
    """The run is said to be of other images."""

    def change(record: dict[str, Any]) -> None:
        record["settings"]["data"][1] = random.bytes(32).hex()

    edit_json(run / RECORDS / "01-train.json", change)


def images_edited(run: Path, random: Random) -> None:
    """Twice as many images are said to have been measured on."""

    def change(results: dict[str, Any]) -> None:
        results["n"] *= 2
        for row in results["rows"]:
            row["n"] *= 2

    edit_json(run / "results.json", change)


def settings_edited(run: Path, random: Random) -> None:
    """A stage is said to have been made with other settings, behind its key."""
    edit_json(
        run / RECORDS / "03-quantize.json",
        lambda record: record["settings"]["quantize"].update(observer="ema"),
    )


RUNS: Mapping[str, Callable[[Path, Random], None]] = {
    "edited accuracy": accuracy_edited,
    "edited agreement": agreement_edited,
    "an edited interval": interval_edited,
    "changed images left out": changed_images_edited,
    "an edited budget": budget_edited,
    "an edited verdict": verdict_edited,
    "edited latency": latency_edited,
    "all latencies edited": all_latencies_edited,
    "edited speed-up": speedup_edited,
    "an edited p99": p99_edited,
    "edited class names": class_names_edited,
    "an edited proof": proof_edited,
    "edited saturation": saturation_edited,
    "edited widths": bundle_widths_edited,
    "a swapped checkpoint": checkpoint_swapped,
    "an edited report": report_edited,
    "a report unlike its checkpoint": report_alone_edited,
    "edited data": data_edited,
    "edited images": images_edited,
}


def forge(run: Path, place: Path, name: str, seed: int) -> Path:
    """A copy of an honest run with one lie in it, and all hashes and keys made again.

    Args:
        run: honest.
        place: of the copy.
        name: of `RUNS`, or of `BUNDLES` and `IN_RUN`, for one of its bundles.
        seed: of what is drawn.
    """
    shutil.copytree(run, place)
    random = np.random.default_rng(seed)
    if name in RUNS:
        RUNS[name](place, random)
    else:
        bundle = FLOAT_BUNDLE if name == "edited precision" else BUNDLE
        (BUNDLES.get(name) or IN_RUN[name])(place / "04-export" / bundle, random)
    reseal_run(place)
    return place
