"""Files as each origin leaves them, of narrow networks: its names, its containers, its defaults.

Sources of what is built here without the origin's package:
torchvision ``references/classification/train.py`` (checkpoint of an epoch); timm
``timm/utils/checkpoint_saver.py`` and ``timm/models/_hub.py``; Lightning
``pytorch_lightning/trainer/connectors/checkpoint_connector.py`` (``dump_checkpoint``); Hugging Face
``transformers/models/resnet/modeling_resnet.py``; MMEngine ``mmengine/runner/checkpoint.py`` and
``hooks/ema_hook.py``; Detectron2 ``detectron2/checkpoint`` and ``config/defaults.py``; fastai
``fastai/vision/learner.py`` (``create_body``: the network's children in a Sequential) and
``fastai/learner.py`` (``save_model``); Keras ``keras/src/applications/resnet.py``; kuangliu
``pytorch-cifar/main.py``; weiaicunzai ``pytorch-cifar100/models/resnet.py``.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from edgeresnet.settings.network import Stem, StrideIn
from tests.host.models.foreign_networks import Tensors, tensors_of, with_biases

Write = Callable[[nn.Module, Path], Path]
CAFFE_MEAN = (103.53 / 255, 116.28 / 255, 123.675 / 255)
KERAS_MEAN = (103.939 / 255, 116.779 / 255, 123.68 / 255)
OF_255 = (1 / 255,) * 3


@dataclass(frozen=True)
class ForeignFile:
    """One file of an origin.

    Attributes:
        origin: whose it is.
        layout: what it is, for people.
        write: saves a network as such a file, and returns its path.
        arch: of the network.
        stem: that the file is to be read with.
        stride_in: likewise.
        inputs: what it must be read as, of the input, by the names of `InputSpec`.
        prepare: what the origin does to the network before it is saved.
    """

    origin: str
    layout: str
    write: Write
    arch: str = "resnet18"
    stem: Stem = "small"
    stride_in: StrideIn = "3x3"
    inputs: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[nn.Module], nn.Module] = copy.deepcopy

    def __str__(self) -> str:
        return f"{self.origin}-{self.layout}-{self.arch}"


def saved(content: Callable[[Tensors], Any], name: str = "theirs.pth", **options: Any) -> Write:
    """Writes what this makes of a state_dict, with ``torch.save``."""

    def write(model: nn.Module, folder: Path) -> Path:
        torch.save(content(tensors_of(model)), folder / name, **options)
        return folder / name

    return write


def safe(rename: Callable[[str], str] = str, beside: dict[str, Any] | None = None,
         metadata: dict[str, str] | None = None, half: bool = False) -> Write:  # fmt: skip
    """Writes safetensors, with the JSON texts that lie beside."""

    def write(model: nn.Module, folder: Path) -> Path:
        tensors = {rename(n): t.half() if half and t.is_floating_point() else t.contiguous()
                   for n, t in tensors_of(model).items()}  # fmt: skip
        save_file(tensors, folder / "model.safetensors", metadata)
        for name, content in (beside or {}).items():
            (folder / name).write_text(json.dumps(content))
        return folder / "model.safetensors"

    return write


def named(rename: Callable[[str], str], prefix: str = "") -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + rename(n): t for n, t in tensors.items()}


def under(prefix: str) -> Callable[[Tensors], Tensors]:
    return named(str, prefix)


def noise(tensors: Tensors) -> Tensors:
    """Other weights of the same shapes, which must not be taken."""
    return {n: torch.rand_like(t) if t.is_floating_point() else t for n, t in tensors.items()}


OPTIMIZER = {"state": {0: {"momentum_buffer": torch.rand(8, 3, 3, 3)}},
             "param_groups": [{"lr": 0.1, "params": [0]}]}  # fmt: skip
ARGS = argparse.Namespace(model="resnet50", lr=0.1, device=torch.device("cpu"), output_dir=Path(),
                          val_resize_size=48, val_crop_size=32, interpolation="bicubic",
                          best=np.float64(0.7))  # fmt: skip


def nested(name: str, wrapper: str) -> str:
    """A wrapper around each block and around the whole."""
    return wrapper + re.sub(r"^(layer\d\.\d+\.)", rf"\1{wrapper}", name)


def children(name: str) -> str:
    """Of ``nn.Sequential(*list(model.children()))``; the classifier is the last."""
    name = re.sub(r"^(conv1|bn1|fc)\.", lambda m: {"conv1": "0.", "bn1": "1.", "fc": "9."}[m[1]],
                  name)  # fmt: skip
    return re.sub(r"^layer(\d)\.", lambda m: f"{int(m[1]) + 3}.", name)


def fastai(name: str) -> str:
    """Body and head are a sequence of two."""
    return "1.3." + name[3:] if name.startswith("fc.") else "0." + children(name)


def keras(name: str) -> str:
    name = re.sub(r"^(conv|bn)1\.", r"conv1_\1.", name)
    name = re.sub(r"^fc\.", "predictions.", name)
    name = name.replace("downsample.0", "conv0").replace("downsample.1", "bn0")
    return re.sub(r"^layer(\d)\.(\d+)\.(conv|bn)(\d)", _of_block, name)


def _of_block(match: re.Match[str]) -> str:
    return f"conv{int(match[1]) + 1}_block{int(match[2]) + 1}_{match[4]}_{match[3]}"


def keras_network(model: nn.Module) -> nn.Module:
    """With biases, and with their epsilon in every normalization."""
    model = with_biases(copy.deepcopy(model))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1.001e-5
    return model


def biased(model: nn.Module) -> nn.Module:
    return with_biases(copy.deepcopy(model))


def pruned(method: str) -> Callable[[nn.Module], nn.Module]:
    def prepare(model: nn.Module) -> nn.Module:
        model = copy.deepcopy(model)
        layers = [(m, "weight") for m in model.modules() if isinstance(m, nn.Conv2d)]
        if method == "global":
            prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=0.3)
        for module, name in layers if method != "global" else ():
            if method == "structured":
                prune.ln_structured(module, name, amount=0.25, n=2, dim=0)
            else:
                prune.random_unstructured(module, name, amount=0.3)
        return model

    return prepare


def script(trace: bool) -> Write:
    def write(model: nn.Module, folder: Path) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.jit.trace(model, torch.rand(1, 3, 32, 32)) if trace else \
                torch.jit.script(model)  # fmt: skip
        made.save(str(folder / "theirs.pt"))
        return folder / "theirs.pt"

    return write


def exported(decomposed: bool = False) -> Write:
    def write(model: nn.Module, folder: Path) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (torch.rand(2, 3, 32, 32),))
            program = program.run_decompositions() if decomposed else program
            torch.export.save(program, folder / "theirs.pt2")
        return folder / "theirs.pt2"

    return write


TIMM_CFG = {"input_size": [3, 32, 32], "crop_pct": 0.8, "interpolation": "bicubic",
            "mean": [0.5] * 3, "std": [0.25] * 3}  # fmt: skip
OF_TIMM = {"crop_ratio": 0.8, "interpolation": "bicubic", "mean": (0.5,) * 3}
HF_CONFIG = {"model_type": "resnet", "hidden_act": "relu", "downsample_in_first_stage": False,
             "id2label": {str(i): name for i, name in enumerate("abcde")}}  # fmt: skip
HF_PROCESSOR = {"image_processor_type": "ConvNextFeatureExtractor", "size": 32, "crop_pct": 0.875,
                "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
MM_CFG = """model = dict(backbone=dict(type='ResNet', style='{}'))
data_preprocessor = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)
"""
OF_CAFFE = {"channels": "bgr", "mean": CAFFE_MEAN, "std": OF_255}
OF_KERAS = {"channels": "bgr", "mean": KERAS_MEAN, "std": OF_255}
D2_CFG = {"MODEL": {"RESNETS": {"STRIDE_IN_1X1": False}, "PIXEL_MEAN": [127.5] * 3,
                    "PIXEL_STD": [127.5] * 3}, "INPUT": {"FORMAT": "RGB"}}  # fmt: skip
LIGHTNING = {"epoch": 3, "global_step": 40, "pytorch-lightning_version": "2.4.0", "loops": {},
             "callbacks": {"ModelCheckpoint{}": {"best": torch.tensor(0.5)}},
             "optimizer_states": [OPTIMIZER], "lr_schedulers": []}  # fmt: skip
