"""What a run left of itself, as an audit reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.open import SOURCES, open_dataset
from edgeresnet.device.machine.environment import cpu_flags, cpu_name, versions
from edgeresnet.errors import EdgeResNetError, InputError
from edgeresnet.progress import TaskContext
from edgeresnet.results.measured import CompareResults
from edgeresnet.run.folder import RECORDS
from edgeresnet.run.report_page import RESULTS, read_results
from edgeresnet.run.stage_record import Record
from edgeresnet.untrusted import read_record

TRAIN, PRUNE, QUANTIZE, EXPORT = "01-train", "02-prune", "03-quantize", "04-export"
CHECKPOINT = "checkpoint.pt"
DENSE = "-dense-"


@dataclass(frozen=True)
class DataAtHand:
    """The data that a run was measured on.

    Attributes:
        spec: DATA SPEC; None: it is not at hand.
        why: there is none.
        images: of its validation split.
        fault: the record is of other images than data of that name has anywhere.
    """

    spec: str | None
    why: str = ""
    images: int = 0
    fault: str | None = None


class Recorded:
    """A run's folder.

    Args:
        run_dir: of it.

    Attributes:
        path: of the folder.
        records: of its stages that stand, by name.
        results: of its comparison; None where there was none.

    Raises:
        InputError: a record is damaged, or the results are.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir
        paths = sorted((run_dir / RECORDS).glob("*.json"))
        self.records: dict[str, Record] = {
            path.stem: read_record(path, Record, "stage record", "run the stage again.")
            for path in paths
            if ".failed" not in path.name
        }
        if not self.records:
            raise InputError(f"{run_dir} has no stage that is done", "finish the run first.")
        self.results: CompareResults | None = None
        if (run_dir / RESULTS).exists():
            self.results = read_results(run_dir)

    @property
    def bundles(self) -> dict[str, Path]:
        """The run's bundles by name, in the order of the comparison."""
        prefix = f"{EXPORT}-"
        made = [name.removeprefix(prefix) for name in self.records if name.startswith(prefix)]
        told = [] if self.results is None else [row["name"] for row in self.results["rows"]]
        ordered = [*(name for name in told if name in made), *made]
        return {name: self.path / EXPORT / name for name in dict.fromkeys(ordered)}

    def settings(self, stage: str) -> Mapping[str, Any]:
        """What a stage was made with; empty where its record does not tell."""
        record = self.records.get(stage)
        told = {} if record is None else record.get("settings")
        return told if isinstance(told, dict) else {}

    def checkpoint(self, stage: str) -> Path:
        """The checkpoint that a stage wrote."""
        return self.path / stage / CHECKPOINT

    def before(self, stage: str) -> str | None:
        """The stage that a stage begins with; None: with data and weights."""
        float_stage = PRUNE if PRUNE in self.records else TRAIN
        if stage == TRAIN:
            return None
        if stage in (PRUNE, f"{QUANTIZE}-dense"):
            return TRAIN
        if stage == QUANTIZE:
            return float_stage
        dense = DENSE in stage
        of = self.settings(stage).get("of")
        precision = str(of[1]) if isinstance(of, list) and len(of) == 2 else ""
        if precision.startswith(("int8", "w8")):
            return f"{QUANTIZE}-dense" if dense else QUANTIZE
        return TRAIN if dense else float_stage

    @cached_property
    def seed(self) -> int:
        """The recipe's seed, which is that of every stage."""
        places = (
            self.settings(QUANTIZE).get("quantize"),
            self.settings(TRAIN).get("train"),
            self.settings(PRUNE).get("prune"),
        )
        told = [place.get("seed") for place in places if isinstance(place, dict)]
        return next((seed for seed in told if isinstance(seed, int)), 0)

    @property
    def limit(self) -> int | None:
        """Images of each split that the recipe takes; None: all."""
        told = self.settings(TRAIN).get("limit")
        return told if isinstance(told, int) else None

    def same_machine(self) -> bool:
        """Whether the results are of this processor and these versions."""
        if self.results is None:
            return False
        told = self.results["environment"]
        here = {"cpu": cpu_name(), "cpu_flags": cpu_flags(), "versions": versions()}
        return all(told.get(key) == value for key, value in here.items())

    def data(self, context: TaskContext, remembered: str | None) -> DataAtHand:
        """The validation images that the run was made with, known again by their content.

        Args:
            context: the data that is given; None: what is remembered.
            remembered: DATA SPEC of the run's checkpoint.

        Raises:
            InputError: what is given is not usable, or not what the run was made with.
        """
        told = self.settings(TRAIN).get("data")
        if not isinstance(told, list) or len(told) != 2:
            return DataAtHand(None, "the record does not tell which images they were")
        spec = context.data or remembered
        if spec is None:
            return DataAtHand(None, "nobody says which data (--data SPEC)")
        try:
            dataset = open_dataset(
                spec, "val", limit=self.limit, skip_broken=context.skip_broken, unlabelled=True
            )
            own = content_fingerprint(dataset, context.on_step)
        except EdgeResNetError as error:
            if context.data is not None:
                raise
            return DataAtHand(None, f"{error.cause} (--data SPEC)")
        if own == told[1]:
            return DataAtHand(spec, images=len(dataset))
        what = f"the validation images of {dataset.name} are not those of the record"
        if spec in SOURCES:
            return DataAtHand(None, what, fault=what)
        if context.data is not None:
            raise InputError(what, "give the data that the run was made with, or leave it out.")
        return DataAtHand(None, f"{what} (--data SPEC)")
