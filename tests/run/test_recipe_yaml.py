"""A recipe's YAML is plain values, few of them, each key once; and says where it is not."""

from __future__ import annotations

import time

import pytest

from edgeresnet.run.recipe_yaml import MOST_NODES, parse_yaml

EXPLODING = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 8)}]\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (EXPLODING, rf"line \d: more than {MOST_NODES} values"),
        ("a: &a {x: 1}\nb: {<<: [" + "*a, " * MOST_NODES + "]}", "more than"),
        ("a: &a [*a]", "line 1: an alias of what it stands in"),
        ("a: *gone", "line 1: found undefined alias"),
        ("[" * 5000, "more than 16 levels"),
        ("a: 1\nb: 2\na: 3", "line 3: key a stands there twice"),
        ("a: {b: 1,\n 'b': 2}", "line 2: key b stands there twice"),
        ("1: a", "line 1: a key that is no text"),
        ("? [a]\n: b", "a key that is no text"),
        ("a: " + "9" * 10_000, "a number of 10000 digits"),
        ("a: !!python/object/apply:os.system [ls]", "no python/object/apply:os.system"),
        ("a: !!int many", "no int"),
        ("a: !!bool perhaps", "no bool"),
        ("a: !!timestamp soon", "no timestamp"),
        ("a: !!set {b}", "no set"),
        ("a: [", "line 1: "),
        ("a: 1\n---\nb: 1", "line 2: "),
        ("a: \x1b", "special characters"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_parse_yaml_says_where_when_it_is_no_recipe(text: str, words: str) -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match=words) as caught:
        parse_yaml(text)
    assert time.monotonic() - start < 2
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &t {lr: 1e-3}\nb: *t\nc: 010", {"a": {"lr": 1e-3}, "b": {"lr": 1e-3}, "c": 10}),
        ("a: &t {x: 1}\nb: {<<: *t, y: 2}", {"a": {"x": 1}, "b": {"x": 1, "y": 2}}),
        ("a: [1:4:8, 2026-11-01, yes, ~, '5', !!str 5]",
         {"a": ["1:4:8", "2026-11-01", True, None, "5", "5"]}),
        ("", None),
    ],
)  # fmt: skip
def test_parse_yaml_reads_what_people_write(text: str, value: object) -> None:
    assert parse_yaml(text) == value
