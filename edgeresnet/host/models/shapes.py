"""The shapes of a network's tensors, by its widths and without building it."""

from __future__ import annotations

from collections.abc import Iterator

from edgeresnet.errors import InputError
from edgeresnet.host.models.resnet import LEVELS, Arch, Widths, arch_of
from edgeresnet.settings.network import stem_shape

Shape = tuple[int, ...]
# Name and shape of a convolution; and whether pruning may have left no block there.
_Conv = tuple[str, Shape]
_NORM = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"


def shapes_of(
    arch: str, stem: str, widths: Widths, classes: int, precision: str
) -> dict[str, Shape]:
    """Of a float network (``fp32``) or a fake-quantized one (``int8``).

    Raises:
        InputError: there is no such network.
    """
    shapes = int8_shapes if precision == "int8" else float_shapes
    return shapes(arch, stem, widths, classes)


def float_shapes(arch: str, stem: str, widths: Widths, classes: int) -> dict[str, Shape]:
    """By the names of torchvision's state_dict.

    Raises:
        InputError: there is no such network.
    """
    info = arch_of(arch)
    shapes: dict[str, Shape] = {}
    for name, shape in _convolutions(info, stem, widths):
        # As in resnet.norm_name, which is asked of whole names.
        norm = (
            f"{name[:-1]}1" if name.endswith("downsample.0") else "bn".join(name.rsplit("conv", 1))
        )
        shapes[f"{name}.weight"] = shape
        shapes |= {f"{norm}.{part}": shape[:1] for part in _NORM}
        shapes[f"{norm}.{COUNTER}"] = ()
    return shapes | _head(classes, widths)


def int8_shapes(arch: str, stem: str, widths: Widths, classes: int) -> dict[str, Shape]:
    """By the names of `edgeresnet.host.models.quant_resnet.QuantResNet`'s, folded.

    Raises:
        InputError: there is no such network.
    """
    shapes: dict[str, Shape] = {"input_quant.scale": (), "pool_quant.scale": ()}
    for name, shape in _convolutions(arch_of(arch), stem, widths):
        block, _, own = name.rpartition(".")
        branch = f"{block.removesuffix('.downsample')}.downsample" if own == "0" else name
        shapes |= {
            f"{name}.weight": shape,
            f"{name}.bias": shape[:1],
            f"{name}.weight_quant.scale": shape[:1],
            f"{branch}_quant.scale": (),
        }
        if own == "conv1" and block:
            shapes[f"{block}.output_quant.scale"] = ()
    head = _head(classes, widths)
    return {**shapes, **head, **({"fc.weight_quant.scale": (classes,)} if head else {})}


def _head(classes: int, widths: Widths) -> dict[str, Shape]:
    """Of the classifier; nothing without classes."""
    return {"fc.weight": (classes, widths.streams[-1]), "fc.bias": (classes,)} if classes else {}


def _convolutions(info: Arch, stem: str, widths: Widths) -> Iterator[_Conv]:
    _check(info, widths)
    kernel = stem_shape(stem).kernel
    yield "conv1", (widths.stem, 3, kernel, kernel)
    stream = widths.stem
    kernels = (1, 3, 1) if info.bottleneck else (3, 3)
    for level, out, blocks in zip(LEVELS, widths.streams, widths.inner, strict=True):
        for number, inner in enumerate(blocks):
            block = f"{level}.{number}"
            down = number == 0 and (info.bottleneck or level != LEVELS[0])
            if not inner:
                if down:
                    raise _impossible(info, f"no block {block}, whose skip connection is needed")
                continue
            channels = (stream, *inner, out)
            for i, side in enumerate(kernels):
                yield f"{block}.conv{i + 1}", (channels[i + 1], channels[i], side, side)
            if down:
                yield f"{block}.downsample.0", (out, stream, 1, 1)
            elif stream != out:
                raise _impossible(info, f"{out} channels behind {stream} in {block}")
            stream = out


def _check(info: Arch, widths: Widths) -> None:
    depths = tuple(len(blocks) for blocks in widths.inner)
    if depths != info.depths or len(widths.streams) != len(LEVELS):
        raise _impossible(info, f"blocks {depths[:8]}, and not {info.depths}")
    inner = {len(block) for blocks in widths.inner for block in blocks}
    if not inner <= {0, info.convs - 1}:
        raise _impossible(info, f"{max(inner) + 1} convolutions in a block")
    every = [widths.stem, *widths.streams, *(w for b in widths.inner for one in b for w in one)]
    if min(every) < 1:
        raise _impossible(info, f"a width of {min(every)}")


def _impossible(info: Arch, what: str) -> InputError:
    return InputError(f"widths say {what}, which no {info.name} has", "make the checkpoint again.")
