"""What pruning can do where there is no classifier: cut by the weights alone, and recover nothing.

What the embedding or the levels serve is trained somewhere else, as in a detector, and so is the
narrower network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeresnet.errors import InputError
from edgeresnet.host.pruning.criteria import CRITERIA
from edgeresnet.settings.training import RECOVERY_DEFAULTS

if TYPE_CHECKING:
    from edgeresnet.settings.pruning import PruneOptions

NOT_RECOVERED = (
    "not recovered: without a classifier there is nothing to learn here; train the network where "
    "it is used"
)


def check_headless(options: PruneOptions) -> None:
    """Refuse what goes by a classifier's answers, or is of the training that wins them back.

    Raises:
        InputError: an option does.
    """
    if CRITERIA[options.criterion].of_loss:
        others = [name for name, one in CRITERIA.items() if not one.of_loss and name != "random"]
        possible = "l1" if options.pattern else ", ".join(others)
        raise InputError(
            f"criterion {options.criterion} goes by a classifier's loss, and the checkpoint has "
            "no classifier",
            f"give --criterion {possible}; or prune the classifier that it came from.",
        )
    idle = {
        "compare_criteria": options.compare_criteria,
        "iterations": options.iterations > 1,
        "train": options.train != RECOVERY_DEFAULTS,
    }
    if given := [name for name, is_given in idle.items() if is_given]:
        raise InputError(
            f"{', '.join(given)} would have no effect: the checkpoint has no classifier, and "
            "nothing is trained after the cut",
            "leave it out; train the network where it is used.",
        )
