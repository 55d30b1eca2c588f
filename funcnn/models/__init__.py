"""Whole networks: functions of plain arguments that return a Layer.

A checkpoint records a model as its function's name and arguments, so all arguments are values that JSON can hold:
numbers, strings, None, and sequences of these. The outputs are logits: train with
`funcnn.losses.softmax_cross_entropy` for one class per example, with `funcnn.losses.sigmoid_binary_cross_entropy` for
independent yes-or-no outputs.

`small` has networks for small images and rows, `deep` for images, `series` for time series; `description` has those
that are made of others, and builds any of them from its name and arguments.
"""

from funcnn.descriptions import described
from funcnn.models.deep import mobilenet, resnet, vgg
from funcnn.models.description import build as build
from funcnn.models.description import ensemble, fine_tuned, network
from funcnn.models.series import fcn, inception_time, resnet1d
from funcnn.models.small import ACTIVATIONS as ACTIVATIONS
from funcnn.models.small import convnet, lenet5, mlp, seed_convnet

__all__ = [
    "convnet",
    "described",
    "ensemble",
    "fcn",
    "fine_tuned",
    "inception_time",
    "lenet5",
    "mlp",
    "mobilenet",
    "network",
    "resnet",
    "resnet1d",
    "seed_convnet",
    "vgg",
]
