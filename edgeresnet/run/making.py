"""What a stage is made of, and what of it is another than before: why it is kept or done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeresnet.device.machine.privacy import shareable
from edgeresnet.progress import OnStep, duration
from edgeresnet.run.failures import failure_kept, failure_path, read_failure
from edgeresnet.run.stage_record import Record, read_stage_record
from edgeresnet.untrusted import short

# Settings that are hashes, or numbers of ours: what their change means.
MEANING = {
    "before": "what it begins with is another",
    "data.0": "the training images or their classes are others",
    "data.1": "the validation images or their classes are others",
    "model.weights": "the weights, or what lies beside them, are others",
    "counting": "parameters are counted otherwise in this version of edgeresnet",
}
MOST_CHANGES = 5
UNSET = object()


@dataclass(frozen=True)
class Making:
    """What decides a stage's outcome.

    Attributes:
        name: of the stage.
        version: of how it works.
        settings: plain values, and contents instead of paths.
    """

    name: str
    version: int
    settings: Any

    @property
    def key(self) -> str:
        """64 hex digits by which the same outcome is known again."""
        text = json.dumps([self.name, self.version, self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def record(self, seconds: float) -> Record:
        """What says that the stage stands."""
        return Record(
            stage=self.name,
            key=self.key,
            seconds=seconds,
            version=self.version,
            settings=self.settings,
        )

    def failure_kept(
        self, record_path: Path, on_step: OnStep, *, record_host: bool
    ) -> AbstractContextManager[None]:
        """Leaves the error of its block beside the record; see `failures.failure_kept`."""
        return failure_kept(
            failure_path(record_path), self.name, self.version, self.settings,
            on_step=on_step, record_host=record_host,
        )  # fmt: skip

    def kept_line(self, record_path: Path) -> str:
        """Why the stage is not run again, whose record has its key."""
        record = read_stage_record(record_path)
        took = f" in {duration(record['seconds'])}" if record else ""
        later = isinstance(self.settings, dict) and "before" in self.settings
        same = "settings and what it begins with" if later else "settings, images and weights"
        return f"{self.name}: done before{took}; kept, because its {same} are the same"

    def redone_lines(self, record_path: Path, output: Path, doubt: str = "") -> list[str]:
        """Why the stage is run, though there was a run before; none in a new one.

        Args:
            record_path: of the stage.
            output: of the stage.
            doubt: what is wrong with them, if something is.
        """
        failure = read_failure(failure_path(record_path))
        record = read_stage_record(record_path)
        lines = []
        if record is not None and not doubt:
            doubt = f"{output.name} is not there any more"
            if record["key"] != self.key:
                doubt = self._change(record)
        if doubt:
            lines.append(f"{self.name}: is done again, because {doubt}")
        if failure is not None:
            lines.append(f"{self.name}: failed before: {short(failure['message'].splitlines()[0])}")
            if changes := list(self._changes(failure)):
                lines.append(f"{self.name}: since it failed, {_joined(changes)}")
        return lines

    def _change(self, record: Record) -> str:
        if "settings" not in record:
            return (
                "its settings, images or weights changed; which of them, the record of an older "
                "version does not tell"
            )
        return _joined(list(self._changes(record))) or "its key is another"

    def _changes(self, before: Mapping[str, Any]) -> Iterator[str]:
        """One clause for each thing that was another."""
        if before["version"] != self.version:
            yield "this version of edgeresnet does it otherwise"
        old = dict(_flat("", before["settings"]))
        # As it is written and read.
        new = dict(_flat("", json.loads(json.dumps(shareable({"": self.settings}))).get("")))
        for name in dict.fromkeys((*old, *new)):
            was, now = old.get(name, UNSET), new.get(name, UNSET)
            if was is not now and was != now:
                yield MEANING.get(name) or f"{name} {_was(was)}, and {_is(now)}"


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Each value by its dotted name; an empty group has none."""
    listed = isinstance(value, list) and name == "data"
    if isinstance(value, dict) or listed:
        items = enumerate(value) if listed else value.items()
        for key, inner in items:
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    else:
        yield name, value


def _was(value: object) -> str:
    return "was not set" if value is UNSET else f"was {short(json.dumps(value))}"


def _is(value: object) -> str:
    return "is not set now" if value is UNSET else f"is {short(json.dumps(value))}"


def _joined(changes: list[str]) -> str:
    shown = changes[:MOST_CHANGES]
    more = len(changes) - len(shown)
    return "; ".join([*shown, *([f"and {more} more"] if more else [])])
