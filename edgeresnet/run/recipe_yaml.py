"""YAML of a recipe: plain values, each key once, and few of them; what explodes is not expanded."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from edgeresnet.untrusted import short

# A recipe that says everything has about 120 values, lists included, in 5 levels.
MOST_NODES = 2000
MOST_DEPTH = 16
# An unsigned number of 64 bits has 20.
MOST_DIGITS = 24
OWN = "tag:yaml.org,2002:"
TEXT, INTEGER, REAL, SWITCH, NOTHING, MERGE = (
    f"{OWN}{kind}" for kind in ("str", "int", "float", "bool", "null", "merge")
)
PLAIN = (TEXT, INTEGER, REAL, SWITCH, NOTHING, MERGE)
LISTS, MAPPINGS = f"{OWN}seq", f"{OWN}map"
# Those of version 1.2: in 1.1, ``1:8:32`` is a number to the base of 60, and ``010`` is 8.
NUMBERS = {
    INTEGER: re.compile(r"^[-+]?[0-9]+$"),
    REAL: re.compile(r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"),
}


def parse_yaml(text: str) -> Any:
    """The plain values of a YAML text: mappings by text, lists, texts, numbers, true, false, null.

    Raises:
        ValueError: it is no YAML, has a key twice or one that is no text, values of other kinds, or
            more or deeper ones than a recipe has, counted as they are with aliases expanded. The
            message says where.
    """
    try:
        return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader with fewer kinds of numbers
    except yaml.YAMLError as error:
        raise ValueError(_words(error)) from error


def _words(error: yaml.YAMLError) -> str:
    """Where and why, without the text around it, which may be of any length."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return where + short(problem.splitlines()[0])


def _refusal(mark: Any, problem: str) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class Loader(yaml.SafeLoader):
    """Checks each node when it is composed, before anything is made of it."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0
        # How many nodes each anchor stands for; one that is still open is not there yet.
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The node and what is in it."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                raise _refusal(event.start_mark, "an alias of what it stands in")
            self._count(self._sizes.get(str(event.anchor), 0), event)
            return super().compose_node(parent, index)
        self._count(1, event)
        before = self._nodes
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _refusal(event.start_mark, f"more than {MOST_DEPTH} levels")
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._nodes - before + 1
        _check(self, node)
        return node

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise _refusal(event.start_mark, f"more than {MOST_NODES} values, which no recipe has")


# A copy: else yaml's own loaders would change.
Loader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if entry[0] in (SWITCH, NOTHING, MERGE)]
    for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in NUMBERS.items():
    Loader.add_implicit_resolver(_tag, _pattern, list("-+.0123456789"))
Loader.add_constructor(INTEGER, lambda loader, node: int(node.value))


def _check(loader: Any, node: Node) -> None:
    """Refuse a node that is no plain value."""
    if isinstance(node, ScalarNode):
        known = node.tag in PLAIN
        # ``!!int many``: what is told to be a number need not be one.
        if known and node.tag != TEXT:
            known = loader.resolve(ScalarNode, node.value, (True, False)) == node.tag
        if node.tag == INTEGER and len(node.value) > MOST_DIGITS:
            raise _refusal(node.start_mark, f"a number of {len(node.value)} digits")
    else:
        known = node.tag == (LISTS if isinstance(node, SequenceNode) else MAPPINGS)
    if not known:
        raise _refusal(node.start_mark, f"a value that is no {short(node.tag.removeprefix(OWN))}")
    if isinstance(node, MappingNode):
        _check_keys(node)


def _check_keys(node: MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, ScalarNode) or key.tag not in (TEXT, MERGE):
            raise _refusal(key.start_mark, "a key that is no text")
        if key.value in seen:
            raise _refusal(key.start_mark, f"key {short(key.value)} stands there twice")
        seen.add(key.value)
