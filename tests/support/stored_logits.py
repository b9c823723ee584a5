"""Random logits of a network whose later exits know more, as a run would have stored them."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis.extra import numpy as hnp

Stored = tuple[np.ndarray, np.ndarray, list[float]]


def make_stored(images: int, exits: int, classes: int, seed: int = 0) -> Stored:
    """Logits float32 `(N, K, C)`, labels int64 `(N,)` and rising costs `(K,)`."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images)
    logits = random.normal(size=(images, exits, classes)).astype(np.float32)
    for exit in range(exits):
        logits[np.arange(images), exit, labels] += exit
    return logits, labels, np.cumsum(random.uniform(1, 5, exits)).tolist()


@st.composite
def stored(draw: st.DrawFn) -> Stored:
    """The same with whatever logits hypothesis likes: ties, one class, one exit, one image."""
    images, exits, classes = draw(st.integers(1, 12)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    # Few distinct values, so that ties between classes, exits and images are common.
    values = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e4, 1e4, width=32))
    logits = draw(hnp.arrays(np.float32, (images, exits, classes), elements=values))
    labels = draw(hnp.arrays(np.int64, images, elements=st.integers(0, classes - 1)))
    costs = np.cumsum(draw(st.lists(st.integers(1, 10), min_size=exits, max_size=exits)))
    return logits, labels, costs.astype(float).tolist()
