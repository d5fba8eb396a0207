"""Strangers' files do no harm: each is refused in one message, or read without any.

``pytest -m slow -s`` runs all attacks and prints the table; by default only some of each item are
run. ``EDGERESNET_HOSTILE_SEED`` makes other ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile import bundles, checkpoints, golden, images, models, recipes, remote, terminal
from tests.hostile.attack import Generator
from tests.hostile.run import Row, Server, run_item, serving, table

ITEMS: dict[str, Generator] = {
    "bundles": bundles.attacks,
    "checkpoints": checkpoints.attacks,
    "golden": golden.attacks,
    "images": images.attacks,
    "models": models.attacks,
    "recipes": recipes.attacks,
    "remote": remote.attacks,
    "terminal": terminal.attacks,
}
SEED = int(os.environ.get("EDGERESNET_HOSTILE_SEED", "0"))
# Of which attacks following each other one is tried by default: about four of each item.
EVERY = {
    "bundles": 75, "checkpoints": 79, "golden": 32, "images": 40, "models": 81, "recipes": 42,
    "remote": 133, "terminal": 44,
}  # fmt: skip
# Hostile files are made in ways that torch and zipfile warn of; the attacked process has its own.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("room")) as made:
        yield made


def check(rows: list[Row]) -> None:
    told = [
        f"{row.item}: {row.attack.name}: {'; '.join(row.faults)}\n{row.outcome.printed[-800:]}"
        for row in rows
        if row.faults
    ]
    assert not told, "\n".join(told)


@pytest.mark.parametrize("item", ITEMS)
def test_some_hostile_inputs_do_no_harm(item: str, server: Server, tmp_path: Path) -> None:
    rows = run_item(server, item, ITEMS[item], tmp_path, SEED, EVERY[item])
    assert len(rows) >= 3
    check(rows)


@pytest.mark.slow
def test_hostile_inputs_do_no_harm(server: Server, tmp_path: Path) -> None:
    rows = [
        row
        for item, generator in ITEMS.items()
        for row in run_item(server, item, generator, tmp_path, SEED)
    ]
    print(f"\nseed {SEED}\n{table(rows)}")
    check(rows)
