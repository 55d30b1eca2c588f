"""Models with fresh parameters in files, as ``funcnn train`` writes them."""

from funcnn import checkpoint, models, optim, predictor, training, tree

CLASSES = ["cat", "dog", "a rather long name"]
EPOCHS = [
    {"epoch": n, "step": 5 * n, "loss": 2.0 / n, "train_accuracy": 1 - 0.5 / n, "validation_accuracy": 1 - 0.6 / n}
    for n in (1, 2, 3)
]


def save(path, name, arguments, in_shape, classes, change=lambda path, leaf: leaf, *, data=None):
    """Write a model with fresh parameters as funcnn train does."""
    description = {
        "model": {"name": name, "arguments": arguments},
        "data": {"in_shape": list(in_shape), "classes": classes, "standardize": None, **(data or {})},
        "preprocessing": predictor.preprocessing_for(in_shape, None),
    }
    initial = training.start(getattr(models, name)(**arguments), optim.sgd(0.1), in_shape, key=(0,))
    params = {p: change(p, leaf) for p, leaf in tree.flatten(initial.params).items()}
    initial = initial._replace(params=tree.unflatten(params, initial.params))
    checkpoint.save(path, checkpoint.Checkpoint(initial, description, history=EPOCHS))
