"""Train a network on images or rows of numbers, and tell how well it does on examples it has not seen."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import runs
import terminal
import typer
from files import check_folder, check_writable
from recipes import RECIPES, WITH_DROPOUT, ModelName, OptimizerName, ScheduleName
from sources import CARRIED, Dataset, describe, open_data

from funcnn import checkpoint, data_parallel, metrics, training, tree
from funcnn.checkpoint import Checkpoint
from funcnn.summary import summary
from funcnn.tree import Array

TABLES = ("breast-cancer", "iris", "wine")
# What a run that goes on may do otherwise than before: nothing of this changes what it ends with.
FREE = ("data", "threads")


def per_model(field: str) -> str:
    """Say for a help text what the models' recipes have for a field."""
    models: dict[Any, list[str]] = {}
    for name, recipe in RECIPES.items():
        models.setdefault(getattr(recipe, field), []).append(name)
    return "(" + "; ".join(f"{', '.join(names)} {value}" for value, names in models.items()) + ")"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
TRAINING, EVALUATION, OUTPUT = "Training (by default, the model's own recipe)", "Evaluation", "Output"
KEEPING = "Checkpoints"


@app.command(help=__doc__)
def main(
    model: Annotated[
        ModelName | None,
        typer.Option(
            help="convnet: blocks of convolution and pooling, then dense ones. seed: one 3x3 kernel and two linear "
            "layers, trained by plain SGD. mlp: dense layers alone, also for rows of numbers. lenet5: the classic, on "
            "images made 32x32. vgg, resnet, mobilenet: deep networks, cut to the size of the images.  "
            "[default: convnet]",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help=f"A data set of scikit-learn's ({', '.join(CARRIED)}); an .npz file with arrays x, (N, height, width"
            "[, channels]) or (N, features), and y, (N); or a folder with one sub-folder of images for each class.  "
            "[default: digits]",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Make all images this high and wide. By default they stay as they are; those of a folder are made "
            "the size that most have, or smaller, 64 at most.",
        ),
    ] = None,
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
            help=f"Fraction dropped around dense layers, for {', '.join(WITH_DROPOUT)}. {per_model('dropout')}",
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
    early_stopping: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Stop when the loss on the validation data has not fallen for so many epochs, and take the "
            "parameters of the best one; 0 for never.  [default: 0]",
            show_default=False,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**32 - 1,
            help="Of split, initial weights, order, dropout and shifts.  [default: 0]",
            show_default=False,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads to compute on at most, by default one for each core; steps too small to gain stay on one. "
            "The same number gives the same figures.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Go on from a checkpoint, or from the newest in a folder that can be read. The run's options are in "
            "it, and it ends as if it had never stopped.",
            rich_help_panel=KEEPING,
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep checkpoints here, after each epoch. Without this, a run keeps one a minute, and one when "
            "Ctrl-C stops it, in a new folder of its own: checkpoints/1, checkpoints/2, ...",
            rich_help_panel=KEEPING,
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(min=1, metavar="STEPS", help="Keep one after so many steps instead.", rich_help_panel=KEEPING),
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="How many stay, the newest.", rich_help_panel=KEEPING)] = 3,
    validation: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.9,
            help="Fraction of the data to watch while training; 0 for none.  [default: 0.1]",
            show_default=False,
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    test: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.9,
            help="Fraction of the data to test on at the end.  [default: 0.2]",
            show_default=False,
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Cross-validate instead: train once for each fold, stratified and shuffled, and test on it. Nothing "
            "is kept.",
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Save the trained model, in the format of a checkpoint: .safetensors.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a line of JSON after each epoch: losses, accuracies.", rich_help_panel=OUTPUT
        ),
    ] = None,
    history_steps: Annotated[
        bool, typer.Option("--history-steps", help="There, a line after each step, too.", rich_help_panel=OUTPUT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as one JSON object.", rich_help_panel=OUTPUT)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show results alone.", rich_help_panel=OUTPUT)] = False,
) -> None:
    given = {
        "model": model, "data": data, "image_size": image_size, "epochs": epochs, "batch_size": batch_size,
        "optimizer": optimizer, "learning_rate": learning_rate, "schedule": schedule, "weight_decay": weight_decay,
        "dropout": dropout, "shift": shift, "seed": seed, "threads": threads, "validation": validation, "test": test,
        "early_stopping": early_stopping,
    }  # fmt: skip
    if folds and (output or resume or checkpoints or checkpoint_every or history or early_stopping):
        raise terminal.UsageError(
            "--folds trains several networks and keeps none: it does not go with --output, --history, "
            "--early-stopping, or checkpoints"
        )
    if history_steps and not history:
        raise terminal.UsageError("--history-steps needs --history FILE")
    say = terminal.echo(quiet)
    saved, path = read(resume, say) if resume else (None, None)
    run = new_run(given) if saved is None else old_run(saved, given)
    check_options(run, dropout)
    for file in (output, history):
        if file:
            check_writable(file)
    if resume and history:
        runs.read_history(history)  # nothing else is overwritten by a run that goes on
    if checkpoints and not resume and any(checkpoints.glob("step-*.safetensors")):
        raise ValueError(
            f"{checkpoints} has checkpoints of another run: go on with it by --resume {checkpoints}, or name another "
            f"folder"
        )
    if checkpoints:
        check_folder(checkpoints)

    dataset = open_data(run.data, image_size=(run.image_size, run.image_size) if run.image_size else None)
    check_data(run, dataset, folds)
    if folds:
        cross_validate(run, dataset, folds, as_json, quiet)
        return

    parts = runs.hold_out(dataset.labels, dataset.classes, run.test, run.validation, run.seed)
    if saved and path:
        runs.check_continues(path, run, saved, dataset, parts)
        begun = saved._replace(description={**saved.description, "run": run._asdict()})
        checkpoints = checkpoints or path.parent
    else:
        begun = runs.begin(run, dataset, parts)
    introduce(begun, say)
    say(f"{len(parts.train)} examples to train on, {len(parts.validation)} to validate, {len(parts.test)} to test")
    keeping = runs.Keeping(
        checkpoints, checkpoint_every, keep, history, history_steps, command(output, history, history_steps)
    )
    reached = runs.train(run, begun, dataset, parts, keeping=keeping, quiet=quiet)
    best = reached.best
    if best:
        reached = reached._replace(train_state=reached.train_state._replace(params=best.params, state=best.state))
        say(f"the best of {reached.train_state.epoch} epochs was number {best.epoch}")
    confusion = tested(run, reached, dataset, parts)
    if output:
        checkpoint.save(output, reached._replace(train_state=reached.train_state._replace(opt_state={}), best=None))
        say(f"saved {tree.size(reached.train_state.params):,} parameters to {output}")
    if as_json:
        told = {"epochs": reached.train_state.epoch, "best_epoch": best.epoch if best else None}
        print(json.dumps({**told, **terminal.figures(confusion, dataset.classes)}))
    else:
        terminal.report(terminal.results(), "test", confusion, dataset.classes)


def read(path: Path, say: Callable[[str], None]) -> tuple[Checkpoint, Path]:
    """Read what to go on from, with warnings of what might keep it from being the same run."""
    unreadable: list[checkpoint.CheckpointError] = []
    if path.is_dir():
        path, saved, unreadable = checkpoint.latest(path)
    else:
        saved = checkpoint.load(path)
    if not saved.train_state.opt_state:
        raise ValueError(f"{path} is a model without its optimizer's state, as --output writes it: it cannot go on")
    for error in unreadable:
        terminal.warn(f"{error}; going on from the one before, {path}")
    before, now = saved.description.get("versions", {}), checkpoint.versions()
    changed = [f"{name} {before[name]}, now {now.get(name)}" for name in before if before[name] != now.get(name)]
    if changed:
        terminal.warn(f"the run may end with other bits than if it had not stopped: it began with {'; '.join(changed)}")
    say(f"going on from {path}: {saved.train_state.epoch} epochs and {saved.train_state.step} steps are done")
    return saved, path


def new_run(given: dict[str, Any]) -> runs.Run:
    """Return a run as the command line says, and where it does not, the model's recipe."""
    recipe = RECIPES[ModelName(given["model"] or ModelName.convnet)]
    usual = {
        **recipe._asdict(), "model": ModelName.convnet, "data": "digits", "seed": 0, "threads": data_parallel.cores(),
        "validation": 0.1, "test": 0.2, "early_stopping": 0,
    }  # fmt: skip
    return runs.Run(**{name: usual[name] if value is None else value for name, value in given.items()})


def old_run(saved: Checkpoint, given: dict[str, Any]) -> runs.Run:
    """Return the run of a checkpoint, refusing options that would make another one of it."""
    run = runs.Run(**saved.description["run"])
    for name, value in given.items():
        longer = name == "epochs" and run.schedule == ScheduleName.constant
        if value is None or value == getattr(run, name):
            continue
        if name not in FREE and not longer:
            option = name.replace("_", "-")
            raise terminal.UsageError(f"--{option} {value} does not go with --resume: the run has {getattr(run, name)}")
        run = run._replace(**{name: value})
    return run


def check_options(run: runs.Run, dropout: float | None) -> None:
    """Refuse options that do not go together, before anything is read."""
    if run.data not in CARRIED and not Path(run.data).exists():
        raise terminal.UsageError(
            f"--data {run.data} is neither a file, nor a folder, nor one of scikit-learn's: {', '.join(CARRIED)}"
        )
    if run.data in TABLES:
        check_table(run)
    if dropout is not None and run.model not in WITH_DROPOUT:
        raise terminal.UsageError(f"--dropout does not go with --model {run.model}, which has none")
    if run.learning_rate == 0 or not np.isfinite(run.learning_rate + run.weight_decay):
        raise terminal.UsageError("--learning-rate must be above 0, and --weight-decay finite")
    if run.validation + run.test >= 1:
        raise terminal.UsageError(f"--validation {run.validation} and --test {run.test} leave nothing to train on")
    if run.early_stopping and not run.validation:
        raise terminal.UsageError("--early-stopping watches the validation data: --validation must be above 0")


def check_table(run: runs.Run) -> None:
    """Refuse what is for images alone."""
    if run.model != ModelName.mlp:
        raise terminal.UsageError(f"--model {run.model} takes images; --data {run.data} has none: use --model mlp")
    if run.shift:
        raise terminal.UsageError(f"--shift moves images; --data {run.data} has none")


def check_data(run: runs.Run, dataset: Dataset, folds: int | None) -> None:
    """Refuse options that do not go with the data, once they are there."""
    if dataset.x.ndim == 2:
        check_table(run)
    if folds:
        rarest = int(np.bincount(dataset.labels, minlength=len(dataset.classes)).min())
        if folds > rarest:
            raise terminal.UsageError(f"--folds {folds}: the rarest class has {rarest} examples, fewer than that")


def introduce(begun: Checkpoint, say: Callable[[str], None]) -> None:
    """Say what network it is."""
    data, run = begun.description["data"], begun.description["run"]
    rows = summary(checkpoint.rebuild(begun.description), tuple(data["in_shape"]))
    parameters, products = sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)
    say(f"{run['model']}: {parameters:,} parameters, {products:,} multiply-adds an example")
    if run["data"] not in CARRIED:
        shape = describe(np.empty((0, *data["in_shape"])))
        say(f"{run['data']}: {data['examples']} {shape}; {len(data['classes'])} classes, {', '.join(data['classes'])}")


def tested(run: runs.Run, reached: Checkpoint, dataset: Dataset, parts: runs.Parts) -> Array:
    """Return the confusion matrix on the test part."""
    model, now = checkpoint.rebuild(reached.description), reached.train_state
    x = runs.prepared(reached.description, dataset.x[parts.test])
    outputs = training.predict(model, now.params, now.state, x, threads=run.threads)
    return metrics.confusion_matrix(outputs, dataset.labels[parts.test], len(dataset.classes))


def cross_validate(run: runs.Run, dataset: Dataset, folds: int, as_json: bool, quiet: bool) -> None:
    """Train once for each fold, and report on all."""
    say, confusions = terminal.echo(quiet), []
    for i, parts in enumerate(runs.cross_validation(dataset.labels, folds), start=1):
        begun = runs.begin(run, dataset, parts)
        if i == 1:
            introduce(begun, say)
            say(f"{len(dataset.x)} examples in {folds} folds")
        reached = runs.train(run, begun, dataset, parts, label=f"fold {i}/{folds}  ", quiet=quiet)
        confusions.append(tested(run, reached, dataset, parts))
    rights, counts = [int(c.trace()) for c in confusions], [int(c.sum()) for c in confusions]
    total = sum(confusions[1:], confusions[0])
    if as_json:
        each = [{"examples": n, "right": right} for right, n in zip(rights, counts, strict=True)]
        print(json.dumps({"folds": each, **terminal.figures(total, dataset.classes)}))
    else:
        terminal.report_folds(terminal.results(), rights, counts)
        terminal.report(terminal.results(), "mean", total, dataset.classes)


def command(output: Path | None, history: Path | None, steps: bool) -> str:
    """Return the beginning of the command that goes on with this one."""
    options = ["--output", str(output)] * bool(output) + ["--history", str(history)] * bool(history)
    return shlex.join([sys.argv[0], *options, *["--history-steps"] * steps])


if __name__ == "__main__":
    terminal.run(app)
