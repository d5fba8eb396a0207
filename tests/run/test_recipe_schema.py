"""The schema that an editor gets says what the loader takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.run.recipe_schema import recipe_schema
from edgeresnet.run.shipped import shipped_recipes

SCHEMA = recipe_schema()


def section_of(described: dict[str, Any]) -> dict[str, Any] | None:
    for one in (described, *described.get("anyOf", ())):
        if "$ref" in one:
            section: dict[str, Any] = SCHEMA["$defs"][one["$ref"].rpartition("/")[2]]
            return section
    return None


def unknown(section: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """Keys and choices of a recipe that its schema does not have."""
    found = []
    for key, value in values.items():
        described = section["properties"].get(key)
        if described is None:
            found.append(key)
        elif (inner := section_of(described)) is not None and value is not None:
            found += unknown(inner, value)
        elif "enum" in described and value not in described["enum"]:
            found.append(f"{key}={value}")
        elif "enum" in described.get("items", {}):
            found += [f"{key}={v}" for v in value if v not in described["items"]["enum"]]
    return found


@pytest.mark.parametrize("path", shipped_recipes().values(), ids=lambda path: path.stem)
def test_schema_has_all_that_a_shipped_recipe_uses(path: Path) -> None:
    assert unknown(SCHEMA, yaml.safe_load(path.read_text())) == []
    assert unknown(SCHEMA, {"train": {"epohcs": 1, "optimizer": "z"}}) == ["epohcs", "optimizer=z"]


def test_schema_describes_every_key_and_allows_no_other() -> None:
    sections = [SCHEMA, *SCHEMA["$defs"].values()]
    assert len(sections) > 8
    for section in sections:
        assert section["additionalProperties"] is False
        for key, described in section["properties"].items():
            assert described.get("description"), key
    assert SCHEMA["required"] == ["name", "data"]


def test_schema_takes_the_inputs_that_the_loader_takes() -> None:
    inputs = section_of(SCHEMA["properties"]["inputs"])
    assert inputs is not None
    assert set(inputs["properties"]) == {
        "resize", "crop_ratio", "interpolation", "mean", "std", "channels"
    }  # fmt: skip
    kinds = [kind["type"] for kind in inputs["properties"]["mean"]["anyOf"]]
    assert kinds == ["array", ["number", "string"], "null"]


def test_schema_has_limits_and_choices_and_what_the_registry_knows() -> None:
    train = SCHEMA["$defs"]["TrainOptions"]["properties"]
    assert (train["batch_size"]["minimum"], train["lr"]["exclusiveMinimum"]) == (2, 0)
    assert train["optimizer"]["enum"] == ["sgd", "adamw"]
    export = SCHEMA["$defs"]["ExportSettings"]["properties"]
    assert export["targets"]["items"]["enum"] == list(TARGETS)
    assert {"fp32", "int8", "int8+fp16"} <= set(export["precisions"]["items"]["enum"])


def test_schema_tells_the_defaults_of_each_training() -> None:
    quantize = section_of(SCHEMA["properties"]["quantize"])
    assert quantize is not None
    qat = section_of(quantize["properties"]["train"])
    assert qat is not None
    assert (qat["properties"]["epochs"]["default"], qat["properties"]["lr"]["default"]) == (3, 0.01)
    assert SCHEMA["$defs"]["TrainOptions"]["properties"]["epochs"]["default"] == 30
