"""Layers: a layer is an op with fixed options and, if the op has parameters, their initializers.

A layer is made by calling its factory, for example ``relu()`` or ``conv2d(32, 3)``, and follows the protocol of
`funcnn.layer.Layer`. The default initializers keep the variance of activations the same from layer to layer, for any
width: `he_normal` for convolutions and dense layers, which compensates for a ReLU that halves the variance;
`standard_normal` for embeddings, since an id selects one row; scales 1 and biases 0 for normalisations. Every factory
of a layer with parameters takes other initializers.
"""

from funcnn.layers.activations import (
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
from funcnn.layers.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    depthwise_conv1d,
    depthwise_conv2d,
    depthwise_conv3d,
    separable_conv1d,
    separable_conv2d,
    separable_conv3d,
)
from funcnn.layers.dense import dense
from funcnn.layers.dropout import dropout
from funcnn.layers.embedding import embedding
from funcnn.layers.joining import add, concat, divide, maximum, minimum, multiply, subtract
from funcnn.layers.normalization import (
    batch_norm,
    channel_affine,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from funcnn.layers.pooling import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    global_avg_pool,
    global_max_pool,
    max_pool,
)
from funcnn.layers.shaping import (
    depth_to_space,
    flatten,
    identity,
    pad,
    space_to_depth,
    upsample,
)
from funcnn.layers.softmax import log_softmax, softmax

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "add",
    "avg_pool",
    "batch_norm",
    "celu",
    "channel_affine",
    "clip",
    "concat",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "dense",
    "depth_to_space",
    "depthwise_conv1d",
    "depthwise_conv2d",
    "depthwise_conv3d",
    "divide",
    "dropout",
    "elu",
    "embedding",
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
    "log_sigmoid",
    "log_softmax",
    "max_pool",
    "maximum",
    "minimum",
    "mish",
    "multiply",
    "pad",
    "prelu",
    "relu",
    "relu6",
    "rms_norm",
    "selu",
    "separable_conv1d",
    "separable_conv2d",
    "separable_conv3d",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "space_to_depth",
    "subtract",
    "tanh",
    "upsample",
]
