"""edgeresnet: from a trained ResNet to verified INT8 on an edge device.

What is public is loaded when it is first used: ``import edgeresnet`` imports nothing heavy, and on
a device nothing that needs PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeresnet.device.machine.process_environment import prepare

if TYPE_CHECKING:
    from edgeresnet.api.adopt import adopt
    from edgeresnet.api.compare import compare
    from edgeresnet.api.evaluate import evaluate
    from edgeresnet.api.export import export
    from edgeresnet.api.fastest import fastest
    from edgeresnet.api.opening import load_checkpoint, open_model
    from edgeresnet.api.profile import profile
    from edgeresnet.api.prune import prune
    from edgeresnet.api.quantize import quantize
    from edgeresnet.api.saving import save_checkpoint
    from edgeresnet.api.shard import shard
    from edgeresnet.api.train import train
    from edgeresnet.errors import CheckError, EdgeResNetError, InputError, MissingError
    from edgeresnet.progress import TaskContext
    from edgeresnet.run.front import run_front
    from edgeresnet.run.runner import run_recipe
    from edgeresnet.run.verify import verify
    from edgeresnet.settings.adoption import AdoptOptions
    from edgeresnet.settings.export import BatchRange, ExportOptions
    from edgeresnet.settings.inputs import InputChanges
    from edgeresnet.settings.measuring import Budgets, FastestOptions, RunOptions
    from edgeresnet.settings.network import NetworkTold
    from edgeresnet.settings.pruning import PruneOptions
    from edgeresnet.settings.quantization import QuantizeOptions
    from edgeresnet.settings.sharding import ShardOptions
    from edgeresnet.settings.training import ModelSettings, TrainOptions

__version__ = "0.1.0"
__all__ = [
    "AdoptOptions",
    "BatchRange",
    "Budgets",
    "CheckError",
    "EdgeResNetError",
    "ExportOptions",
    "FastestOptions",
    "InputChanges",
    "InputError",
    "MissingError",
    "ModelSettings",
    "NetworkTold",
    "PruneOptions",
    "QuantizeOptions",
    "RunOptions",
    "ShardOptions",
    "TaskContext",
    "TrainOptions",
    "adopt",
    "compare",
    "evaluate",
    "export",
    "fastest",
    "load_checkpoint",
    "open_model",
    "profile",
    "prune",
    "quantize",
    "run_front",
    "run_recipe",
    "save_checkpoint",
    "shard",
    "train",
    "verify",
]
_MODULES = {
    "edgeresnet.api.adopt": ("adopt",),
    "edgeresnet.api.compare": ("compare",),
    "edgeresnet.api.evaluate": ("evaluate",),
    "edgeresnet.api.export": ("export",),
    "edgeresnet.api.fastest": ("fastest",),
    "edgeresnet.api.opening": ("load_checkpoint", "open_model"),
    "edgeresnet.api.profile": ("profile",),
    "edgeresnet.api.prune": ("prune",),
    "edgeresnet.api.quantize": ("quantize",),
    "edgeresnet.api.saving": ("save_checkpoint",),
    "edgeresnet.api.shard": ("shard",),
    "edgeresnet.api.train": ("train",),
    "edgeresnet.errors": ("CheckError", "EdgeResNetError", "InputError", "MissingError"),
    "edgeresnet.progress": ("TaskContext",),
    "edgeresnet.run.front": ("run_front",),
    "edgeresnet.run.runner": ("run_recipe",),
    "edgeresnet.run.verify": ("verify",),
    "edgeresnet.settings.adoption": ("AdoptOptions",),
    "edgeresnet.settings.export": ("BatchRange", "ExportOptions"),
    "edgeresnet.settings.inputs": ("InputChanges",),
    "edgeresnet.settings.measuring": ("Budgets", "FastestOptions", "RunOptions"),
    "edgeresnet.settings.network": ("NetworkTold",),
    "edgeresnet.settings.pruning": ("PruneOptions",),
    "edgeresnet.settings.quantization": ("QuantizeOptions",),
    "edgeresnet.settings.sharding": ("ShardOptions",),
    "edgeresnet.settings.training": ("ModelSettings", "TrainOptions"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

# Before any module of ours can import a runtime.
prepare()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
