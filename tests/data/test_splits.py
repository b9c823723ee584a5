from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toy_data
from hypothesis import given
from hypothesis import strategies as st

from edgemate.data.seeding import Purpose
from edgemate.data.source import ArrayImages, DataSource
from edgemate.data.splits import hold_out, split, stratified_sample
from edgemate.errors import DataError, UsageError

label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=120).map(lambda x: np.array(x, dtype=np.int64))
fractions = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**40)


def source_of(labels):
    train = ArrayImages(np.zeros((len(labels), 1, 1, 1), np.uint8), labels)
    test = ArrayImages(np.zeros((3, 1, 1, 1), np.uint8), np.zeros(3, np.int64))
    return DataSource("toy", tuple("abcdefg"), 1, train, test, (1, 1))


@given(labels=label_lists, fraction=fractions, seed=seeds)
def test_holding_out_splits_the_images_by_class(labels, fraction, seed):
    kept, held = hold_out(labels, fraction, Purpose.CALIBRATION_SPLIT, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    counts = np.bincount(labels)
    for label in np.flatnonzero(counts >= 2):
        assert label in labels[kept]
        assert label in labels[held]
    assert not np.isin(labels[held], np.flatnonzero(counts == 1)).any()


@given(per_class=st.integers(2, 40), classes=st.integers(1, 6), fraction=fractions, seed=seeds)
def test_class_fractions_are_kept(per_class, classes, fraction, seed):
    labels = np.repeat(np.arange(classes), per_class)
    _, held = hold_out(labels, fraction, Purpose.CALIBRATION_SPLIT, seed)
    counts = np.bincount(labels[held], minlength=classes)
    assert counts.max() - counts.min() <= 1
    assert abs(counts - per_class * fraction).max() <= 1


@given(labels=label_lists, fraction=fractions, seed=seeds, limit=st.integers(1, 130))
def test_splits_are_seeded_disjoint_and_limited(labels, fraction, seed, limit):
    if np.bincount(labels).max() < 2:
        with pytest.raises(DataError, match="no class has two"):
            split(source_of(labels), fraction, seed)
        return
    source = source_of(labels)
    whole, again, limited = (
        split(source, fraction, seed),
        split(source, fraction, seed),
        split(source, fraction, seed, limit),
    )
    for name in ("train", "calibration", "test"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(again, name))
        assert (np.diff(getattr(whole, name)) > 0).all()
    assert not np.intersect1d(whole.train, whole.calibration).size
    np.testing.assert_array_equal(whole.calibration, limited.calibration)
    np.testing.assert_array_equal(whole.test, np.arange(3))
    assert np.isin(limited.train, whole.train).all()
    assert len(limited.train) == min(limit, len(whole.train))
    if limit >= 7:
        assert set(labels[limited.train]) == set(labels[whole.train])


@given(labels=label_lists, seed=seeds, limit=st.integers(1, 130))
def test_each_limit_changes_its_own_split_only(labels, seed, limit):
    source = source_of(np.concatenate([labels, labels]))
    whole = split(source, 0.5, seed)
    for name in ("train", "calibration", "test"):
        limited = split(source, 0.5, seed, **{f"{name}_limit": limit})
        for other in {"train", "calibration", "test"} - {name}:
            np.testing.assert_array_equal(getattr(limited, other), getattr(whole, other))
        kept, everything = getattr(limited, name), getattr(whole, name)
        assert len(kept) == min(limit, len(everything))
        assert np.isin(kept, everything).all()
        assert (np.diff(kept) > 0).all()


@given(labels=label_lists, count=st.integers(0, 130), seed=seeds)
def test_a_sample_has_every_class_as_soon_as_it_can(labels, count, seed):
    sample = stratified_sample(labels, count, seed)
    assert len(np.unique(sample)) == len(sample) == min(count, len(labels))
    assert len(set(labels[sample])) == min(count, len(set(labels)))


@given(labels=label_lists, seed=seeds, fraction=fractions, data=st.data())
def test_a_calibration_split_of_the_dataset_is_kept_whatever_the_seed(labels, seed, fraction, data):
    labels = np.concatenate([labels, labels])
    size = data.draw(st.integers(1, len(labels) - 1))
    own = np.sort(data.draw(st.permutations(range(len(labels))).map(lambda order: np.array(order[:size]))))
    found = split(replace(source_of(labels), calibration=own), fraction, seed)
    np.testing.assert_array_equal(found.calibration, own)
    np.testing.assert_array_equal(np.sort(np.concatenate([found.train, own])), np.arange(len(labels)))
    limited = split(replace(source_of(labels), calibration=own), fraction, seed, 1, 1)
    assert (len(limited.train), len(limited.calibration)) == (1, 1)
    assert limited.calibration[0] in own
    assert limited.train[0] in found.train


@pytest.mark.parametrize(("size", "problem"), [(0, "its calibration split has no images"), (3, "no training images")])
def test_a_calibration_split_of_none_or_all_images_is_refused(size, problem):
    with pytest.raises(DataError, match=problem):
        split(replace(source_of(np.arange(3)), calibration=np.arange(size)), 0.1, 0)


def test_another_seed_gives_another_split():
    source = toy_data.array_source(n=100)
    assert not np.array_equal(split(source, 0.2, 0).calibration, split(source, 0.2, 1).calibration)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(UsageError, match="between 0 and 1"):
        split(toy_data.array_source(), fraction, 0)


@pytest.mark.parametrize("limit", ["train_limit", "calibration_limit", "test_limit"])
def test_an_impossible_limit_is_refused(limit):
    with pytest.raises(UsageError, match=f"{limit} is 0"):
        split(toy_data.array_source(), 0.1, 0, **{limit: 0})
