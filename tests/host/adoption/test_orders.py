from __future__ import annotations

import numpy as np

from edgeresnet.host.adoption.orders import assigned, enough, known_orders, right_when_assigned


def test_known_orders_are_all_that_folders_may_have_had_without_doubles() -> None:
    orders = known_orders(["1", "10", "2"])
    assert {name: order.tolist() for name, order in orders.items()} == {
        "sorted as text": [0, 1, 2],
        "sorted by number": [0, 2, 1],
    }
    # A file of labels lists them as it likes.
    assert known_orders(["b", "a"])["as the data lists them"].tolist() == [0, 1]


def test_assigned_finds_any_order_and_judges_it_by_other_images() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(10)
    labels = rng.integers(0, 10, 400)
    logits = rng.normal(0, 1, (400, 10)).astype(np.float32)
    logits[np.arange(400), order[labels]] += 2
    assert assigned(logits, labels).tolist() == order.tolist()
    right = right_when_assigned(logits, labels)
    assert right.tolist() == (logits.argmax(1) == order[labels]).tolist()


def test_an_order_found_in_noise_is_not_above_chance() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 400)
    logits = rng.normal(0, 1, (400, 10)).astype(np.float32)
    found = (logits.argmax(1) == assigned(logits, labels)[labels]).mean()
    # Judged by its own images it flatters itself.
    assert found > 0.12 > right_when_assigned(logits, labels).mean()


def test_enough_asks_for_some_images_of_every_class() -> None:
    assert enough(np.repeat(np.arange(3), 5), 3)
    assert not enough(np.repeat(np.arange(3), 5), 4)
