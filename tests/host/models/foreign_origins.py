"""The files of every origin, as a list: what `tests.host.models.foreign_files` writes, by name."""

from __future__ import annotations

import collections
import functools
from typing import Any

import torch

from tests.host.models import foreign_files as f
from tests.host.models.foreign_files import ForeignFile, named, nested, saved, under
from tests.host.models.foreign_networks import Tensors
from tests.host.models.test_foreign_names import (
    detectron2,
    hugging_face,
    kuangliu,
    mmpretrain,
    pytorch_cifar100,
)

R50: dict[str, Any] = {"arch": "resnet50"}
DEFAULT_D2: dict[str, Any] = {"inputs": f.OF_CAFFE}


def _torchvision() -> list[ForeignFile]:
    def epoch(t: Tensors) -> dict[str, Any]:
        return {"model": t, "optimizer": f.OPTIMIZER, "lr_scheduler": {"last_epoch": 3}, "epoch": 3,
                "args": f.ARGS, "scaler": {"scale": 1.0}}  # fmt: skip

    def ema(t: Tensors) -> dict[str, Any]:
        averaged = {"n_averaged": torch.tensor(7), **under("module.")(t)}
        return {**epoch(f.noise(t)), "model_ema": averaged}

    of_args = {"image_size": 32, "resize": 48, "interpolation": "bicubic"}
    return [
        ForeignFile("torchvision", "plain", saved(dict)),
        ForeignFile("torchvision", "plain", saved(dict), "resnet50", "imagenet"),
        ForeignFile("torchvision", "plain", saved(dict), "resnet101"),
        ForeignFile("torchvision", "legacy", saved(dict, _use_new_zipfile_serialization=False),
                    "resnet34"),
        ForeignFile("torchvision", "script", saved(epoch), inputs=of_args),
        ForeignFile("torchvision", "script", saved(epoch), **R50, inputs=of_args),
        ForeignFile("torchvision", "script-ema", saved(ema), inputs=of_args),
        ForeignFile("torchvision", "counter", saved(lambda t: {
            "model": t, "counts": collections.Counter("abc"), "log": collections.deque([1.0])})),
    ]  # fmt: skip


def _timm() -> list[ForeignFile]:
    def epoch(t: Tensors) -> dict[str, Any]:
        return {"epoch": 3, "arch": "resnet18", "state_dict": t, "optimizer": f.OPTIMIZER,
                "version": 2, "args": f.ARGS, "metric": 71.5}  # fmt: skip

    config = {"architecture": "resnet18", "num_classes": 5, "pretrained_cfg": f.TIMM_CFG}
    hub = f.safe(beside={"config.json": config})
    return [
        ForeignFile("timm", "epoch", saved(epoch)),
        ForeignFile("timm", "epoch-ema", saved(
            lambda t: {**epoch(f.noise(t)), "state_dict_ema": under("module.")(t)})),
        ForeignFile("timm", "epoch-ema", saved(
            lambda t: {**epoch(f.noise(t)), "state_dict_ema": t}), **R50),
        ForeignFile("timm", "hub", hub, inputs=f.OF_TIMM),
        ForeignFile("timm", "hub", hub, **R50, inputs=f.OF_TIMM),
        ForeignFile("timm", "average", saved(dict), "resnet34"),
    ]  # fmt: skip


def _lightning() -> list[ForeignFile]:
    def ckpt(prefix: str, **more: Any) -> f.Write:
        return saved(lambda t: {**f.LIGHTNING, "state_dict": {
            **under(prefix)(t), "train_acc.tp": torch.zeros(5), "criterion.weight": torch.ones(5),
        }, **more}, "theirs.ckpt")  # fmt: skip

    return [
        ForeignFile("lightning", "model", ckpt("model.")),
        ForeignFile("lightning", "net", ckpt("net."), **R50),
        ForeignFile("lightning", "backbone", ckpt("backbone.encoder."), "resnet34"),
        ForeignFile("lightning", "hparams", ckpt("model.", hparams_name="kwargs", hyper_parameters={
            "lr": 0.1, "data": f.Path("d"), "classes": list("abcde"), "args": f.ARGS})),
        ForeignFile("lightning", "compiled", ckpt("model._orig_mod.")),
    ]  # fmt: skip


def _wrapped() -> list[ForeignFile]:
    def inside(wrapper: str) -> f.Write:
        return saved(lambda t: {"model": named(lambda n: nested(n, wrapper))(t)})

    fsdp, act = "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."
    return [
        ForeignFile("wrapped", "ddp", saved(lambda t: {"state_dict": under("module.")(t)})),
        ForeignFile("wrapped", "compile", saved(under("_orig_mod."))),
        ForeignFile("wrapped", "ddp-compile", saved(under("module._orig_mod.")), **R50),
        ForeignFile("wrapped", "compile-ddp", saved(under("_orig_mod.module.")), "resnet34"),
        ForeignFile("wrapped", "fsdp", inside(fsdp)),
        ForeignFile("wrapped", "fsdp", inside(fsdp), **R50),
        ForeignFile("wrapped", "fsdp-checkpointed", inside(fsdp + act)),
        ForeignFile("wrapped", "deepspeed", saved(
            lambda t: {"module": t, "optimizer": None, "global_steps": 4})),
    ]  # fmt: skip


def _hugging_face() -> list[ForeignFile]:
    beside = {"config.json": f.HF_CONFIG, "preprocessor_config.json": f.HF_PROCESSOR}
    in_1x1 = {"config.json": {**f.HF_CONFIG, "downsample_in_bottleneck": True}}
    inputs = {"crop_ratio": 0.875, "interpolation": "bicubic", "std": (0.5,) * 3}
    return [
        ForeignFile("hugging-face", "safetensors", f.safe(hugging_face, beside), inputs=inputs),
        ForeignFile("hugging-face", "safetensors", f.safe(hugging_face, beside), "resnet50",
                    "imagenet", inputs=inputs),
        ForeignFile("hugging-face", "bin", saved(named(hugging_face), "pytorch_model.bin"),
                    "resnet34"),
        ForeignFile("hugging-face", "1x1", f.safe(hugging_face, in_1x1), **R50, stride_in="1x1"),
        ForeignFile("hugging-face", "in-lightning", saved(
            lambda t: {"state_dict": named(hugging_face, "model.")(t)})),
    ]  # fmt: skip


def _mmpretrain() -> list[ForeignFile]:
    def mm(style: str = "", **more: Any) -> f.Write:
        meta = {"dataset_meta": {"classes": tuple("abcde")}, "epoch": 3,
                **({"cfg": f.MM_CFG.format(style)} if style else {})}  # fmt: skip
        return saved(lambda t: {"meta": meta, "state_dict": named(mmpretrain)(t),
                                "message_hub": {}, "param_schedulers": [], **more})  # fmt: skip

    def ema(t: Tensors) -> dict[str, Any]:
        return {
            "meta": {},
            "state_dict": named(mmpretrain)(f.noise(t)),
            "ema_state_dict": {"steps": torch.tensor(9), **named(mmpretrain, "module.")(t)},
        }

    return [
        ForeignFile("mmpretrain", "cifar", mm()),
        ForeignFile("mmpretrain", "config", mm("pytorch"), **R50, inputs=f.OF_CAFFE),
        ForeignFile("mmpretrain", "caffe", mm("caffe"), **R50, stride_in="1x1", inputs=f.OF_CAFFE),
        ForeignFile("mmpretrain", "ema", saved(ema)),
        ForeignFile("mmpretrain", "mmcls", saved(lambda t: {
            "meta": {"CLASSES": list("abcde"), "mmcls_version": "0.25"},
            "state_dict": named(mmpretrain)(t)}), "resnet34"),
    ]  # fmt: skip


def _detectron2() -> list[ForeignFile]:
    def d2(prefix: str = "", **more: Any) -> f.Write:
        return saved(lambda t: {"model": named(detectron2, prefix)(t), "optimizer": f.OPTIMIZER,
                                "scheduler": {"last_epoch": 3}, "iteration": 99, **more},
                     "model_final.pth")  # fmt: skip

    told = {"channels": "rgb", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    return [
        ForeignFile("detectron2", "defaults", d2(), **R50, stride_in="1x1", **DEFAULT_D2),
        ForeignFile("detectron2", "defaults", d2(), "resnet50", "imagenet", "1x1", **DEFAULT_D2),
        ForeignFile("detectron2", "defaults", d2(), **DEFAULT_D2),
        ForeignFile("detectron2", "prefix", d2("backbone.bottom_up."), "resnet34", **DEFAULT_D2),
        ForeignFile("detectron2", "config", d2(cfg=f.D2_CFG), **R50, inputs=told),
    ]


def _fastai() -> list[ForeignFile]:
    rename = named(f.fastai)
    return [
        ForeignFile("fastai", "learner", saved(
            lambda t: {"model": rename(t), "opt": {"state": [{}], "hypers": [{"lr": 0.1}]}})),
        ForeignFile("fastai", "model", saved(rename), **R50),
        ForeignFile("fastai", "model", saved(rename, pickle_protocol=2), "resnet34"),
        ForeignFile("sequential", "children", saved(named(f.children))),
        ForeignFile("sequential", "children", saved(named(f.children, "features.")), **R50),
        ForeignFile("sequential", "children", f.safe(f.children), "resnet34"),
    ]  # fmt: skip


def _biased() -> list[ForeignFile]:
    keras = functools.partial(ForeignFile, "keras", stride_in="1x1", inputs=f.OF_KERAS,
                              prepare=f.keras_network)  # fmt: skip
    caffe = {"cfg": {"model": {"backbone": {"style": "caffe"}}}}
    return [
        keras("names", saved(named(f.keras)), **R50),
        keras("names", saved(named(f.keras, "model.")), "resnet50", "imagenet"),
        keras("names", f.safe(f.keras), "resnet101"),
        ForeignFile("caffe", "biases", saved(dict), prepare=f.biased),
        ForeignFile("caffe", "biases", saved(dict), "resnet34", prepare=f.biased),
        ForeignFile("caffe", "biases", saved(lambda t: {"state_dict": t, **caffe}), **R50,
                    stride_in="1x1", prepare=f.biased),
    ]  # fmt: skip


def _cifar() -> list[ForeignFile]:
    net = saved(lambda t: {"net": named(kuangliu, "module.")(t), "acc": 95.1, "epoch": 199},
                "ckpt.pth")  # fmt: skip
    copied = saved(named(pytorch_cifar100), "resnet18-200-best.pth")
    return [ForeignFile(origin, "checkpoint", write, arch)
            for origin, write in (("kuangliu", net), ("pytorch-cifar100", copied))
            for arch in ("resnet18", "resnet34", "resnet50")]  # fmt: skip


def _pruned() -> list[ForeignFile]:
    return [
        ForeignFile("prune", "random", saved(dict), prepare=f.pruned("random")),
        ForeignFile("prune", "global", saved(lambda t: {"model": under("module.")(t)}), **R50,
                    prepare=f.pruned("global")),
        ForeignFile("prune", "structured", saved(dict), "resnet34",
                    prepare=f.pruned("structured")),
        ForeignFile("prune", "structured", f.safe(), prepare=f.pruned("structured")),
    ]  # fmt: skip


def _safetensors() -> list[ForeignFile]:
    return [
        ForeignFile("safetensors", "plain", f.safe()),
        ForeignFile("safetensors", "metadata", f.safe(metadata={"format": "pt"}), **R50),
        ForeignFile("safetensors", "half", f.safe(half=True)),
        ForeignFile("safetensors", "prefix", f.safe(lambda n: f"model.{n}"), "resnet34"),
    ]


def _programs() -> list[ForeignFile]:
    return [
        ForeignFile("torchscript", "script", f.script(trace=False)),
        ForeignFile("torchscript", "trace", f.script(trace=True), stem="small-pool"),
        ForeignFile("torchscript", "trace", f.script(trace=True), "resnet50", "imagenet"),
        ForeignFile("pt2", "export", f.exported()),
        ForeignFile("pt2", "decomposed", f.exported(decomposed=True), stem="small-stride2-pool"),
        ForeignFile("pt2", "export", f.exported(), "resnet50", "imagenet-stride1", "1x1"),
    ]


FILES: list[ForeignFile] = [
    *_torchvision(), *_timm(), *_lightning(), *_wrapped(), *_hugging_face(), *_mmpretrain(),
    *_detectron2(), *_fastai(), *_biased(), *_cifar(), *_pruned(), *_safetensors(), *_programs(),
]  # fmt: skip
