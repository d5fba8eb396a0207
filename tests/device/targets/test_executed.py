"""Kernels of a runtime are traced back to the nodes of the file."""

from __future__ import annotations

import pytest

from edgeresnet.device.targets.executed import ExecutedGraph, ExecutedKernel, FileNode
from edgeresnet.device.targets.protocol import LayerProfile

BLOCK = (
    FileNode("conv1", "convolution"),
    FileNode("conv1.relu", "relu", ("conv1",)),
    FileNode("q", "quantize", ("conv1.relu",)),
    FileNode("dq", "dequantize", ("q",)),
    FileNode("conv2", "convolution", ("dq",)),
    FileNode("add", "add", ("conv2", "dq")),
    FileNode("add.relu", "relu", ("add",)),
)


def kernel(name: str, role: str, anchors: str = "", inputs: str = "") -> ExecutedKernel:
    return ExecutedKernel(name, role, tuple(anchors.split()), tuple(inputs.split()))  # type: ignore


def nodes_of(*kernels: ExecutedKernel) -> dict[str, tuple[str, ...]]:
    profiles = [LayerProfile(one.name, "X", "fp32", "cpu", 1.0) for one in kernels]
    placed = ExecutedGraph(BLOCK, kernels).placed(profiles)
    return {layer.name: layer.nodes for layer in placed}


def test_placed_puts_a_fused_add_into_the_kernel_that_ran_last() -> None:
    found = nodes_of(kernel("a", "convolution", "conv1"), kernel("b", "convolution", "conv2", "a"))
    assert found == {"a": ("conv1", "conv1.relu"), "b": ("conv2", "add", "add.relu")}


def test_placed_keeps_an_add_apart_when_it_is_a_kernel_of_its_own() -> None:
    found = nodes_of(
        kernel("a", "convolution", "conv1"), kernel("b", "convolution", "conv2", "a"),
        kernel("c", "add", "add", "b a"),
    )  # fmt: skip
    assert found == {"a": ("conv1", "conv1.relu"), "b": ("conv2",), "c": ("add", "add.relu")}


def test_placed_finds_the_convolution_when_a_kernel_is_named_after_its_activation() -> None:
    assert nodes_of(kernel("a", "convolution", "conv1.relu"))["a"] == ("conv1", "conv1.relu")


@pytest.mark.parametrize(("inputs", "behind"), [("a", "conv1"), ("", None)])
def test_placed_says_which_layer_follows_when_the_runtime_added_a_kernel(
    inputs: str, behind: str | None
) -> None:
    kernels = (
        kernel("a", "convolution", "conv1"), kernel("x", "layout", "", inputs),
        kernel("y", "quantize", "q", "x"), kernel("b", "convolution", "conv2", "y"),
    )  # fmt: skip
    profiles = [LayerProfile("x", "Transpose", "fp32", "cpu", 1.0)]
    (found,) = ExecutedGraph(BLOCK, kernels).placed(profiles)
    assert (found.before, found.behind, found.role) == ("conv2", behind, "layout")


def test_placed_says_which_layer_came_before_when_none_follows() -> None:
    kernels = (kernel("a", "convolution", "conv1"), kernel("x", "layout", "", "a"))
    profiles = [LayerProfile("x", "Transpose", "fp32", "cpu", 1.0)]
    (found,) = ExecutedGraph(BLOCK, kernels).placed(profiles)
    assert (found.before, found.behind) == (None, "conv1")


def test_placed_leaves_a_profile_as_it_is_when_the_graph_does_not_have_it() -> None:
    profile = LayerProfile("unknown", "X", "fp32", "cpu", 1.0)
    assert ExecutedGraph(BLOCK, ()).placed([profile]) == [profile]
