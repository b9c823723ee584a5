from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgemate.data.seeding import Purpose, permutation, seed_of


@given(n=st.integers(0, 300), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_a_permutation_has_every_number_once_and_depends_on_its_key_only(n, seed, epoch):
    first = permutation(n, Purpose.ORDER, seed, epoch)
    permutation(3, Purpose.TEST_SPLIT, seed)
    np.testing.assert_array_equal(first, permutation(n, Purpose.ORDER, seed, epoch))
    np.testing.assert_array_equal(np.sort(first), np.arange(n))


def test_the_permutation_never_changes():
    assert permutation(8, Purpose.ORDER, 0, 0).tolist() == [7, 1, 2, 3, 0, 5, 6, 4]
    assert seed_of(Purpose.AUGMENTATION, 1, 2, 3) == 1574849190144130912


@given(seed=st.integers(0, 2**40))
def test_purposes_and_keys_give_independent_draws(seed):
    seeds = {seed_of(purpose, seed, epoch) for purpose in Purpose for epoch in range(5)}
    assert len(seeds) == 5 * len(Purpose)
    assert all(0 <= s < 2**63 for s in seeds)
