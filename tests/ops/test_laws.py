"""Laws: what must hold for every geometry, as properties over random ones.

Hypothesis draws shapes, options and a seed for the numbers, and names them when a law fails. It draws the same ones
every time. Only small integers are drawn, for among large ones Hypothesis mixes constants of the modules that happen
to be imported.
"""

import os
from functools import partial
from itertools import product
from typing import NamedTuple

import hypothesis.strategies as st
import numpy as np
import pytest
from arrays import normal
from examplewise import EXAMPLEWISE, arguments, each
from hypothesis import HealthCheck, given, settings
from hypothesis.configuration import set_hypothesis_home_dir

from funcnn import layers, losses, ops, tree
from funcnn.combinators import serial
from funcnn.kernels.conv import dispatch
from funcnn.ops.conv import _plan

LAWS = settings(
    max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
FEW = settings(LAWS, max_examples=10)  # for laws that are tried on every op


# Hypothesis would leave a folder of what it has read in the sources; here no folder can be made.
set_hypothesis_home_dir(os.devnull)


def assert_same(got, expected):
    """Equal but for rounding, which is measured against the largest entry; trees leaf by leaf."""
    if isinstance(expected, dict | tuple | list):
        assert len(got) == len(expected)
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            assert_same(got[key], expected[key])
    else:
        assert np.shape(got) == np.shape(expected)
        scale = max(1.0, np.abs(expected).max(initial=0.0))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * scale)


# ---------------------------------------------------------------------------------------------------------------------
# What is drawn

seeds = st.integers(0, 99)
small = partial(st.integers, 1)


class Windows(NamedTuple):
    """Where windows lie, one entry per spatial axis, and the seed of the numbers in them."""

    size: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    seed: int

    def normal(self, *shape):
        return normal(*shape, seed=self.seed)

    @property
    def x(self):
        return self.normal(2, *self.size, 2 * self.groups)

    @property
    def params(self):
        return {"w": self.normal(*self.window, 2, 3 * self.groups), "b": self.normal(3 * self.groups)}

    @property
    def options(self):
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}


@st.composite
def geometries(draw, *, dilated=True, inside=False):
    """Windows on one to three axes; ``inside``: none of them is entirely in the padding, as pooling requires."""
    axes = []
    rank = draw(small(3))
    for _ in range(rank):
        window, stride, dilation = draw(small(3 if rank == 3 else 4)), draw(small(3)), draw(small(3 if dilated else 1))
        span = dilation * (window - 1) + 1
        lo, hi = (draw(st.integers(0, min(3, span - 1) if inside else 3)) for _ in range(2))
        least = max(1, span - lo - hi, dilation if inside else 1)
        axes.append((least + draw(st.integers(0, 3)), window, stride, (lo, hi), dilation))
    return Windows(*zip(*axes, strict=True), groups=draw(small(3)), seed=draw(seeds))


convolutions = geometries()
poolings = geometries(inside=True)
average_poolings = geometries(inside=True, dilated=False)
image_shapes = st.lists(small(4), min_size=1, max_size=3).map(lambda size: (3, *size, 2))


@pytest.fixture(scope="module", params=[0, 1 << 30], ids=["large", "tiny"])
def road(request):
    """Convolutions by the automatic choice, with all images treated as large or as tiny."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_TOEPLITZ_ENTRIES", "_TOEPLITZ_IMAGES"):
            patch.setattr(dispatch, name, request.param)
        _forget_choices()
        yield
    _forget_choices()


def _forget_choices():
    for chooses in (dispatch.choose, _plan.__wrapped__):
        chooses.cache_clear()


def unbiased(w):
    return {"w": w, "b": np.zeros(w.shape[-1])}


def steps(strides):
    """The index of every ``strides``-th position of images."""
    return (slice(None), *(slice(None, None, t) for t in strides))


def stuffed(a, shape, index):
    """Zeros of that shape, with ``a`` at the index."""
    whole = np.zeros(shape)
    whole[index] = a
    return whole


# ---------------------------------------------------------------------------------------------------------------------
# Every op

every_op = pytest.mark.parametrize("name", EXAMPLEWISE)


@every_op
@FEW
@given(order=st.permutations(range(5)), cut=st.integers(0, 5), seed=seeds)
def test_a_split_batch_in_any_order_equals_the_batch(name, order, cut, seed):
    f, *shapes = EXAMPLEWISE[name]
    args = arguments(shapes, 5, seed)
    y, vjp = f(*args)
    dy = normal(*y.shape, seed=seed)
    whole = each(vjp(dy))
    sums = [tree.map(np.zeros_like, c) if isinstance(c, dict) else None for c in whole]
    for part in (order[:cut], order[cut:]):
        y_part, vjp_part = f(*(arg if isinstance(arg, dict) else arg[part] for arg in args))
        assert_same(y_part, y[part])
        for i, (got, expected) in enumerate(zip(each(vjp_part(dy[part])), whole, strict=True)):
            if isinstance(expected, dict):
                sums[i] = tree.map(np.add, sums[i], got)
            else:
                assert_same(got, expected[part])
    for total, expected in zip(sums, whole, strict=True):
        if isinstance(expected, dict):
            assert_same(total, expected)


@every_op
@FEW
@given(a=st.integers(-3, 3), b=st.integers(-3, 3), seed=seeds)
def test_a_vjp_is_linear(name, a, b, seed):
    f, *shapes = EXAMPLEWISE[name]
    y, vjp = f(*arguments(shapes, 2, seed))
    dy, dz = normal(*y.shape, seed=seed), normal(*y.shape, seed=seed + 1)
    for got, p, q in zip(each(vjp(a * dy + b * dz)), each(vjp(dy)), each(vjp(dz)), strict=True):
        if isinstance(got, dict):
            assert_same(got, tree.map(lambda p, q: a * p + b * q, p, q))
        else:
            assert_same(got, a * p + b * q)


@LAWS
@given(case=convolutions, seed=seeds)
def test_the_vjp_of_a_composition_is_the_composition_of_the_vjps(case, seed):
    rank, x = len(case.size), case.x
    make = {1: layers.conv1d, 2: layers.conv2d, 3: layers.conv3d}[rank]
    model = serial(make(3 * case.groups, case.window, **case.options), layers.tanh(), layers.flatten(), layers.dense(2))
    params, state, _ = model.init((seed,), x.shape[1:])
    params = tree.map(lambda p: normal(*p.shape, seed=seed), params)
    y, vjp, _ = model.forward(params, x, state, train=True)

    convolved, conv_vjp = ops.conv(params[f"0_conv{rank}d"], x, **case.options)
    active, tanh_vjp = ops.tanh(convolved)
    rows, flatten_vjp = ops.flatten(active)
    scores, dense_vjp = ops.dense(params["3_dense"], rows)
    dy = normal(*y.shape, seed=seed)
    d_dense, d_rows = dense_vjp(dy)
    d_conv, dx = conv_vjp(tanh_vjp(flatten_vjp(d_rows)))
    assert_same(y, scores)
    dparams, got = vjp(dy)
    assert_same(got, dx)
    assert_same([dparams["3_dense"], dparams[f"0_conv{rank}d"]], [d_dense, d_conv])


# ---------------------------------------------------------------------------------------------------------------------
# Convolution


@LAWS
@given(case=convolutions)
def test_dilation_is_a_kernel_stuffed_with_zeros(road, case):
    w = case.params["w"]
    taps = tuple(slice(None, None, d) for d in case.dilation)
    spans = tuple(d * (k - 1) + 1 for d, k in zip(case.dilation, case.window, strict=True))
    wide = {**case.params, "w": stuffed(w, (*spans, *w.shape[-2:]), taps)}
    y, vjp = ops.conv(case.params, case.x, **case.options)
    y_wide, vjp_wide = ops.conv(wide, case.x, **{**case.options, "dilation": 1})
    assert_same(y, y_wide)
    (dparams, dx), (dwide, dx_wide) = vjp(y), vjp_wide(y)
    assert_same([dparams["w"], dparams["b"], dx], [dwide["w"][taps], dwide["b"], dx_wide])


@LAWS
@given(case=convolutions)
def test_groups_are_convolutions_side_by_side(road, case):
    y, vjp = ops.conv(case.params, case.x, **case.options)
    dparams, dx = vjp(y)
    parts = []
    for x, w, b in zip(*(np.split(a, case.groups, -1) for a in (case.x, *case.params.values())), strict=True):
        y_part, vjp_part = ops.conv({"w": w, "b": b}, x, **{**case.options, "groups": 1})
        dpart, dx_part = vjp_part(y_part)
        parts.append((y_part, dpart["w"], dpart["b"], dx_part))
    joined = [np.concatenate(part, -1) for part in zip(*parts, strict=True)]
    assert_same([y, dparams["w"], dparams["b"], dx], joined)


def with_stride(case):
    options = {"padding": case.padding, "dilation": case.dilation}
    return {
        "conv": partial(ops.conv, case.params, **options, groups=case.groups),
        "max_pool": partial(ops.max_pool, window=case.window, **options),
    }


@pytest.mark.parametrize("op", ["conv", "max_pool"])
@LAWS
@given(case=poolings)
def test_stride_takes_every_so_manyth_result(road, op, case):
    f, every = with_stride(case)[op], steps(case.stride)
    dense, dense_vjp = f(case.x, stride=1)
    y, vjp = f(case.x, stride=case.stride)
    assert_same(y, dense[every])
    assert_same(vjp(y), dense_vjp(stuffed(y, dense.shape, every)))


@LAWS
@given(case=convolutions)
def test_same_padding_is_explicit_padding(road, case):
    padding = []
    for s, k, t, d in zip(case.size, case.window, case.stride, case.dilation, strict=True):
        total = max(t * (-(-s // t) - 1) + d * (k - 1) + 1 - s, 0)
        padding.append((total // 2, total - total // 2))
    y, vjp = ops.conv(case.params, case.x, **{**case.options, "padding": "same"})
    explicit, explicit_vjp = ops.conv(case.params, case.x, **{**case.options, "padding": tuple(padding)})
    assert y.shape[1:-1] == tuple(-(-s // t) for s, t in zip(case.size, case.stride, strict=True))
    assert_same(y, explicit)
    assert_same(vjp(y), explicit_vjp(y))


@LAWS
@given(case=convolutions)
def test_padding_of_a_convolution_is_padding_first(road, case):
    padded, pad_vjp = ops.pad(case.x, case.padding)
    y, vjp = ops.conv(case.params, case.x, **case.options)
    y_after, vjp_after = ops.conv(case.params, padded, **{**case.options, "padding": 0})
    assert_same(y, y_after)
    (dparams, dx), (dparams_after, dpadded) = vjp(y), vjp_after(y)
    assert_same([dparams, dx], [dparams_after, pad_vjp(dpadded)])


@LAWS
@given(case=convolutions, shift=st.integers(0, 3))
def test_a_convolution_follows_its_image(road, case, shift):
    options = {"dilation": case.dilation, "groups": case.groups}
    x = ops.pad(case.x, tuple(d * (k - 1) for d, k in zip(case.dilation, case.window, strict=True)))[0]
    moved = ops.pad(x, ((shift, 0),) * len(case.size))[0]
    y, _ = ops.conv(case.params, x, **options)
    y_moved, _ = ops.conv(case.params, moved, **options)
    assert_same(y_moved[:, *(slice(shift, None),) * len(case.size)], y)


@LAWS
@given(case=convolutions)
def test_an_impulse_gives_the_mirrored_kernel(road, case):
    w = normal(*case.window, 1, 3, seed=case.seed)
    x = np.ones((1, *(1 for _ in case.size), 1))
    y, _ = ops.conv(unbiased(w), x, padding=tuple(k - 1 for k in case.window))
    assert_same(y[0], np.flip(w[..., 0, :], tuple(range(len(case.size)))))


@LAWS
@given(case=convolutions, a=st.integers(-3, 3), b=st.integers(-3, 3))
def test_a_convolution_is_linear_in_the_image_and_in_the_kernel(road, case, a, b):
    def conv(w, x):
        return ops.conv(unbiased(w), x, **case.options)[0]

    w, x = case.params["w"], case.x
    v, u = np.flip(w), np.flip(x)
    assert_same(conv(w, a * x + b * u), a * conv(w, x) + b * conv(w, u))
    assert_same(conv(a * w + b * v, x), a * conv(w, x) + b * conv(v, x))


@LAWS
@given(case=convolutions)
def test_conv_transpose_is_the_adjoint_of_conv(road, case):
    w, x = case.params["w"], case.x
    y, vjp = ops.conv(unbiased(w), x, **case.options)
    # the positions at the end that no window reaches
    rest = tuple(
        (s + lo + hi - d * (k - 1) - 1) % t
        for s, k, t, (lo, hi), d in zip(case.size, case.window, case.stride, case.padding, case.dilation, strict=True)
    )
    z = case.normal(*y.shape)
    back, back_vjp = ops.conv_transpose({"w": w, "b": np.zeros(x.shape[-1])}, z, **case.options, output_padding=rest)
    assert_same((y * z).sum(), (x * back).sum())
    dparams, dx = vjp(z)
    back_dparams, dz = back_vjp(x)
    assert_same([dx, dz], [back, y])
    assert_same(dparams["w"], back_dparams["w"])  # <conv(x), z> has one derivative by w


# ---------------------------------------------------------------------------------------------------------------------
# Pooling


@LAWS
@given(case=average_poolings, count_include_pad=st.booleans())
def test_an_average_is_a_depthwise_convolution_with_a_constant_kernel(case, count_include_pad):
    channels = 2 * case.groups
    total = unbiased(np.ones((*case.window, 1, channels)))
    options = {"stride": case.stride, "padding": case.padding}
    summed, sum_vjp = ops.conv(total, case.x, **options, groups=channels)
    positions = np.ones_like(case.x)
    count = np.prod(case.window) if count_include_pad else ops.conv(total, positions, **options, groups=channels)[0]
    y, vjp = ops.avg_pool(case.x, case.window, **options, count_include_pad=count_include_pad)
    assert_same(y, summed / count)
    assert_same(vjp(y), sum_vjp(y / count)[1])


@LAWS
@given(case=poolings)
def test_padding_of_a_pooling_is_padding_first(case):
    options = {"stride": case.stride, "dilation": case.dilation}
    padded, pad_vjp = ops.pad(case.x, case.padding, value=-1e9)
    y, vjp = ops.max_pool(case.x, case.window, padding=case.padding, **options)
    y_after, vjp_after = ops.max_pool(padded, case.window, **options)
    assert_same([y, vjp(y)], [y_after, pad_vjp(vjp_after(y))])


@LAWS
@given(case=average_poolings)
def test_padding_of_an_average_that_counts_is_padding_first(case):
    padded, pad_vjp = ops.pad(case.x, case.padding)
    y, vjp = ops.avg_pool(case.x, case.window, stride=case.stride, padding=case.padding, count_include_pad=True)
    y_after, vjp_after = ops.avg_pool(padded, case.window, stride=case.stride)
    assert_same([y, vjp(y)], [y_after, pad_vjp(vjp_after(y))])


@LAWS
@given(case=poolings)
def test_the_least_of_a_window_is_minus_the_largest_of_the_negatives(case):
    options = {"stride": case.stride, "dilation": case.dilation, "padding": case.padding}
    least = -ops.max_pool(-case.x, case.window, **options)[0]
    padded = ops.pad(case.x, case.padding, value=np.inf)[0]
    ends = [s + lo + hi - d * (k - 1) for s, (lo, hi), d, k in
            zip(case.size, case.padding, case.dilation, case.window, strict=True)]  # fmt: skip
    taps = [
        padded[:, *(slice(d * j, d * j + end, t) for j, end, t, d in
                    zip(tap, ends, case.stride, case.dilation, strict=True))]
        for tap in product(*map(range, case.window))
    ]  # fmt: skip
    assert_same(least, np.minimum.reduce(taps))


@pytest.mark.parametrize("monotone", [ops.relu, ops.tanh, ops.leaky_relu, ops.softplus, ops.hard_sigmoid])
@FEW
@given(case=poolings)
def test_the_maximum_commutes_with_monotone_functions(monotone, case):
    def pool(x):
        return ops.max_pool(x, case.window, stride=case.stride, padding=case.padding, dilation=case.dilation)[0]

    assert_same(pool(monotone(case.x)[0]), monotone(pool(case.x))[0])


@LAWS
@given(case=poolings)
def test_adaptive_pools_of_sizes_that_divide_are_pools(case):
    x = case.normal(2, *(s * k for s, k in zip(case.size, case.window, strict=True)), 2)
    for adaptive, pool in ((ops.adaptive_avg_pool, ops.avg_pool), (ops.adaptive_max_pool, ops.max_pool)):
        y, vjp = adaptive(x, case.size)
        expected, expected_vjp = pool(x, case.window)
        assert_same([y, vjp(y)], [expected, expected_vjp(y)])
        assert_same(adaptive(x, 1)[0], pool(x, x.shape[1:-1])[0])
        assert_same(adaptive(x, x.shape[1:-1])[0], x)


# ---------------------------------------------------------------------------------------------------------------------
# Shapes


@LAWS
@given(shape=image_shapes, factor=small(3), seed=seeds)
def test_an_average_undoes_upsampling(shape, factor, seed):
    x = normal(*shape, seed=seed)
    large, up_vjp = ops.upsample(x, factor)
    back, down_vjp = ops.avg_pool(large, factor)
    assert_same(back, x)
    assert_same(up_vjp(down_vjp(x)), x)
    largest, _ = ops.max_pool(large, factor)
    assert_same(largest, x)


@LAWS
@given(shape=image_shapes, block=small(3), seed=seeds)
def test_depth_to_space_undoes_space_to_depth(shape, block, seed):
    n, *size, c = shape
    x = normal(n, *(block * s for s in size), c, seed=seed)
    deep, vjp = ops.space_to_depth(x, block)
    back, back_vjp = ops.depth_to_space(deep, block)
    assert np.array_equal(back, x)
    assert np.array_equal(vjp(back_vjp(x)), x)
    # the block's positions of one channel, side by side
    assert_same(deep.reshape(*deep.shape[:-1], -1, c).mean(axis=-2), ops.avg_pool(x, block)[0])


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@FEW
@given(shape=image_shapes, lo=st.integers(0, 5), hi=st.integers(0, 5), seed=seeds)
def test_the_gradient_of_padding_counts_uses(mode, shape, lo, hi, seed):
    numbers = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    y, vjp = ops.pad(numbers, ((lo, hi),) * (len(shape) - 2), mode=mode)
    uses = np.bincount(y.astype(int).ravel(), minlength=numbers.size + 1)[1:]
    assert np.array_equal(vjp(np.ones_like(y)), uses.reshape(shape))


@LAWS
@given(shape=image_shapes, cut=st.integers(0, 3), seed=seeds)
def test_the_parts_of_an_array_are_cut_where_they_are_joined(shape, cut, seed):
    x = normal(*shape, seed=seed)
    cut = min(cut, shape[1])
    whole = [(0, s, 1) for s in shape[2:]]
    (a, a_vjp), (b, b_vjp) = (ops.crop(x, [bound, *whole]) for bound in ((0, cut, 1), (cut, shape[1], 1)))
    y, vjp = ops.concat(a, b, axis=1)
    assert np.array_equal(y, x)
    da, db = vjp(x)
    assert np.array_equal(a_vjp(da) + b_vjp(db), x)


@LAWS
@given(shape=image_shapes, seed=seeds)
def test_what_is_reversed_twice_is_as_it_was(shape, seed):
    x = normal(*shape, seed=seed)
    bounds = [(s - 1, -1, -1) for s in shape[1:]]
    y, vjp = ops.crop(x, bounds)
    assert np.array_equal(y, np.flip(x, axis=tuple(range(1, x.ndim))))
    assert np.array_equal(ops.crop(y, bounds)[0], x) and np.array_equal(vjp(y), x)


@LAWS
@given(shape=image_shapes, seed=seeds)
def test_a_parameter_joined_by_a_sum_is_a_bias(shape, seed):
    x, value = normal(*shape, seed=seed), normal(*shape[1:], seed=seed + 1)
    repeated, vjp = ops.parameter({"value": value}, x)
    y, add_vjp = ops.add(x, repeated)
    expected, affine_vjp = ops.affine({"bias": value}, x)
    assert_same(y, expected)
    dx, dvalue = add_vjp(x)
    assert_same((vjp(dvalue)[0]["value"], dx + vjp(dvalue)[1]), (affine_vjp(x)[0]["bias"], affine_vjp(x)[1]))


@LAWS
@given(shape=image_shapes, seed=seeds, data=st.data())
def test_axes_are_reduced_one_by_one_as_together(shape, seed, data):
    axes = data.draw(st.lists(st.integers(1, len(shape) - 1), min_size=1, unique=True))
    x = normal(*shape, seed=seed)
    for reduce in (ops.reduce_sum, ops.reduce_mean, ops.reduce_max):
        together, vjp = reduce(x, axes)
        y, vjps = x, []
        for a in sorted(axes, reverse=True):
            y, of_axis = reduce(y, a)
            vjps.append(of_axis)
        dx = y
        for of_axis in reversed(vjps):
            dx = of_axis(dx)
        assert_same([y, dx], [together, vjp(y)])


@LAWS
@given(shape=image_shapes, data=st.data(), seed=seeds)
def test_a_reduction_does_not_mind_the_order_of_the_axes(shape, data, seed):
    order = (0, *data.draw(st.permutations(range(1, len(shape)))))
    x = normal(*shape, seed=seed)
    moved, transpose_vjp = ops.transpose(x, order)
    y, vjp = ops.reduce_max(moved, order.index(1))
    expected, expected_vjp = ops.reduce_max(x, 1)
    rest = [a for a in order if a != 1]
    assert_same(y, expected.transpose(np.argsort(np.argsort(rest))))
    assert_same(transpose_vjp(vjp(y)), expected_vjp(expected))


@LAWS
@given(shape=image_shapes, size=small(7), seed=seeds)
def test_what_is_resized_lies_between_the_least_and_the_largest(shape, size, seed):
    x = normal(*shape, seed=seed)
    low, high = (f(x, axis=tuple(range(1, x.ndim - 1)), keepdims=True) for f in (np.min, np.max))
    for coordinates in ("half_pixel", "align_corners", "asymmetric"):
        y, vjp = ops.resize(x, size, coordinates=coordinates)
        assert (y >= low - 1e-12).all() and (y <= high + 1e-12).all()
        dy = normal(*y.shape, seed=seed)
        assert_same((y * dy).sum(), (x * vjp(dy)).sum())  # it is linear
    mirrored = np.flip(ops.resize(np.flip(x, axis=1), size)[0], axis=1)
    assert_same(mirrored, ops.resize(x, size)[0])


@LAWS
@given(shape=image_shapes, seed=seeds)
def test_logarithms_turn_products_into_sums(shape, seed):
    x, z = np.exp(normal(*shape, seed=seed)), np.exp(normal(*shape, seed=seed + 1))
    assert_same(ops.log(x * z)[0], ops.log(x)[0] + ops.log(z)[0])
    assert_same(ops.exp(ops.log(x)[0])[0], x)
    assert_same(ops.power(ops.sqrt(x)[0], 2)[0], x)
    assert_same(ops.power(x, -1)[0] * x, np.ones(shape))
    u = normal(*shape, seed=seed)
    assert_same(ops.gelu(u)[0], u / 2 * (1 + ops.erf(u / np.sqrt(2))[0]))
    assert_same(ops.erf(-u)[0], ops.negative(ops.erf(u)[0])[0])


@LAWS
@given(widths=st.lists(small(3), min_size=2, max_size=3), seed=seeds)
def test_joined_arrays_get_their_shares_back(widths, seed):
    parts = [normal(2, 3, c, seed=seed + i) for i, c in enumerate(widths)]
    whole, vjp = ops.concat(*parts)
    assert_same(vjp(whole), tuple(parts))
    like = [normal(2, 3, seed=seed + i) for i in range(len(widths))]
    dy = normal(2, 3, seed=seed)
    _, add_vjp = ops.add(*like)
    assert_same(add_vjp(dy), (dy,) * len(like))
    product_of_all, multiply_vjp = ops.multiply(*like)
    for x, dx in zip(like, multiply_vjp(dy), strict=True):
        assert_same(x * dx, product_of_all * dy)


@LAWS
@given(rate=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8]), seed=seeds)
def test_dropout_keeps_the_mean_over_its_keys(rate, seed):
    masks = np.array([ops.dropout(np.ones(4), rate=rate, key=(seed, i))[0] for i in range(400)])
    deviation = np.sqrt(rate / (1 - rate) / 400)  # of the mean of 400 masks
    assert np.all(np.abs(masks.mean(axis=0) - 1) <= 5 * deviation)


@LAWS
@given(ids=st.lists(st.integers(0, 4), min_size=1, max_size=6), seed=seeds)
def test_an_embedding_is_a_product_with_one_hot_vectors(ids, seed):
    w = normal(5, 3, seed=seed)
    y, vjp = ops.embedding({"w": w}, np.array(ids))
    expected, dense_vjp = ops.dense(unbiased(w), np.eye(5)[ids])
    assert_same([y, vjp(y)["w"]], [expected, dense_vjp(y)[0]["w"]])


# ---------------------------------------------------------------------------------------------------------------------
# Normalisation


def affine(seed, *shape):
    return {"scale": normal(*shape, seed=seed), "bias": normal(*shape, seed=seed + 1)}


# name: the op for 6 channels, their groups, and the axes of each statistic in x as (N, H, W, groups, C/groups)
NORMS = {
    "batch_norm": (lambda params, x, eps: ops.batch_norm(params, x, eps=eps)[:2], 6, (0, 1, 2, 4)),
    "layer_norm": (ops.layer_norm, 1, (3, 4)),
    "group_norm": (partial(ops.group_norm, groups=3), 3, (1, 2, 4)),
    "instance_norm": (ops.instance_norm, 6, (1, 2, 4)),
}
every_norm = pytest.mark.parametrize("name", NORMS)
eps_values = st.sampled_from([0.0, 1e-5, 0.1])


@every_norm
@LAWS
@given(eps=eps_values, spread=small(9), centre=st.integers(-9, 9), seed=seeds)
def test_normalised_numbers_have_the_mean_and_deviation_of_the_parameters(name, eps, spread, centre, seed):
    norm, groups, axes = NORMS[name]
    x = centre + spread * normal(3, 2, 4, 6, seed=seed)
    split = (3, 2, 4, groups, 6 // groups)
    plain, _ = norm({"scale": np.ones(6), "bias": np.zeros(6)}, x, eps=eps)
    z, var = plain.reshape(split), x.reshape(split).var(axis=axes)
    assert_same(z.mean(axis=axes), np.zeros(var.shape))
    assert_same(z.var(axis=axes), var / (var + eps))
    params = affine(seed, 6)
    assert_same(norm(params, x, eps=eps)[0], plain * params["scale"] + params["bias"])


@LAWS
@given(eps=eps_values, spread=small(9), centre=st.integers(-9, 9), seed=seeds)
def test_batch_norm_gives_each_channel_the_mean_and_deviation_of_its_parameters(eps, spread, centre, seed):
    params, x = affine(seed, 4), centre + spread * normal(5, 3, 4, seed=seed)
    y, _, stats = ops.batch_norm(params, x, eps=eps)
    assert_same([stats["mean"], stats["var"]], [x.mean(axis=(0, 1)), x.var(axis=(0, 1))])
    assert_same(y.mean(axis=(0, 1)), params["bias"])
    assert_same(y.std(axis=(0, 1)), np.abs(params["scale"]) * np.sqrt(stats["var"] / (stats["var"] + eps)))


@every_norm
@LAWS
@given(eps=eps_values, factor=small(9), shift=st.integers(-9, 9), seed=seeds)
def test_normalisation_takes_shift_and_factor_away(name, eps, factor, shift, seed):
    norm, groups, axes = NORMS[name]
    params, x = affine(seed, 6), normal(3, 2, 4, 6, seed=seed)
    y, vjp = norm(params, x, eps=eps)
    moved, moved_vjp = norm(params, factor * x + shift, eps=factor**2 * eps)
    assert_same(moved, y)
    dy = normal(*y.shape, seed=seed + 1)
    (dparams, dx), (dmoved, dx_moved) = vjp(dy), moved_vjp(dy)
    assert_same([dmoved, factor * dx_moved], [dparams, dx])
    # so nothing of the gradient points along a shift, nor along the numbers themselves where eps does not hold them
    split = (3, 2, 4, groups, 6 // groups)
    d = dx.reshape(split)
    assert_same(d.sum(axis=axes), np.zeros_like(d.sum(axis=axes)))
    if eps == 0:
        along = (d * x.reshape(split)).sum(axis=axes)
        assert_same(along, np.zeros_like(along))


@LAWS
@given(order=st.permutations(range(5)), seed=seeds)
def test_batch_norm_does_not_mind_the_order_of_its_batch(order, seed):
    params, x = affine(seed, 3), normal(5, 2, 3, seed=seed)
    y, vjp, stats = ops.batch_norm(params, x)
    shuffled, shuffled_vjp, shuffled_stats = ops.batch_norm(params, x[order])
    dy = normal(*y.shape, seed=seed + 1)
    (dparams, dx), (dshuffled, dx_shuffled) = vjp(dy), shuffled_vjp(dy[order])
    assert_same([shuffled, shuffled_stats, dshuffled, dx_shuffled], [y[order], stats, dparams, dx[order]])


@LAWS
@given(a=st.integers(-3, 3), seed=seeds)
def test_batch_norm_by_given_statistics_is_affine(a, seed):
    params, x, z = affine(seed, 3), normal(5, 2, 3, seed=seed), normal(5, 2, 3, seed=seed + 1)
    stats = {"mean": normal(3, seed=seed), "var": normal(3, seed=seed + 2) ** 2}

    def norm(x):
        return ops.batch_norm(params, x, stats=stats)[0]

    assert_same(norm(a * x + (1 - a) * z), a * norm(x) + (1 - a) * norm(z))
    # by the statistics of x itself, it is the norm of training
    y, _, own = ops.batch_norm(params, x)
    assert_same(ops.batch_norm(params, x, stats=own)[0], y)


@LAWS
@given(shape=image_shapes, eps=eps_values, seed=seeds)
def test_norms_are_special_cases_of_each_other(shape, eps, seed):
    n, *size, c = shape
    x = normal(n, *size, 2 * c, seed=seed)
    params, dy = affine(seed, 2 * c), normal(*x.shape, seed=seed + 1)

    def same(one, other):
        (y, vjp), (expected, expected_vjp) = one, other
        assert_same(y, expected)
        dparams, dx = vjp(dy)
        expected_dparams, expected_dx = expected_vjp(dy)
        assert_same(dx, expected_dx)
        assert_same(dparams, tree.map(lambda d: d.reshape(-1, 2 * c).sum(axis=0), expected_dparams))

    # eps is above 0 where a group may be a single number
    same(ops.group_norm(params, x, 2 * c, eps=1e-3), ops.instance_norm(params, x, eps=1e-3))
    whole = tuple(range(1, x.ndim))
    everywhere = tree.map(lambda leaf: np.broadcast_to(leaf, x.shape[1:]), params)
    same(ops.group_norm(params, x, 1, eps=eps), ops.layer_norm(everywhere, x, axes=whole, eps=eps))
    # an example at a time, normalising over the batch is normalising the instance
    of_one = ops.instance_norm(params, x[:1], eps=1e-3)[0]
    if np.prod(size) > 1:
        assert_same(ops.batch_norm(params, x[:1], eps=1e-3)[0], of_one)
    # a row of mean 0 has its mean square for its variance
    centred = x - x.mean(axis=-1, keepdims=True)
    assert_same(ops.rms_norm(params, centred, eps=eps)[0], ops.layer_norm(params, centred, eps=eps)[0])


# ---------------------------------------------------------------------------------------------------------------------
# Probabilities

scores = st.lists(small(5), min_size=2, max_size=3)


@LAWS
@given(shape=scores, shift=st.integers(-1000, 1000), seed=seeds)
def test_softmax_ignores_a_shift_and_sums_to_one(shape, shift, seed):
    x, dy = 3 * normal(*shape, seed=seed), normal(*shape, seed=seed + 1)
    p, vjp = ops.softmax(x)
    assert_same(p.sum(axis=-1), np.ones(shape[:-1]))
    assert_same(ops.softmax(x + shift)[0], p)
    logs, log_vjp = ops.log_softmax(x)
    assert_same(logs, np.log(p))
    assert_same(ops.log_softmax(x + shift)[0], logs)
    for pulled in (vjp(dy), log_vjp(dy)):  # nothing along the shift
        assert_same(pulled.sum(axis=-1), np.zeros(shape[:-1]))
    assert_same(log_vjp(dy), vjp(dy / p))


@LAWS
@given(shape=scores, seed=seeds)
def test_softmax_cross_entropy_is_nll_after_log_softmax(shape, seed):
    x, rng = normal(*shape, seed=seed), np.random.default_rng(seed)
    weight = rng.uniform(0.1, 2, shape[0])
    for labels in (rng.integers(0, shape[-1], shape[:-1]), rng.dirichlet(np.ones(shape[-1]), shape[:-1])):
        value, vjp = losses.softmax_cross_entropy(x, labels, sample_weight=weight)
        logs, log_vjp = ops.log_softmax(x)
        expected, nll_vjp = losses.nll(logs, labels, sample_weight=weight)
        assert_same([value, vjp(1.0)], [expected, log_vjp(nll_vjp(1.0))])


@LAWS
@given(n=small(5), seed=seeds)
def test_two_classes_are_one_yes_or_no(n, seed):
    x, labels = 3 * normal(n, 2, seed=seed), np.random.default_rng(seed).integers(0, 2, n)
    value, vjp = losses.softmax_cross_entropy(x, labels)
    expected, binary_vjp = losses.sigmoid_binary_cross_entropy(x[:, 1] - x[:, 0], labels)
    d = binary_vjp(1.0)
    assert_same([value, vjp(1.0)], [expected, np.stack([-d, d], axis=-1)])
