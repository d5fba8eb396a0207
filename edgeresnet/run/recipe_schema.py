"""The JSON schema of recipes, for an editor: their keys, the values of each, and what it is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pydantic import TypeAdapter

from edgeresnet.device.targets.export_support import known_precisions
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.run.recipe import Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """The schema as plain values: sections under ``$defs``, no keys but those that are known."""
    schema: dict[str, Any] = TypeAdapter(Recipe).json_schema()
    sections = schema["$defs"]
    for name, section in list(sections.items()):
        for key, described in section["properties"].items():
            if "$ref" in described:
                described["$ref"] = _with_defaults(sections, f"{name}.{key}", described)
    # What the registry knows is a plain string to the settings.
    exported = sections["ExportSettings"]["properties"]
    exported["targets"]["items"]["enum"] = list(TARGETS)
    exported["precisions"]["items"]["enum"] = known_precisions()
    sections["PruneOptions"]["properties"]["target"]["enum"] = list(TARGETS)
    return {"$schema": DIALECT, **schema}


def _with_defaults(sections: dict[str, Any], name: str, described: dict[str, Any]) -> str:
    """Where a section is described with the defaults that it has in its place."""
    own = deepcopy(sections[described["$ref"].rpartition("/")[2]])
    for key, default in described.get("default", {}).items():
        own["properties"][key]["default"] = default
    sections[name] = own
    return f"#/$defs/{name}"
