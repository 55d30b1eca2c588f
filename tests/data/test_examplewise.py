"""Augmentations of single examples: any part of a batch is augmented as in the whole batch, bit for bit."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from arrays import normal

from funcnn import data, keys
from funcnn.data import examplewise
from funcnn.data.examplewise import Examplewise, augment_sources, is_examplewise

X = normal(11, 6, 5, 2).astype(np.float32)


def shift_and_flip(key, x):
    return data.random_flip(keys.fold_in(key, 1), data.random_shift(keys.fold_in(key, 0), x))


def brighten(key, x):
    batch_size, rows = data.batch_rows(len(x))
    return x * keys.generator(key).uniform(0.8, 1.2, (batch_size, 1, 1, 1)).astype(x.dtype)[rows]


AUGMENTATIONS = {
    "shift": data.random_shift,
    "shift_some": partial(partial(data.random_shift, max_shift=2), fraction=0.5),
    "crop": partial(data.random_crop, size=(4, 3), padding=1),
    "flip": data.random_flip,
    "cutout": partial(data.cutout, size=3),
    "jitter": data.jitter,
    "scale": data.random_scale,
    "composed": Examplewise(shift_and_flip),
    "own": Examplewise(brighten),
}


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_a_part_of_a_batch_is_augmented_as_in_the_whole(augment):
    whole = augment((3,), X)
    source = augment_sources(augment, X)((3,), data.Selected(X, np.arange(11)))
    assert source.shape == whole.shape and np.asarray(source).tobytes() == whole.tobytes()
    for ends in ([0, 11], [0, 5, 11], [0, 2, 5, 8, 11], range(12)):
        parts = [source[first:last] for first, last in pairwise(ends)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    rows = np.array([7, 2, 2, 9])
    assert data.take(source, rows).tobytes() == whole[rows].tobytes()


def test_every_augmentation_but_mixup_is_of_single_examples():
    assert set(examplewise._EXAMPLEWISE) == {getattr(data, name) for name in data.augmentation.__all__} - {
        data.mixup, data.one_hot
    }  # fmt: skip
    assert all(map(is_examplewise, AUGMENTATIONS.values()))


def test_a_function_that_declares_nothing_is_given_whole_batches():
    seen = []

    def centred(key, x):
        seen.append(x.shape)
        return shift_and_flip(key, x - x.mean())

    for augment in (centred, partial(centred), lambda key, x: centred(key, x)):
        assert not is_examplewise(augment)
        augmented = augment_sources(augment, X)((3,), data.Selected(X, np.arange(11)))
        assert isinstance(augmented, np.ndarray) and np.array_equal(augmented, shift_and_flip((3,), X - X.mean()))
    assert seen == [X.shape] * 3


@pytest.mark.parametrize(
    "augment, message",
    [
        (lambda key, x: data.random_flip(key, x[:1]), "1 examples instead of the 4 that are augmented"),
        (lambda key, x: x[:1], r"the augmentation made \(1, 6, 5, 2\) of rows \(4, 6, 5, 2\), not \(4, 6, 5, 2\)"),
    ],
)
def test_a_function_that_does_not_treat_examples_one_by_one_is_refused(augment, message):
    source = augment_sources(Examplewise(augment), X)((3,), X)
    with pytest.raises(ValueError, match=message):
        source[2:6]
    assert data.batch_rows(5) == (5, slice(None))
