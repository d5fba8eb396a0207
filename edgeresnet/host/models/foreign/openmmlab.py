"""How OpenMMLab's configurations say what is done with an image; a checkpoint has their text."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

# Steps that leave the pixels as they are.
_HARMLESS = ("LoadImageFromFile", "PackInputs", "PackClsInputs", "Collect", "ImageToTensor",
             "ToTensor", "Normalize")  # fmt: skip
PIPELINE = "test_pipeline"
# What a text raises that is no Python, or nests deeper than any configuration.
_UNREADABLE = (SyntaxError, ValueError, MemoryError, RecursionError)


def read_python(text: str) -> dict[str, Any]:
    """What a configuration in Python assigns, without running it; nothing of other text."""
    try:
        body = ast.parse(text).body
    except _UNREADABLE:
        return {}
    values: dict[str, Any] = {}
    for line in body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            try:
                values[line.targets[0].id] = _literal(line.value)
            except (*_UNREADABLE, TypeError):
                continue  # computed: no plain value
    return values


def with_normalization(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """What a configuration says, with what the steps of its test say of mean and std.

    Until 2022 they said what the ``data_preprocessor`` says since.
    """
    steps = content.get(PIPELINE)
    if not isinstance(steps, (list, tuple)):
        return content
    normalize = [step for step in steps if _type_of(step) == "Normalize"]
    return {"img_norm_cfg": normalize[0], **content} if normalize else content


def _literal(node: ast.expr) -> Any:
    """Plain values, and ``dict(a=1)``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {str(word.arg): _literal(word.value) for word in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _literal(key) for key in node.keys]
        return dict(zip(keys, map(_literal, node.values), strict=True))
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    return ast.literal_eval(node)


def _type_of(step: Any) -> str:
    return str(step.get("type", "")).rpartition(".")[2] if isinstance(step, Mapping) else ""


def pipeline_claims(steps: Any) -> tuple[dict[str, Any], list[str]]:
    """What the steps of a test say of the input.

    Returns:
        Values by the keys under which others say the same, and the steps that are not known.
    """
    claims: dict[str, Any] = {}
    unknown: list[str] = []
    for step in steps if isinstance(steps, (list, tuple)) else ():
        kind = _type_of(step)
        size = step.get("scale", step.get("size", step.get("crop_size"))) if kind else None
        if kind == "CenterCrop":
            claims["crop_size"] = size
        elif kind == "ResizeEdge" and step.get("edge", "short") == "short":
            claims["resize"] = size
        elif kind == "Resize" and not step.get("keep_ratio"):
            claims["resize"] = _resize(size)
        elif kind not in _HARMLESS:
            unknown.append(kind or str(step))
        if "Resize" in kind:
            claims["interpolation"] = step.get("interpolation", "bilinear")
    return claims, unknown


def _resize(size: Any) -> Any:
    """One number is both sides there; a side of -1 keeps the proportions."""
    if isinstance(size, int):
        return [size, size]
    numbers = isinstance(size, (list, tuple)) and all(isinstance(one, int) for one in size)
    if numbers and -1 in size:
        return max(size)
    return size
