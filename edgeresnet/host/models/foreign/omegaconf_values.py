"""Configurations of OmegaConf as plain values, without the package: Lightning and Hydra save them.

A node's state has its value under ``_val``, and a container's its nodes under ``_content``.
"""

from __future__ import annotations

from typing import Any


class OmegaConfNode:
    """Stands in for a node; of a dictionary the entries are attributes, as of a Namespace."""

    omegaconf_value: Any = None

    def __setstate__(self, state: Any) -> None:
        """Takes the values out of the nodes inside, which are whole before this is."""
        content = state.get("_content", state.get("_val"))
        if isinstance(content, dict):
            self.__dict__.update({str(key): _plain(value) for key, value in content.items()})
            self.omegaconf_value = self
        else:
            self.omegaconf_value = _plain(content)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.omegaconf_value if isinstance(value, OmegaConfNode) else value


_NODES = ("Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "Path", "String", "Union")
OMEGACONF_NODES = (
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.UnionNode",
    *(f"omegaconf.nodes.{name}Node" for name in _NODES),
)
OMEGACONF_METADATA = ("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata", "typing.Any")
