"""Splits: parts of the requested sizes, each class in proportion and in every part."""

import numpy as np
import pytest

from funcnn import data


def test_split():
    parts = data.split(100, [0.2, 0.1], key=(0,))
    assert [len(p) for p in parts] == [20, 10, 70]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(100))
    assert all(np.array_equal(a, b) for a, b in zip(parts, data.split(100, [0.2, 0.1], key=(0,)), strict=True))
    assert [len(p) for p in data.split(3, [1.0], key=(0,))] == [3, 0]
    for fractions in ([-0.1], [0.6, 0.6]):
        with pytest.raises(ValueError, match="fractions must be >= 0 and sum to at most 1"):
            data.split(10, fractions, key=(0,))


LABELS = np.repeat([7, 3, 5], [50, 31, 19])


@pytest.mark.parametrize("fractions", [[0.2], [0.2, 0.1], [0.33, 0.33], [0.5, 0.25, 0.25], [1.0], []])
@pytest.mark.parametrize("labels", [LABELS, np.arange(100) % 10, np.zeros(100, int), LABELS.astype(str)])
def test_a_stratified_split_has_each_class_in_proportion(fractions, labels):
    plain = data.split(100, fractions, key=(0,))
    parts = data.split(100, fractions, key=(0,), stratify=labels)
    assert [len(p) for p in parts] == [len(p) for p in plain]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(100))
    for part in parts:
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            assert abs((labels[part] == label).sum() - count * len(part) / 100) < 1.5
    again = data.split(100, fractions, key=(0,), stratify=labels)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_whole_shares_come_out_exactly_and_the_rest_by_lot():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    for key in range(5):
        test, rest = data.split(100, [0.3], key=(key,), stratify=labels)
        assert np.bincount(labels[test]).tolist() == [18, 9, 3] and np.bincount(labels[rest]).tolist() == [42, 21, 7]
    halves = [data.split(6, [0.5], key=(key,), stratify=[0, 0, 0, 1, 1, 1])[0] for key in range(20)]
    assert {np.count_nonzero(half < 3) for half in halves} == {1, 2}
    assert len({tuple(sorted(half)) for half in halves}) > 10  # not only how many of a class, but which
    assert any(np.diff(np.array([0, 0, 0, 1, 1, 1])[half]).min() < 0 for half in halves)  # not class by class


def test_classes_too_small_for_all_parts():
    labels = np.array([0] * 98 + [1, 2])
    parts = data.split(100, [0.2, 0.2], key=(0,), stratify=labels)
    assert [len(p) for p in parts] == [20, 20, 60]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(100))
    assert [len(p) for p in data.split(0, [0.5], key=(0,), stratify=np.zeros(0, int))] == [0, 0]
    with pytest.raises(
        ValueError, match=r"split: stratify must have one label for each of 100 indices, got shape \(99,\)"
    ):
        data.split(100, [0.2], key=(0,), stratify=labels[:99])


@pytest.mark.parametrize("seed", range(30))
def test_every_class_with_an_example_for_each_part_is_in_each_part(seed):
    rng = np.random.default_rng(seed)
    fractions = [[0.2], [0.2, 0.1], [0.1, 0.0, 0.1], [0.3, 0.3, 0.3]][seed % 4]
    counts = rng.integers(len(fractions) + 1, 40, rng.integers(2, 8))
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(labels)
    parts = data.split(n, fractions, key=(seed,), stratify=labels)
    assert [len(p) for p in parts] == [len(p) for p in data.split(n, fractions, key=(seed,))]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    assert min(len(p) for p in parts if len(p)) >= len(counts)  # so that there is room for all
    for part in parts:
        if len(part):
            assert np.bincount(labels[part], minlength=len(counts)).min() >= 1


def test_rare_classes_are_in_each_part_though_their_share_is_less_than_one_example():
    labels = np.repeat([0, 1, 2], [194, 3, 3])
    for key in range(5):
        parts = data.split(200, [0.1, 0.1], key=(key,), stratify=labels)
        assert [np.bincount(labels[p]).tolist() for p in parts] == [[18, 1, 1], [18, 1, 1], [158, 1, 1]]


def test_rare_classes_are_in_the_smallest_part_when_it_is_the_last():
    labels = np.repeat([0, 1, 2], [194, 2, 2])
    parts = data.split(198, [0.98], key=(0,), stratify=labels)
    assert np.bincount(labels[parts[1]]).tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    ("counts", "fractions"),
    [
        ([22, 5, 23, 3], [0.811, 0.068, 0.033]),
        ([5, 5, 5, 14], [0.763, 0.104]),
        ([32, 11, 3], [0.869, 0.045]),
        ([3, 11, 7, 3, 6, 3, 9], [0.562, 0.156]),
        ([4, 3, 12, 2], [0.019, 0.686, 0.087]),
    ],
)
def test_a_part_without_room_for_all_classes_leaves_them_to_those_with_room(counts, fractions):
    labels = np.repeat(np.arange(len(counts)), counts)
    for key in range(20):
        parts = data.split(len(labels), fractions, key=(key,), stratify=labels)
        assert min(map(len, parts)) < len(counts)
        often = np.array(counts) >= sum(len(part) > 0 for part in parts)
        for part in parts:
            if len(part) >= len(counts):
                assert np.bincount(labels[part], minlength=len(counts))[often].min() >= 1


def test_fractions_that_sum_to_1_up_to_rounding_leave_nothing():
    for fractions in ([0.1] * 10, [0.7, 0.2, 0.1], [0.1, 0.2, 0.7 + 2e-16], [1 / 3] * 3):
        assert len(data.split(30, fractions, key=(0,))[-1]) == 0
    for n, fractions in ((10, [np.nan]), (10, [0.5, 0.51]), (10, [1.2, -0.3]), (-1, [0.5]), (2.5, [0.5])):
        with pytest.raises(ValueError, match=r"split: (fractions must be >= 0 and sum to at most 1|n must be an int)"):
            data.split(n, fractions, key=(0,))


def test_parts_without_room_for_all_classes():
    labels = np.arange(100) % 10
    parts = data.split(100, [0.05, 0.9], key=(0,), stratify=labels)
    assert [len(p) for p in parts] == [5, 90, 5]
    assert all(np.bincount(labels[p]).max() == 1 for p in (parts[0], parts[2]))


def test_hold_out():
    labels = np.random.default_rng(0).permutation(LABELS)
    splits = data.hold_out(labels, 0.2, 0.1, key=(1,))
    assert [len(part) for part in splits] == [70, 10, 20] and splits._fields == ("train", "validation", "test")
    test, validation, train = data.split(100, [0.2, 0.1], key=(1,), stratify=labels)
    assert all(np.array_equal(a, b) for a, b in zip(splits, (train, validation, test), strict=True))
    assert [len(part) for part in data.hold_out(labels, 0.2, key=(1,))] == [80, 0, 20]
    assert [len(part) for part in data.hold_out(labels, 0.0, key=(1,))] == [100, 0, 0]
    assert not np.array_equal(data.hold_out(labels, 0.2, key=(2,)).test, data.hold_out(labels, 0.2, key=(1,)).test)


@pytest.mark.parametrize(
    ("labels", "fractions", "classes", "message"),
    [
        ([0] * 9 + [1] * 2, (0.2, 0.2), ["a", "b"],
         "class b has 2 of 11 examples; to train, validate, and test takes at least 3 of each class"),
        ([0] * 9 + [1], (0.2, 0.0), None, "class 1 has 1 of 10 examples; to train and test takes at least 2 of each"),
        ([0] * 9 + [2] * 9, (0.2, 0.0), ["a", "b", "c"], "class b has 0 of 18 examples"),
        ([3] * 9 + [7], (0.2, 0.0), None, "class 7 has 1 of 10 examples"),
        (list(range(10)) * 3, (0.1, 0.0), None, "test would have 3 of 30 examples, too few for one of each of 10"),
        ([0, 1, 2] * 4, (0.2, 0.1), None, "validation would have 2 of 12 examples, too few for one of each of 3"),
        ([0, 1, 2] * 4, (0.2, 0.1), None, r"test 0.2 and validation 0.1; .* \(--test 0.25 --validation 0.25\)"),
        ([0, 1, 2] * 50, (0.01, 0.1), None, r"--test 0.02 --validation 0.1\) are possible"),
        (list(range(10)) * 9, (0.2, 0.1), None, r"validation would have 9 .*--test 0.2 --validation 0.12\) are"),
        (list(range(16)) * 5, (0.0, 0.1), None, r"validation=0.2 \(--validation 0.2\) is possible"),
        (list(range(10)) * 2, (0.2, 0.0), None, r"test would have 4 .*--test 0.5 --validation 0\) are possible"),
        ([0] * 9 + [1] * 2, (0.2, 0.2), None, r"add examples of it, or leave it out; validation=0 \(--validation 0\)"),
        (list(range(10)) * 4, (0.5, 0.1), None, "validation would have 4 of 40 examples, too few for one of each of"),
        ([0, 1] * 9, (0.5, 0.5), None, r"test 0.5 and validation 0.5 must be >= 0 and sum to less than 1"),
        ([0, 1] * 9, (-0.1, 0.5), None, "test -0.1 and validation 0.5 must be >= 0"),
        ([0, 1, -1] * 9, (0.2, 0.0), None, "hold_out: labels must be >= 0; they go from -1 to 1"),
        ([0, 5] * 9, (0.2, 0.0), ["a", "b"], "labels must be >= 0 and below 2, the number of classes; .* 0 to 5"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_out(labels, fractions, classes, message):
    with pytest.raises(ValueError, match=message):
        data.hold_out(np.array(labels), *fractions, key=(0,), classes=classes)


def test_labels_that_are_no_ints():
    with pytest.raises(TypeError, match=r"hold_out: labels must be integers \(N,\), not <U1 \(2,\)"):
        data.hold_out(np.array(["a", "b"]), 0.5, key=(0,))
