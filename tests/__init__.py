"""The tests. Their process too is prepared before any of them imports torch."""

import edgeresnet  # noqa: F401 - for its effect
