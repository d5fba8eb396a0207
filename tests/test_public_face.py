"""``import edgeresnet``: what it gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

import edgeresnet

PUBLIC = {
    "load_checkpoint", "train", "prune", "quantize", "export", "open_model", "profile", "evaluate",
    "compare", "run_recipe", "run_front", "TaskContext", "ModelSettings", "TrainOptions",
    "PruneOptions",
    "QuantizeOptions", "ExportOptions", "BatchRange", "RunOptions", "Budgets", "EdgeResNetError",
    "InputChanges", "InputError", "MissingError", "CheckError", "adopt", "AdoptOptions",
    "NetworkTold", "fastest", "FastestOptions", "verify", "shard", "ShardOptions",
    "save_checkpoint",
}  # fmt: skip
HEAVY = ("torch", "torchvision", "onnx", "onnxruntime", "openvino", "numpy", "pydantic", "typer")


def test_the_exported_names_are_these() -> None:
    assert set(edgeresnet.__all__) == PUBLIC
    assert set(dir(edgeresnet)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_exported_name_is_a_function_or_a_class(name: str) -> None:
    # A sub-package of the name would hide it as soon as it is imported.
    assert isinstance(getattr(edgeresnet, name), (types.FunctionType, type))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'report_card'"):
        _ = edgeresnet.report_card


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, edgeresnet; print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_measuring_a_bundle_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import edgeresnet\n"
        "names = 'open_model profile evaluate compare export train run_recipe'.split()\n"
        "print([getattr(edgeresnet, name).__name__ for name in names])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
