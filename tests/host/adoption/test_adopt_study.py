"""Sixty files whose settings are hidden: how many does `adopt` recover?

A few networks are trained, each in a way of its own; of each several files are made, which hide
channels, class order and which weights are good too. All are drawn by a seed, each option as often
as any other. Run once before a release: ``pytest -m slow -s`` with this file. Some of the networks
only, such as ``EDGERESNET_STUDY_NETWORKS=9-12``: what there is time for at once; those of ResNet-50
take most of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.host.adoption.hidden import Verdict, adopt_and_judge
from tests.somebody_elses import NORMALIZATIONS, Hidden, draw, pictures, save_folder, train

NETWORKS, FILES_OF_EACH, IMAGES = 12, 5, 2000
# Channels of the first level. As narrow as learns this task: what is looked for lies around the
# network, and 48 px through a ResNet-50 as wide as the other take ten processor minutes a file.
WIDTH: dict[str, int] = {"resnet18": 16, "resnet50": 8}
SEED = int(os.environ.get("EDGERESNET_STUDY_SEED", "0"))
FIRST, LAST = map(int, os.environ.get("EDGERESNET_STUDY_NETWORKS", f"1-{NETWORKS}").split("-"))


def evenly(options: Sequence[Any], count: int, rng: np.random.Generator) -> Iterator[Any]:
    """Each option as often as any other, in a random order."""
    repeated = [options[i % len(options)] for i in range(count)]
    return (repeated[int(i)] for i in rng.permutation(count))


def trainings(rng: np.random.Generator) -> list[Hidden]:
    """How the networks are trained."""
    # Two of ResNet-50: a file of theirs takes several times as long.
    archs = [*["resnet18"] * 8, *["resnet50"] * 2, *["resnet18"] * 2]
    stems = evenly(["imagenet", "imagenet-nopool", "small", "small-pool"], NETWORKS, rng)
    strides = evenly(["3x3", "1x1"], 4, rng)
    sizes = evenly([32, 48], NETWORKS, rng)
    crops = evenly(["squash", 0.875, 1.0], NETWORKS, rng)
    interpolations = evenly(["bilinear", "bicubic", "nearest"], NETWORKS, rng)
    normalizations = evenly(list(NORMALIZATIONS), NETWORKS, rng)
    return [
        Hidden(
            arch=arch,
            stem=next(stems),
            stride_in=next(strides) if arch == "resnet50" else "3x3",
            size=next(sizes),
            crop=next(crops),
            interpolation=next(interpolations),
            normalization=next(normalizations),
        )
        for arch in archs
    ]


def study(number: int, base: Hidden, photos: Path, folder: Path) -> list[Verdict]:
    """Train one network and adopt its files."""
    torch.set_num_threads(1)
    rng = np.random.default_rng([SEED, number])
    judged = pictures("val", IMAGES, 11)
    width = WIDTH[base.arch]
    trained = train(base, images=6000, epochs=5, width=width, seed=number)
    folder.mkdir()
    verdicts: list[Verdict] = []
    for _ in range(FILES_OF_EACH):
        hidden = draw(base, rng)
        verdict, results = adopt_and_judge(
            trained, hidden, photos, judged, folder, width=width, rng=rng
        )
        verdicts.append(verdict)
        found = {name: results["settings"][name] for name in verdict.fields if name != "classes"}
        print(
            f"{number + 1:2}.{len(verdicts)} {verdict.word:9} top-1 {results['top1']:.3f} "
            f"{verdict.seconds:.0f} s {results['candidates']} ways {vars(hidden)} taken: {found}",
            flush=True,
        )
    return verdicts


@pytest.mark.slow
def test_adopt_recovers_most_and_none_wrongly(tmp_path: Path) -> None:
    photos = save_folder(tmp_path / "photos", IMAGES, seed=11)
    bases = trainings(np.random.default_rng(SEED))
    folders = [tmp_path / str(number) for number in range(NETWORKS)]
    # Each on a core of its own: a network this small gains nothing from several.
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        wanted = range(FIRST - 1, LAST)
        own = [(n, bases[n], photos, folders[n]) for n in wanted]
        parts = pool.map(study, *zip(*own, strict=True))
        verdicts = [verdict for part in parts for verdict in part]
    words = Counter(verdict.word for verdict in verdicts)
    print(dict(words), f"median {np.median([v.seconds for v in verdicts]):.0f} s")
    assert words["wrong"] == 0
    assert words["exact"] + words["excused"] >= 0.75 * len(wanted) * FILES_OF_EACH
