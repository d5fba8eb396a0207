"""What the examples of all targets have in common is the same in each."""

from __future__ import annotations

from edgeresnet.device.targets.registry import TARGETS, example_of
from tests.fakes import FakeSession

MARK = "# From here on the examples of all targets are the same.\n"


def test_every_target_has_an_example_and_they_share_what_is_not_the_runtimes() -> None:
    shared = {}
    for name in TARGETS:
        path = example_of(name)
        assert path is not None, name
        _, shared[name] = path.read_text(encoding="utf-8").split(MARK)
    first = next(iter(shared.values()))
    assert [name for name, text in shared.items() if text != first] == []
    assert "def check(" in first


def test_example_of_is_none_where_a_target_has_none(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(TARGETS, "fake", FakeSession(lambda batch: batch))
    assert example_of("fake") is None
