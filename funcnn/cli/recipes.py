"""The networks that `funcnn train` offers, and how each is trained unless the command line says otherwise."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

__all__ = ["RECIPES", "ModelName", "OptimizerName", "Recipe", "ScheduleName", "fine_tuning_recipe", "model_for"]


class ModelName(StrEnum):
    """Values of --model."""

    convnet = "convnet"
    seed = "seed"
    mlp = "mlp"
    lenet5 = "lenet5"
    vgg = "vgg"
    resnet = "resnet"
    mobilenet = "mobilenet"


class OptimizerName(StrEnum):
    """Values of --optimizer."""

    sgd = "sgd"
    momentum = "momentum"
    adam = "adam"
    adamw = "adamw"
    nadam = "nadam"
    radam = "radam"
    rmsprop = "rmsprop"
    adagrad = "adagrad"
    lion = "lion"
    lamb = "lamb"


class ScheduleName(StrEnum):
    """Values of --schedule."""

    constant = "constant"
    linear = "linear"
    exponential = "exponential"
    cosine = "cosine"
    warmup_cosine = "warmup-cosine"
    one_cycle = "one-cycle"


class Recipe(NamedTuple):
    """How a model is trained.

    Attributes
    ----------
    epochs, batch_size : int
    optimizer : OptimizerName
    learning_rate : float
    schedule : ScheduleName
    weight_decay, dropout : float
    shift : int
        Largest random shift of images, in pixels.
    standardize : bool
        Whether built-in data, which are well scaled, are standardised like all others.
    image_size : int
        Height and width that images are resized to; 0 to leave them as they are.
    """

    epochs: int
    batch_size: int
    optimizer: OptimizerName
    learning_rate: float
    schedule: ScheduleName
    weight_decay: float
    dropout: float
    shift: int
    standardize: bool
    image_size: int = 0


ADAMW, ONE_CYCLE = OptimizerName.adamw, ScheduleName.one_cycle
RECIPES = {
    ModelName.convnet: Recipe(30, 24, ADAMW, 8e-3, ONE_CYCLE, 0.05, 0.1, 1, False),
    ModelName.seed: Recipe(10, 64, OptimizerName.sgd, 0.1, ScheduleName.constant, 0.0, 0.0, 0, True),
    ModelName.mlp: Recipe(30, 32, ADAMW, 8e-3, ONE_CYCLE, 0.05, 0.2, 0, True),
    ModelName.lenet5: Recipe(20, 32, ADAMW, 4e-3, ONE_CYCLE, 0.05, 0.0, 0, True, 32),
    ModelName.vgg: Recipe(15, 32, ADAMW, 4e-3, ONE_CYCLE, 0.05, 0.3, 1, True),
    ModelName.resnet: Recipe(15, 32, ADAMW, 8e-3, ONE_CYCLE, 0.05, 0.0, 1, True),
    ModelName.mobilenet: Recipe(20, 32, ADAMW, 8e-3, ONE_CYCLE, 0.05, 0.0, 1, True),
}
# Of runs that begin with a trained network: several of its layers are trained, or its head alone. Measured on crops of
# photographs (scripts/site/features.md has the figures and their command).
FINE_TUNED = Recipe(15, 32, ADAMW, 1e-3, ONE_CYCLE, 0.05, 0.0, 1, True)
FROZEN_BODY = Recipe(30, 32, ADAMW, 1e-2, ONE_CYCLE, 0.05, 0.0, 0, True)
# The models that have dropout.
WITH_DROPOUT = (ModelName.convnet, ModelName.mlp, ModelName.vgg)


def fine_tuning_recipe(in_shape: tuple[int, ...], freeze: str) -> Recipe:
    """Return how a trained network is trained further; rows of features are not shifted."""
    recipe = FROZEN_BODY if freeze == "body" else FINE_TUNED
    return recipe if len(in_shape) == 3 else recipe._replace(shift=0)


def model_for(name: ModelName, in_shape: tuple[int, ...], outputs: int, dropout: float) -> dict[str, Any]:
    """Return the function in `funcnn.models` and its arguments, as a checkpoint describes a model.

    Where a network halves its images again and again, how often depends on their size.
    """
    halvings = min(in_shape[:-1], default=1).bit_length() - 1  # that leave at least a pixel
    arguments: dict[str, Any] = {"outputs": outputs}
    if name is ModelName.convnet:
        arguments["channels"] = [32, 64, 128][: max(1, halvings - 1)]
    elif name is ModelName.vgg:
        arguments["blocks"] = [[32], [64], [128, 128], [256, 256]][: max(1, halvings)]
        arguments["hidden"] = [128]
    elif name is ModelName.mobilenet:
        stages = [[64, 1], [128, 2], [128, 1], [256, 2], [256, 1]]
        arguments["stem"] = [32, 2 if halvings > 4 else 1]
        arguments["blocks"] = stages if halvings > 3 else stages[:3]
    if name in WITH_DROPOUT:
        arguments["dropout_rate"] = dropout
    return {"name": "seed_convnet" if name is ModelName.seed else name.value, "arguments": arguments}
