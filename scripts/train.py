"""Train a network on a data set of scikit-learn's, and tell how well it does on examples it has not seen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import numpy as np
import terminal
import typer

from funcnn import data, losses, metrics, models, optim, training, tree
from funcnn.layer import Layer
from funcnn.summary import summary
from funcnn.tree import Array

T = TypeVar("T")


class DataName(StrEnum):
    """Values of --data."""

    digits = "digits"
    breast_cancer = "breast-cancer"


class ModelName(StrEnum):
    """Values of --model."""

    convnet = "convnet"
    seed = "seed"
    mlp = "mlp"
    lenet5 = "lenet5"


class OptimizerName(StrEnum):
    """Values of --optimizer."""

    sgd = "sgd"
    momentum = "momentum"
    adam = "adam"
    adamw = "adamw"


class ScheduleName(StrEnum):
    """Values of --schedule."""

    constant = "constant"
    cosine = "cosine"
    warmup_cosine = "warmup-cosine"
    one_cycle = "one-cycle"


class Recipe(NamedTuple):
    """How a model is trained unless the command line says otherwise."""

    epochs: int
    batch_size: int
    optimizer: OptimizerName
    learning_rate: float
    schedule: ScheduleName
    weight_decay: float
    dropout: float
    shift: int
    standardise: bool


ADAMW, ONE_CYCLE = OptimizerName.adamw, ScheduleName.one_cycle
RECIPES = {
    ModelName.convnet: Recipe(30, 24, ADAMW, 8e-3, ONE_CYCLE, 0.05, 0.1, 1, False),
    ModelName.seed: Recipe(10, 64, OptimizerName.sgd, 0.1, ScheduleName.constant, 0.0, 0.0, 0, True),
    ModelName.mlp: Recipe(30, 32, ADAMW, 8e-3, ONE_CYCLE, 0.05, 0.2, 0, True),
    ModelName.lenet5: Recipe(20, 32, ADAMW, 4e-3, ONE_CYCLE, 0.05, 0.0, 0, True),
}


class Task(NamedTuple):
    """A data set and what a network has to do with it.

    Attributes
    ----------
    x : array (N, ...)
    labels : array of int (N,)
    names : list of str
        The classes'.
    outputs : int
        Of the network: a logit for each class, or a single one for the second of two.
    loss : callable
    targets : array
        The labels as the loss takes them.
    tabular : bool
        Features each of its own unit, rather than the pixels of an image.
    """

    x: Array
    labels: Array
    names: list[str]
    outputs: int
    loss: training.Loss
    targets: Array
    tabular: bool


class Parts(NamedTuple):
    """Indices of the examples to train on, to validate on after each epoch, and to test on at the end."""

    train: Array
    validation: Array
    test: Array


def load(name: DataName) -> Task:
    """Load a data set."""
    if name is DataName.digits:
        x, labels = data.digits()
        return Task(x, labels, [str(i) for i in range(10)], 10, losses.softmax_cross_entropy, labels, False)
    x, labels = data.breast_cancer()
    targets = labels[:, None].astype(np.float32)
    return Task(x, labels, ["malignant", "benign"], 1, losses.sigmoid_binary_cross_entropy, targets, True)


def build(name: ModelName, outputs: int, dropout: float) -> Layer:
    """Make a network."""
    if name is ModelName.convnet:
        return models.convnet(outputs, dropout_rate=dropout)
    if name is ModelName.mlp:
        return models.mlp(outputs, dropout_rate=dropout)
    return models.seed_convnet(outputs) if name is ModelName.seed else models.lenet5(outputs)


def make_optimizer(recipe: Recipe, steps: int) -> optim.Optimizer:
    """Make the optimizer for a run of so many steps."""
    rate = recipe.learning_rate
    schedules: dict[ScheduleName, Callable[[], optim.Schedule]] = {
        ScheduleName.constant: lambda: optim.constant(rate),
        ScheduleName.cosine: lambda: optim.cosine(rate, steps),
        ScheduleName.warmup_cosine: lambda: optim.warmup_cosine(rate, steps // 10, steps),
        ScheduleName.one_cycle: lambda: optim.one_cycle(rate, steps),
    }
    schedule, decay = schedules[recipe.schedule](), recipe.weight_decay
    optimizers: dict[OptimizerName, Callable[[], optim.Optimizer]] = {
        OptimizerName.sgd: lambda: optim.sgd(schedule, weight_decay=decay),
        OptimizerName.momentum: lambda: optim.sgd(schedule, momentum=0.9, nesterov=True, weight_decay=decay),
        OptimizerName.adam: lambda: optim.adam(schedule, weight_decay=decay),
        OptimizerName.adamw: lambda: optim.adamw(schedule, weight_decay=decay),
    }
    return optimizers[recipe.optimizer]()


def train(
    task: Task,
    model: Layer,
    recipe: Recipe,
    parts: Parts,
    seed: int,
    *,
    threads: int | None = None,
    label: str = "",
    quiet: bool = False,
) -> tuple[training.TrainingState, Array]:
    """Train on one part of the data; return the final state and the confusion matrix on the test part."""
    x = task.x
    if recipe.standardise:  # tabular features each by itself, the pixels of images all alike
        x = data.standardize(x, *data.mean_and_std(x[parts.train], axes=0 if task.tabular else None))
    watched = not quiet  # what nobody sees need not be computed
    steps = recipe.epochs * -(-len(parts.train) // recipe.batch_size)
    epochs = training.fit(
        model,
        task.loss,
        make_optimizer(recipe, steps),
        x[parts.train],
        task.targets[parts.train],
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        key=(seed,),
        augment=(lambda key, images: data.random_shift(key, images, recipe.shift, fraction=0.5))
        if recipe.shift
        else None,
        validation=(x[parts.validation], task.targets[parts.validation]) if watched and len(parts.validation) else None,
        metrics={"accuracy": metrics.accuracy} if watched else None,
        threads=threads,
    )
    seconds = []
    for epoch in terminal.shown(epochs, recipe.epochs, label=label, quiet=quiet):
        reached = epoch.training
        seconds.append(epoch.seconds)
    terminal.echo(quiet)(f"{label}trained in {sum(seconds):.2f} s, {1000 * np.median(seconds):.2f} ms an epoch")
    outputs = training.predict(model, reached.params, reached.state, x[parts.test], threads=threads)
    return reached, metrics.confusion_matrix(outputs, task.labels[parts.test], len(task.names))


def hold_out(task: Task, test: float, validation: float, seed: int) -> Parts:
    """Cut the data into training, validation and test part, each class in the same proportions in all of them."""
    from sklearn.model_selection import train_test_split

    everything = np.arange(len(task.labels))
    rest, tested = train_test_split(everything, test_size=test, stratify=task.labels, random_state=seed)
    if not validation:
        return Parts(rest, everything[:0], tested)
    trained, validated = train_test_split(
        rest, test_size=round(validation * len(everything)), stratify=task.labels[rest], random_state=seed
    )
    return Parts(trained, validated, tested)


def cross_validation(task: Task, folds: int) -> list[Parts]:
    """Cut the data into folds, stratified and shuffled, each of them the test part once."""
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    nothing = np.arange(0)
    return [Parts(trained, nothing, tested) for trained, tested in splitter.split(task.labels, task.labels)]


def save(path: Path, trained: training.TrainingState) -> None:
    """Write parameters and state as one .npz file, its keys their paths, all at once or not at all."""
    arrays = tree.flatten({"params": trained.params, "state": trained.state})
    handle, temporary = temporary_beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(f"cannot write {path}: {error.strerror}") from None
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def check_writable(path: Path) -> None:
    """Find out before training, not after, that a file could not be written."""
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a directory")
    handle, temporary = temporary_beside(path)
    os.close(handle)
    os.unlink(temporary)


def temporary_beside(path: Path) -> tuple[int, str]:
    """Open a temporary file in the folder of ``path``, from where it can be renamed to it; return handle and name."""
    try:
        return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from None


def per_model(field: str) -> str:
    """Say for a help text what each model's recipe has for a field."""
    return "(" + ", ".join(f"{name} {getattr(recipe, field)}" for name, recipe in RECIPES.items()) + ")"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
TRAINING, EVALUATION, OUTPUT = "Training (by default, the model's own recipe)", "Evaluation", "Output"


@app.command(help=__doc__)
def main(
    model: Annotated[
        ModelName,
        typer.Option(
            help="convnet: two blocks of convolution and pooling, then dense ones. seed: one 3x3 kernel and two linear "
            "layers, trained by plain SGD. mlp: dense layers alone. lenet5: the classic, on digits enlarged to 32x32."
        ),
    ] = ModelName.convnet,
    data: Annotated[
        DataName, typer.Option(help="digits: 1,797 images of 8x8. breast-cancer: 569 rows of 30 features, for mlp.")
    ] = DataName.digits,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help=f"Passes over the training data. {per_model('epochs')}", rich_help_panel=TRAINING),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help=f"Examples a step. {per_model('batch_size')}", rich_help_panel=TRAINING),
    ] = None,
    optimizer: Annotated[
        OptimizerName | None,
        typer.Option(
            help=f"momentum: SGD with Nesterov momentum 0.9. {per_model('optimizer')}", rich_help_panel=TRAINING
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=0.0, help=f"At its peak. {per_model('learning_rate')}", rich_help_panel=TRAINING),
    ] = None,
    schedule: Annotated[
        ScheduleName | None,
        typer.Option(help=f"Of the learning rate over the run. {per_model('schedule')}", rich_help_panel=TRAINING),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(min=0.0, help=per_model("weight_decay"), rich_help_panel=TRAINING)
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.99,
            help=f"Fraction dropped before dense layers, for convnet and mlp. {per_model('dropout')}",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    shift: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=8,
            help="Augmentation: shift half of the images at random, by up to this many pixels either way; 0 for none. "
            + per_model("shift"),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**32 - 1, help="Of split, initial weights, order, dropout and shifts.", rich_help_panel=TRAINING
        ),
    ] = 0,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads to compute on at most, by default one for each core; steps too small to gain stay on one. "
            "The same number gives the same figures.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    validation: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.9,
            help="Fraction of the data to watch while training; 0 for none.",
            rich_help_panel=EVALUATION,
        ),
    ] = 0.1,
    test: Annotated[
        float,
        typer.Option(min=0.01, max=0.9, help="Fraction of the data to test on at the end.", rich_help_panel=EVALUATION),
    ] = 0.2,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Cross-validate instead: train once for each fold, stratified and shuffled, and test on it.",
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Save the parameters as .npz.", rich_help_panel=OUTPUT),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show results alone.", rich_help_panel=OUTPUT)] = False,
) -> None:
    usual = RECIPES[model]
    recipe = Recipe(
        epochs=given_or(epochs, usual.epochs),
        batch_size=given_or(batch_size, usual.batch_size),
        optimizer=given_or(optimizer, usual.optimizer),
        learning_rate=given_or(learning_rate, usual.learning_rate),
        schedule=given_or(schedule, usual.schedule),
        weight_decay=given_or(weight_decay, usual.weight_decay),
        dropout=given_or(dropout, usual.dropout),
        shift=given_or(shift, usual.shift),
        standardise=usual.standardise,
    )
    check_options(model, data, recipe, dropout, folds, validation, test, output)
    if output:
        check_writable(output)

    say = terminal.echo(quiet)
    task = load(data)
    if folds:
        check_folds(folds, task)
    if model is ModelName.lenet5:
        task = task._replace(x=task.x.repeat(4, axis=1).repeat(4, axis=2))
    network = build(model, task.outputs, recipe.dropout)
    rows = summary(network, task.x.shape[1:])
    parameters, products = sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)
    say(f"{model}: {parameters:,} parameters, {products:,} multiply-adds an example")
    console = terminal.results()

    if folds:
        say(f"{len(task.x)} examples in {folds} folds")
        confusions = []
        for i, parts in enumerate(cross_validation(task, folds), start=1):
            label = f"fold {i}/{folds}  "
            _, confusion = train(task, network, recipe, parts, seed, threads=threads, label=label, quiet=quiet)
            confusions.append(confusion)
        terminal.report_folds(console, [int(c.trace()) for c in confusions], [int(c.sum()) for c in confusions])
        terminal.report(console, "mean", sum(confusions[1:], confusions[0]), task.names)
        return

    parts = hold_out(task, test, validation, seed)
    say(f"{len(parts.train)} examples to train on, {len(parts.validation)} to validate, {len(parts.test)} to test")
    trained, confusion = train(task, network, recipe, parts, seed, threads=threads, quiet=quiet)
    if output:
        save(output, trained)
        say(f"saved {tree.size(trained.params):,} parameters to {output}")
    terminal.report(console, "test", confusion, task.names)


def given_or(value: T | None, usual: T) -> T:
    """Return what the command line says, if it does, else the recipe's."""
    return usual if value is None else value


def check_options(
    model: ModelName,
    dataset: DataName,
    recipe: Recipe,
    dropout: float | None,
    folds: int | None,
    validation: float,
    test: float,
    output: Path | None,
) -> None:
    """Refuse options that do not go together."""
    if dataset is DataName.breast_cancer and model is not ModelName.mlp:
        raise terminal.UsageError(f"--model {model} takes images; --data breast-cancer has none: use --model mlp")
    if dataset is DataName.breast_cancer and recipe.shift:
        raise terminal.UsageError("--shift moves images; --data breast-cancer has none")
    if dropout is not None and model not in (ModelName.convnet, ModelName.mlp):
        raise terminal.UsageError(f"--dropout does not go with --model {model}, which has none")
    if recipe.learning_rate == 0 or not np.isfinite(recipe.learning_rate + recipe.weight_decay):
        raise terminal.UsageError("--learning-rate must be above 0, and --weight-decay finite")
    if validation + test >= 1:
        raise terminal.UsageError(f"--validation {validation} and --test {test} leave nothing to train on")
    if folds and output:
        raise terminal.UsageError("--output saves one network; --folds trains several")


def check_folds(folds: int, task: Task) -> None:
    """Refuse more folds than there are examples of the rarest class."""
    rarest = int(np.bincount(task.labels).min())
    if folds > rarest:
        raise terminal.UsageError(f"--folds {folds}: the rarest class has {rarest} examples, fewer than that")


if __name__ == "__main__":
    terminal.run(app)
