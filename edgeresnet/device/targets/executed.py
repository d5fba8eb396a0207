"""How the kernels of a runtime go back to the nodes of the file that it was given.

A runtime fuses nodes and adds kernels of its own (changes of layout and of type). What it calls
them differs; which nodes are in them, and between which layers its own ones stand, is found here
from both graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

from edgeresnet.device.targets.protocol import LayerProfile

Role = Literal[
    "convolution", "classifier", "add", "relu", "pool", "quantize", "dequantize", "layout", "view",
    "other",
]  # fmt: skip
MULTIPLY = ("convolution", "classifier")
# What is in a graph for the sake of types and layouts, and computes nothing of the network's own.
CARRIERS = ("quantize", "dequantize", "layout", "view")


@dataclass(frozen=True)
class FileNode:
    """An operation of the model file; those on constants alone are left out.

    Attributes:
        name: of the layer, as the file has it.
        role: what it does in the network.
        inputs: the nodes whose results it takes; the network's input is none.
        integer_weights: whether what it multiplies by is stored in integers.
    """

    name: str
    role: Role
    inputs: tuple[str, ...] = ()
    integer_weights: bool = False


@dataclass(frozen=True)
class ExecutedKernel:
    """A kernel in the graph that the runtime made.

    Attributes:
        name: by which the runtime's profiler knows it.
        role: what it does; ``other`` where its kind does not tell.
        anchors: nodes of the file that the runtime names.
        inputs: the kernels whose results it takes.
    """

    name: str
    role: Role
    anchors: tuple[str, ...]
    inputs: tuple[str, ...] = ()


@runtime_checkable
class TellsGraph(Protocol):
    """A session that knows what its runtime made of the file."""

    @property
    def graph(self) -> ExecutedGraph:
        """Both graphs; may be asked for again at no cost."""
        ...


@dataclass(frozen=True)
class ExecutedGraph:
    """Both graphs: the file's nodes and the runtime's kernels, each after those that it needs."""

    nodes: tuple[FileNode, ...]
    kernels: tuple[ExecutedKernel, ...]

    def placed(self, profiles: Sequence[LayerProfile]) -> list[LayerProfile]:
        """The profiles with role, nodes and, of what the runtime added, its neighbours.

        Args:
            profiles: as the runtime's profiler names them. One that is no kernel of this graph
                stays as it is.
        """
        kernels = {kernel.name: kernel for kernel in self.kernels}
        owned = self._owned()
        own = {name: tuple(nodes) for name, nodes in owned.items() if nodes}
        found = []
        for profile in profiles:
            kernel = kernels.get(profile.name)
            if kernel is None:
                found.append(profile)
                continue
            nodes = own.get(kernel.name, ())
            role = self._role(kernel, nodes)
            before, behind = (None, None) if nodes else self._neighbours(kernel, own)
            found.append(replace(profile, role=role, nodes=nodes, before=before, behind=behind))
        return found

    def _owned(self) -> dict[str, list[str]]:
        """The network's own nodes in each kernel, in the file's order."""
        by_name = {node.name: node for node in self.nodes}
        order = {kernel.name: at for at, kernel in enumerate(self.kernels)}
        owner: dict[str, str] = {}
        for kernel in self.kernels:
            for anchor in self._with_main(kernel, by_name):
                owner.setdefault(anchor, kernel.name)
        for node in self.nodes:
            # One that multiplies has a kernel named after it, or is not traced back.
            if node.name in owner or node.role in (*CARRIERS, *MULTIPLY):
                continue
            makers = [self._owner_of(name, by_name, owner) for name in node.inputs]
            known = [maker for maker in makers if maker is not None]
            if known and len(known) == len(makers):
                # It became part of the kernel that ran last: that has all that it needs.
                owner[node.name] = max(known, key=order.__getitem__)
        owned: dict[str, list[str]] = {}
        for node in self.nodes:
            if node.name in owner and node.role not in ("quantize", "dequantize", "layout"):
                owned.setdefault(owner[node.name], []).append(node.name)
        return owned

    @staticmethod
    def _with_main(kernel: ExecutedKernel, by_name: Mapping[str, FileNode]) -> list[str]:
        """The anchors, and behind one that is named after its last part the way to the first."""
        anchors = [name for name in kernel.anchors if name in by_name]
        if kernel.role not in MULTIPLY or not anchors:
            return anchors
        if any(by_name[name].role == kernel.role for name in anchors):
            return anchors
        way, at = list[str](), by_name[anchors[0]]
        while at.role != kernel.role and len(at.inputs) == 1 and at.inputs[0] in by_name:
            at = by_name[at.inputs[0]]
            way.append(at.name)
        return [*anchors, *way] if at.role == kernel.role else anchors

    @staticmethod
    def _owner_of(
        name: str, by_name: Mapping[str, FileNode], owner: Mapping[str, str]
    ) -> str | None:
        """The kernel that makes a value, whatever only carries it left out."""
        while name not in owner:
            node = by_name.get(name)
            if node is None or node.role not in CARRIERS or not node.inputs:
                return None
            name = node.inputs[0]
        return owner[name]

    def _role(self, kernel: ExecutedKernel, nodes: Sequence[str]) -> Role:
        """The kernel's own; of a kind that does not tell, that of the node it is named after."""
        if kernel.role != "other":
            return kernel.role
        roles = {node.name: node.role for node in self.nodes}
        named = nodes or kernel.anchors
        known = [roles[name] for name in named if name in roles]
        return "quantize" if "quantize" in known else next(iter(known), "other")

    def _neighbours(
        self, kernel: ExecutedKernel, own: Mapping[str, tuple[str, ...]]
    ) -> list[str | None]:
        """The layers that a kernel stands before and behind, by their first nodes."""
        users: dict[str, list[str]] = {}
        for one in self.kernels:
            for name in one.inputs:
                users.setdefault(name, []).append(one.name)
        makers = {one.name: list(one.inputs) for one in self.kernels}
        return [_nearest(kernel.name, users, own), _nearest(kernel.name, makers, own)]


def _nearest(
    start: str, ways: Mapping[str, Sequence[str]], own: Mapping[str, tuple[str, ...]]
) -> str | None:
    """The first node of the nearest kernel that has any, on the way that edges lead."""
    waiting, seen = [*ways.get(start, [])], set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in own:
            return own[name][0]
        if name not in seen:
            seen.add(name)
            waiting += ways.get(name, [])
    return None
