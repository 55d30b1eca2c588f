"""The mathematics: functions on arrays with hand-derived vector-Jacobian products.

Every op obeys one rule::

    y, vjp = op(a, b, ..., **options)     # the differentiable arguments come first
    da, db = vjp(dy)                      # one cotangent per differentiable argument, with its structure and shape

If there is one differentiable argument, ``vjp(dy)`` returns its cotangent rather than a tuple of one. Arrays are
(N, spatial..., C), weights (kernel..., in, out), and one function serves 1-D, 2-D and 3-D. An op writes only to arrays
that it allocates, and a VJP can be called several times with different dy. float32 gives float32, and float64 gives
float64; arguments of mixed dtypes follow NumPy's promotion. Complex arrays are allowed and compared by their real
parts, so that complex-step differentiation gives exact derivatives.
"""

from funcnn.ops.activations import (
    celu,
    clip,
    elu,
    gelu,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    tanh,
)
from funcnn.ops.affine import affine
from funcnn.ops.arithmetic import erf, exp, log, negative, power, sqrt
from funcnn.ops.conv import conv, conv_transpose
from funcnn.ops.dense import dense
from funcnn.ops.dropout import dropout
from funcnn.ops.embedding import embedding
from funcnn.ops.joining import add, concat, divide, matmul, maximum, minimum, multiply, subtract
from funcnn.ops.normalization import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from funcnn.ops.parameter import parameter
from funcnn.ops.pooling import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    global_avg_pool,
    global_max_pool,
    max_pool,
)
from funcnn.ops.reductions import reduce_max, reduce_mean, reduce_sum
from funcnn.ops.resizing import resize
from funcnn.ops.shaping import (
    broadcast_to,
    crop,
    depth_to_space,
    flatten,
    identity,
    pad,
    reshape,
    space_to_depth,
    transpose,
    upsample,
)
from funcnn.ops.softmax import log_softmax, softmax

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "add",
    "affine",
    "avg_pool",
    "batch_norm",
    "broadcast_to",
    "celu",
    "clip",
    "concat",
    "conv",
    "conv_transpose",
    "crop",
    "dense",
    "depth_to_space",
    "divide",
    "dropout",
    "elu",
    "embedding",
    "erf",
    "exp",
    "flatten",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "group_norm",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "instance_norm",
    "layer_norm",
    "leaky_relu",
    "local_response_norm",
    "log",
    "log_sigmoid",
    "log_softmax",
    "matmul",
    "max_pool",
    "maximum",
    "minimum",
    "mish",
    "multiply",
    "negative",
    "pad",
    "parameter",
    "power",
    "prelu",
    "reduce_max",
    "reduce_mean",
    "reduce_sum",
    "relu",
    "relu6",
    "reshape",
    "resize",
    "rms_norm",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "space_to_depth",
    "sqrt",
    "subtract",
    "tanh",
    "transpose",
    "upsample",
]
