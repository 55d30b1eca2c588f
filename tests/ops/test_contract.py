"""What every op promises, one line an op: a new op joins by adding its line, and cannot be public without one."""

import numpy as np
import pytest
from arrays import distinct, layouts, normal

from funcnn import ops, tree
from funcnn.testing import check_vjp

IMAGES = distinct(2, 4, 5, 3)
MATRIX = distinct(3, 5)
AFFINE = {"scale": normal(3), "bias": normal(3, seed=1)}

# name: the op as a function of its differentiable arguments, and arguments
OPS = {
    "add": (ops.add, (normal(2, 3), normal(2, 3, seed=1), normal(2, 3, seed=2))),
    "avg_pool": (lambda x: ops.avg_pool(x, 2), (IMAGES,)),
    "concat": (ops.concat, (normal(2, 3, 2), normal(2, 3, 4), normal(2, 3, 1))),
    "conv": (lambda p, x: ops.conv(p, x, padding=1), ({"w": normal(3, 3, 3, 2), "b": normal(2)}, IMAGES)),
    "dense": (ops.dense, ({"w": normal(5, 4), "b": normal(4)}, MATRIX)),
    "dropout": (lambda x: ops.dropout(x, rate=0.4, key=(1,)), (MATRIX,)),
    "flatten": (ops.flatten, (IMAGES,)),
    "global_avg_pool": (ops.global_avg_pool, (IMAGES,)),
    "global_max_pool": (ops.global_max_pool, (IMAGES,)),
    "leaky_relu": (ops.leaky_relu, (MATRIX,)),
    "log_softmax": (ops.log_softmax, (MATRIX,)),
    "max_pool": (lambda x: ops.max_pool(x, 2), (IMAGES,)),
    "relu": (ops.relu, (MATRIX,)),
    "sigmoid": (ops.sigmoid, (MATRIX,)),
    "softmax": (ops.softmax, (MATRIX,)),
    "celu": (ops.celu, (4 * MATRIX,)),
    "clip": (lambda x: ops.clip(x, -0.6, 1.6), (4 * MATRIX,)),
    "divide": (ops.divide, (normal(2, 3), 2 + distinct(2, 3))),
    "maximum": (ops.maximum, (distinct(2, 3), distinct(2, 3)[::-1], distinct(2, 3)[:, ::-1] + 0.01)),
    "minimum": (ops.minimum, (distinct(2, 3), distinct(2, 3)[::-1], distinct(2, 3)[:, ::-1] + 0.01)),
    "subtract": (ops.subtract, (normal(2, 3), normal(2, 3, seed=1))),
    "elu": (ops.elu, (4 * MATRIX,)),
    "gelu": (ops.gelu, (4 * MATRIX,)),
    "hard_sigmoid": (ops.hard_sigmoid, (4 * MATRIX,)),
    "hard_swish": (ops.hard_swish, (4 * MATRIX,)),
    "hard_tanh": (ops.hard_tanh, (4 * MATRIX,)),
    "log_sigmoid": (ops.log_sigmoid, (4 * MATRIX,)),
    "mish": (ops.mish, (4 * MATRIX,)),
    "relu6": (ops.relu6, (4 * MATRIX,)),
    "selu": (ops.selu, (4 * MATRIX,)),
    "silu": (ops.silu, (4 * MATRIX,)),
    "softplus": (ops.softplus, (4 * MATRIX,)),
    "softsign": (ops.softsign, (4 * MATRIX,)),
    "multiply": (ops.multiply, (normal(2, 3), normal(2, 3, seed=1), normal(2, 3, seed=2))),
    "pad": (lambda x: ops.pad(x, ((1, 2), (0, 3)), mode="reflect"), (IMAGES,)),
    "upsample": (lambda x: ops.upsample(x, (2, 3)), (IMAGES,)),
    "depth_to_space": (lambda x: ops.depth_to_space(x, (1, 3)), (IMAGES,)),
    "space_to_depth": (lambda x: ops.space_to_depth(x, (2, 5)), (IMAGES,)),
    "parameter": (ops.parameter, ({"value": normal(2, 4)}, MATRIX)),
    "prelu": (ops.prelu, ({"slope": normal(5)}, MATRIX)),
    "tanh": (ops.tanh, (MATRIX,)),
    "identity": (ops.identity, (MATRIX,)),
    "adaptive_avg_pool": (lambda x: ops.adaptive_avg_pool(x, (3, 2)), (IMAGES,)),
    "adaptive_max_pool": (lambda x: ops.adaptive_max_pool(x, (3, 2)), (IMAGES,)),
    "conv_transpose": (
        lambda p, x: ops.conv_transpose(p, x, stride=2, padding=1),
        ({"w": normal(3, 3, 2, 3), "b": normal(2)}, IMAGES),
    ),
    "batch_norm": (ops.batch_norm, (AFFINE, IMAGES)),
    "local_response_norm": (lambda x: ops.local_response_norm(x, 2, alpha=0.5, beta=0.6, k=2.0), (IMAGES,)),
    "group_norm": (lambda p, x: ops.group_norm(p, x, 3), (AFFINE, IMAGES)),
    "instance_norm": (ops.instance_norm, (AFFINE, IMAGES)),
    "layer_norm": (ops.layer_norm, (AFFINE, IMAGES)),
    "rms_norm": (ops.rms_norm, ({"scale": normal(3)}, IMAGES)),
    "embedding": (lambda p: ops.embedding(p, np.array([[3, 0], [3, 2], [0, 0]])), ({"w": normal(4, 2)},)),
    "affine": (ops.affine, ({"scale": normal(5, 1), "bias": normal(1)}, IMAGES)),
    "broadcast_to": (lambda x: ops.broadcast_to(x, (4, 2, 3)), (normal(2, 4, 1, 3),)),
    "crop": (lambda x: ops.crop(x, [(1, 4, 2), (0, 5, 1), (0, 2, 1)]), (IMAGES,)),
    "erf": (ops.erf, (MATRIX,)),
    "exp": (ops.exp, (MATRIX,)),
    "log": (ops.log, (np.abs(MATRIX) + 0.5,)),
    "matmul": (ops.matmul, (normal(2, 3, 4, 5), normal(2, 3, 5, 2, seed=1))),
    "negative": (ops.negative, (MATRIX,)),
    "power": (lambda x: ops.power(x, 3), (MATRIX,)),
    "reduce_max": (lambda x: ops.reduce_max(x, (1, 3)), (IMAGES,)),
    "reduce_mean": (lambda x: ops.reduce_mean(x, (1, 3), keepdims=True), (IMAGES,)),
    "reduce_sum": (lambda x: ops.reduce_sum(x, 2), (IMAGES,)),
    "reshape": (lambda x: ops.reshape(x, (-1, 6)), (IMAGES,)),
    "resize": (lambda x: ops.resize(x, (7, 3)), (IMAGES,)),
    "sqrt": (ops.sqrt, (np.abs(MATRIX) + 0.5,)),
    "transpose": (lambda x: ops.transpose(x, (0, 3, 1, 2)), (IMAGES,)),
}
# With these, an example's output needs the others.
OF_THE_WHOLE_BATCH = {"batch_norm"}
every_op = pytest.mark.parametrize(("f", "args"), OPS.values(), ids=OPS.keys())
OF_SINGLE_EXAMPLES = {
    name: case for name, case in OPS.items() if name not in OF_THE_WHOLE_BATCH and not isinstance(case[1][-1], dict)
}


def test_every_public_op_is_here():
    assert sorted(OPS) == sorted(ops.__all__)


@every_op
def test_vjp(f, args):
    check_vjp(f, *args, strict=True)


@every_op
def test_vjp_against_central_differences(f, args):
    # without complex numbers, so that an op that mistreated them could not hide
    check_vjp(f, *args, method="central", rtol=1e-7, strict=True)


@pytest.mark.parametrize(("f", "args"), OF_SINGLE_EXAMPLES.values(), ids=OF_SINGLE_EXAMPLES.keys())
def test_one_example_and_none(f, args):
    for n in (1, 0):
        few = tuple(arg if isinstance(arg, dict) else arg[:n] for arg in args)
        check_vjp(f, *few, strict=True)
        assert f(*few)[0].shape == (n, *f(*args)[0].shape[1:])


@every_op
def test_memory_layout_does_not_matter(f, args):
    y, vjp = f(*args)[:2]
    dy = normal(*y.shape)
    for name in layouts(MATRIX):
        laid_out = [tree.map(lambda a: layouts(a)[name], arg) for arg in args]  # noqa: B023 - called immediately
        y2, vjp2 = f(*laid_out)[:2]
        np.testing.assert_allclose(y2, y, rtol=1e-12, atol=1e-13, err_msg=name)
        expected, got = (as_tree(v(c)) for v, c in ((vjp, dy), (vjp2, layouts(dy)[name])))
        tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13, err_msg=name), expected, got)  # noqa: B023


@every_op
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_dtype_is_kept(f, args, dtype):
    y, vjp = f(*(tree.map(lambda a: a.astype(dtype), arg) for arg in args))[:2]
    assert y.dtype == dtype
    assert {leaf.dtype for leaf in tree.leaves(as_tree(vjp(y)))} == {np.dtype(dtype)}
    # a cotangent of double precision does not promote single precision
    wide = vjp(y.astype(np.complex128 if dtype == np.complex128 else np.float64))
    assert {leaf.dtype for leaf in tree.leaves(as_tree(wide))} == {np.dtype(dtype)}


@every_op
def test_single_precision_agrees_with_double(f, args):
    y, vjp = f(*args)[:2]
    y32, vjp32 = f(*(tree.map(np.float32, arg) for arg in args))[:2]
    np.testing.assert_allclose(y32, y, rtol=1e-4, atol=1e-5)
    dy = normal(*y.shape)
    tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4), as_tree(vjp(dy)), as_tree(vjp32(dy)))


@every_op
def test_integers_are_refused(f, args):
    integers = [*args[:-1], tree.map(lambda a: np.ones(a.shape, np.uint8), args[-1])]
    with pytest.raises(TypeError, match=r"has dtype uint8; .*scale it first"):
        f(*integers)


def as_tree(cotangents):
    cotangents = cotangents if isinstance(cotangents, tuple) else (cotangents,)
    return {str(i): c for i, c in enumerate(cotangents)}
