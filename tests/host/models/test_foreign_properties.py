"""Whatever one tensor of a checkpoint becomes: the same logits, or a refusal that names it."""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgeresnet.errors import InputError
from tests.host.models.foreign_networks import Tensors, answers, loaded, narrow, tensors_of

# The same examples everywhere and always: a test that others' machines can repeat.
SAME = settings(max_examples=25, deadline=None, derandomize=True, database=None)
KINDS = ["resnet18", "resnet50"]
# Of the right shape it belongs to the network, whose answers it changes: tested by itself.
CONV_BIAS = re.compile(r"(.*\.)?(conv\d|downsample\.0)\.bias")


@functools.cache
def original(arch: str) -> tuple[Tensors, torch.Tensor]:
    model = narrow(arch)
    return tensors_of(model), answers(model)


WORDS = ["weight", "bias", "gamma", "se", "fc", "conv1", "conv4", "bn1", "bn5", "layer1", "layer4",
         "layer5", "0", "1", "2", "9", "attn", "head", "model", "net", "aux", "downsample",
         "shortcut", "running_mean", "mean", "embedder", "stem", "res2", "ema", "x"]  # fmt: skip
NAMES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(".".join)
SHAPES = st.sampled_from([(), (1,), (3,), (5,), (8,), (5, 8), (8, 8), (8, 8, 3, 3), (8, 8, 1, 1),
                          (1, 1, 3), (8, 3, 7, 7)])  # fmt: skip


def same_or_refused(tensors: Tensors, expected: torch.Tensor, names: list[str],
                    folder: Path) -> None:  # fmt: skip
    """Logits of the file are the expected ones, or one of these names is in the refusal."""
    cause = ""
    try:
        checkpoint = loaded(folder, tensors)
    except InputError as error:
        cause = error.cause
    if cause:
        assert any(name in cause for name in names), cause
    else:
        assert torch.allclose(answers(checkpoint.build()), expected, atol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


@SAME
@given(arch=st.sampled_from(KINDS), name=NAMES, shape=SHAPES, place=st.integers(0, 10**6),
       inside=st.booleans())  # fmt: skip
def test_load_checkpoint_is_right_or_refuses_when_there_is_one_more_tensor(
    arch: str, name: str, shape: tuple[int, ...], place: int, inside: bool, folder: Path
) -> None:
    tensors, expected = original(arch)
    if inside:
        known = list(tensors)[place % len(tensors)]
        name = f"{known.rpartition('.')[0]}.{name}"
    assume(name not in tensors and not CONV_BIAS.fullmatch(name))
    more = tensors | {name: torch.rand(shape)}
    same_or_refused(more, expected, [name], folder)


@SAME
@given(arch=st.sampled_from(KINDS), name=NAMES, place=st.integers(0, 10**6),
       inside=st.booleans())  # fmt: skip
def test_load_checkpoint_is_right_or_refuses_when_one_tensor_has_another_name(
    arch: str, name: str, place: int, inside: bool, folder: Path
) -> None:
    tensors, expected = original(arch)
    old = list(tensors)[place % len(tensors)]
    if inside:
        name = f"{old.rpartition('.')[0]}.{name}"
    assume(name not in tensors)
    renamed = {name if n == old else n: t for n, t in tensors.items()}
    same_or_refused(renamed, expected, [name, old], folder)


@SAME
@given(arch=st.sampled_from(KINDS), place=st.integers(0, 10**6), data=st.data())
def test_load_checkpoint_is_right_or_refuses_when_one_tensor_has_another_shape(
    arch: str, place: int, data: st.DataObject, folder: Path
) -> None:
    tensors, expected = original(arch)
    name = list(tensors)[place % len(tensors)]
    left, shape = tensors[name].numel(), []
    while left > 1:
        factor = data.draw(st.sampled_from([f for f in range(2, left + 1) if left % f == 0]))
        shape.append(factor)
        left //= factor
    shape += [1] * data.draw(st.integers(0, 4))
    assume(tuple(shape) != tuple(tensors[name].shape))
    assert math.prod(shape) == tensors[name].numel()
    reshaped = tensors | {name: tensors[name].reshape(shape)}
    same_or_refused(reshaped, expected, [name], folder)


@settings(SAME, max_examples=10)
@given(
    arch=st.sampled_from(KINDS),
    prefix=st.lists(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), max_size=4),
    container=st.sampled_from([None, "state_dict", "model", "net", "whatever"]),
    counters=st.sets(st.sampled_from(["n_averaged", "epoch", "layer1.0.bn1.total_ops"])),
)
def test_load_checkpoint_is_right_when_prefix_counters_and_optimizer_are_added(
    arch: str, prefix: list[str], container: str | None, counters: set[str], folder: Path
) -> None:
    tensors, expected = original(arch)
    start = "".join(f"{part}." for part in prefix)
    content: dict[str, object] = {start + n: t for n, t in tensors.items()}
    content |= {start + name: torch.tensor(4) for name in counters}
    if container is not None:
        optimizer = {"state": {0: {"exp_avg": torch.rand(8, 3, 3, 3)}}, "param_groups": [{"lr": 1}]}
        content = {"epoch": 4, container: content, "optimizer": optimizer}
    assert torch.equal(answers(loaded(folder, content).build()), expected)
