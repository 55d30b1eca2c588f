"""Values and gradients of funcnn's functions beside PyTorch's, in double precision.

Both sides take funcnn's arrays, (N, spatial..., C) with weights (kernel..., in, out), and PyTorch's moves the axes
itself, inside what autograd differentiates: so the gradients come back in funcnn's layout, and nothing is converted by
hand.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from funcnn import tree

# Scalars of some optimizers' states have the default dtype for parameters of any dtype: NAdam's product of momenta.
torch.set_default_dtype(torch.float64)

RTOL = 1e-9
NOISE = 1e-13  # what sums of numbers around 1 that cancel may leave, where the other side has 0


class Case(NamedTuple):
    """One function on both sides, with arguments that are all differentiated."""

    label: str
    ours: Callable[..., Any]  # (*args) -> y, vjp, ...
    theirs: Callable[..., Any]  # (*tensors) -> tensor
    args: tuple[Any, ...]


def cases(table, count=40):
    """Draw each function's cases: arguments of pytest.mark.parametrize, with the label, the first item, as id."""
    drawn = [
        (name, draw(np.random.default_rng([zlib.crc32(name.encode()), i])))
        for name, draw in table.items()
        for i in range(count)
    ]
    return {"argvalues": [case for _, case in drawn], "ids": [f"{name} {case[0]}" for name, case in drawn]}


def check(case, gradient_rtol=RTOL):
    """Ask that value and gradients agree, the gradients for a random cotangent."""
    y, vjp = case.ours(*case.args)[:2]
    tensors = [tree.map(variable, arg) for arg in case.args]
    expected = case.theirs(*tensors)
    close("the value", y, expected)
    dy = np.random.default_rng(0).standard_normal(np.shape(y))
    got = vjp(dy)
    got = got if len(case.args) > 1 else (got,)
    expected.backward(torch.tensor(dy))
    for i, (cotangent, arg) in enumerate(zip(got, tensors, strict=True)):
        cotangents, leaves = tree.flatten(cotangent), tree.flatten(arg)
        assert cotangents.keys() == leaves.keys()
        for path, leaf in leaves.items():
            close(f"the gradient of argument {i} {path}", cotangents[path], leaf.grad, gradient_rtol)


def close(what, ours, theirs, rtol=RTOL):
    """Ask for equal shapes, and errors small against the largest entry."""
    ours, theirs = np.asarray(ours), array(theirs)
    assert ours.shape == theirs.shape, f"{what}: shapes {ours.shape} and {theirs.shape}"
    assert ours.dtype == theirs.dtype == np.float64, f"{what}: {ours.dtype} and {theirs.dtype}"
    error, scale = abs(ours - theirs).max(initial=0), abs(theirs).max(initial=0)
    assert error <= rtol * scale + NOISE, f"{what}: differs by {error:.3g} where the largest entry is {scale:.3g}"


def variable(a):
    return torch.tensor(a, requires_grad=True)


def array(tensor):
    return tensor.detach().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


# All contiguous: with other strides, PyTorch 2.13 refuses some weights (conv_transpose2d's, with dilation), and where
# the output's gradient has them, instance_norm of a single example gets wrong gradients of its parameters.


def channels_first(x):
    """(N, S..., C) to (N, C, S...)."""
    return x.movedim(-1, 1).contiguous()


def channels_last(x):
    """(N, C, S...) to (N, S..., C)."""
    x.register_hook(torch.Tensor.contiguous)
    return x.movedim(1, -1)


def kernel(w):
    """(K..., in, out) to (out, in, K...)."""
    return w.movedim((-1, -2), (0, 1)).contiguous()


def per_rank(one, two, three):
    """Choose PyTorch's function by the number of axes of its images (N, C, S...)."""

    def by_rank(x, *args, **options):
        return (one, two, three)[x.dim() - 3](x, *args, **options)

    return by_rank


def label(**parts):
    """Write a geometry on one line."""
    return " ".join(f"{name}={_short(part)}" for name, part in parts.items() if part is not None)


def _short(part):
    if isinstance(part, tuple):
        return "x".join(map(_short, part)) if part and isinstance(part[0], int) else ",".join(map(_short, part))
    return f"{part:.3g}" if isinstance(part, float) else str(part)
