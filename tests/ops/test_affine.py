"""The channelwise affine map against loops, in every shape of its leaves."""

import numpy as np
import pytest
from arrays import normal

from funcnn import ops
from funcnn.testing import check_vjp

SHAPES = [(), (1,), (5,), (4, 1), (1, 5), (3, 1, 1), (3, 4, 5), (1, 4, 1)]


def entry(leaf, index):
    """The entry of a leaf that is repeated to an example, at an index of the example."""
    own = index[len(index) - leaf.ndim :]
    return leaf[tuple(0 if s == 1 else i for s, i in zip(leaf.shape, own, strict=True))]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("names", [("scale", "bias"), ("scale",), ("bias",)])
def test_value_and_vjp(shape, names):
    x = normal(2, 3, 4, 5)
    params = {name: normal(*shape, seed=i) if shape else np.array(1.5 - i) for i, name in enumerate(names)}
    y, vjp = ops.affine(params, x)
    one, none = np.ones(()), np.zeros(())
    for n, *index in np.ndindex(*x.shape):
        scale, bias = (entry(params.get(name, absent), index) for name, absent in (("scale", one), ("bias", none)))
        np.testing.assert_allclose(y[n, *index], scale * x[n, *index] + bias, rtol=1e-14)
    check_vjp(ops.affine, params, x, strict=True)
    dparams, no_dx = vjp(y, input_gradient=False)
    assert no_dx is None and dparams.keys() == params.keys()


def test_leaves_of_different_shapes():
    check_vjp(ops.affine, {"scale": normal(4, 1), "bias": normal(5)}, normal(2, 4, 5), strict=True)


def test_it_is_batch_norm_by_given_statistics():
    params, x = {"scale": normal(5), "bias": normal(5, seed=1)}, normal(2, 3, 5)
    stats = {"mean": np.zeros(5), "var": np.ones(5)}
    y, vjp, _ = ops.batch_norm(params, x, stats=stats, eps=0.0)
    got, got_vjp = ops.affine(params, x)
    np.testing.assert_allclose(got, y, rtol=1e-14)
    (dparams, dx), (got_dparams, got_dx) = vjp(y), got_vjp(y)
    for actual, expected in ((got_dx, dx), *((got_dparams[name], dparams[name]) for name in params)):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "affine: params"),
        ({"scale": normal(5), "shift": normal(5)}, "affine: params"),
        ({"scale": normal(4)}, r"affine: scale \(4,\) does not broadcast to an example of x \(2, 3, 5\)"),
        ({"bias": normal(2, 3, 5)}, r"affine: bias \(2, 3, 5\) does not broadcast"),
        ({"bias": normal(3, 1), "scale": normal(5, 1)}, r"affine: scale \(5, 1\) does not broadcast"),
    ],
)
def test_leaves_that_do_not_fit_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        ops.affine(params, normal(2, 3, 5))
