"""Train a network on images or rows of numbers, and report how well it does on examples it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from funcnn import checkpoint
from funcnn.checkpoint import Checkpoint
from funcnn.cli import console, find_rate, jobs, pretrained, report, runs, training_loop
from funcnn.cli.console import UsageError
from funcnn.cli.options import Cache, CacheName, SkipBroken
from funcnn.cli.outputs import check_history, check_outputs, check_replaceable, is_inside
from funcnn.cli.pretrained import Beginning, Pretrained
from funcnn.cli.recipes import RECIPES, WITH_DROPOUT, ModelName, OptimizerName, ScheduleName
from funcnn.cli.runs import Run
from funcnn.data import BUILTIN, Dataset, Source, Splits, describe_shape
from funcnn.data.lazy import blocks
from funcnn.data.tables import SUFFIXES
from funcnn.files import check_writable, locked, same_file
from funcnn.history import json_line
from funcnn.layer import Layer
from funcnn.summary import summary


class Scaling(StrEnum):
    """Values of --scaling."""

    imagenet = "imagenet"
    zero_to_1 = "0..1"
    zero_to_255 = "0..255"
    minus_1_to_1 = "-1..1"
    raw = "raw"
    data = "data"


class Fit(StrEnum):
    """Values of --fit."""

    pad = "pad"
    crop = "crop"
    stretch = "stretch"


TABLES = ("breast-cancer", "iris", "wine")
KEEP = 3  # checkpoints of a run


def per_model(field: str) -> str:
    """Return, for a help text, what the models' recipes have for a field."""
    models: dict[Any, list[str]] = {}
    for name, recipe in RECIPES.items():
        models.setdefault(getattr(recipe, field), []).append(name)
    return "(" + "; ".join(f"{', '.join(names)} {value}" for value, names in models.items()) + ")"


TRAINING, EVALUATION, OUTPUT = "Training (by default, the model's own recipe)", "Evaluation", "Output"
CHECKPOINTS = "Checkpoints"


def main(
    *,
    context: typer.Context,
    model: Annotated[
        ModelName | None,
        typer.Option(
            metavar="NAME",
            help="convnet: blocks of convolution and pooling, then dense layers. seed: one 3x3 kernel and two linear "
            "layers, trained by plain SGD. mlp: dense layers alone, also for rows of numbers. lenet5: the classic "
            "network, on images resized to 32x32. vgg, resnet, mobilenet: deep networks, with as many stages as the "
            "size of the images allows. "
            "(default convnet)",
            show_default=False,
        ),
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Begin with the parameters of a trained network instead of new ones: of an ONNX file (.onnx), or of a "
            "model that this command has trained. Images are resized to its size. Its head, the last layer, is kept if "
            "it is for the same classes, and made anew otherwise.",
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            metavar="LAYERS",
            help="With --from, the layers that are not trained: none, body (all but the head), or all-but-N (all but "
            "the last N with weights, the head among them). What a frozen body makes of the images is computed once, "
            "so that training takes seconds. (default none)",
            show_default=False,
        ),
    ] = None,
    scaling: Annotated[
        Scaling | None,
        typer.Option(
            metavar="NAME",
            help="With --from an ONNX file that does not say how its inputs are scaled: imagenet (by the mean and "
            "standard deviation of ImageNet's pixels; the default for 3 channels), data (by those of the training "
            "data; the default for others), a range in which the network takes black and white (0..1, 0..255 or "
            "-1..1), or raw (numbers as they are in the data).",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help=f"One of scikit-learn's data sets ({', '.join(BUILTIN)}); an .npz file with arrays x of shape (N, "
            "height, width[, channels]) or (N, features) and y of shape (N,); an .npy file of such an x with y.npy "
            "(and classes.npy) beside it, which may be larger than the memory; a table of numbers (.csv, .tsv) with "
            "names of columns in its first line; or a folder with one sub-folder of images for each class, or with "
            "folders train, test and val that have these. "
            "(default digits)",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The column of a table that has the labels: names or whole numbers. (default the last one)",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=1,
            max=1024,
            help="Resize all images to this height and width. By default those of a folder are resized to the most "
            "common size among them, at most 64 pixels a side, and all others are not resized.",
        ),
    ] = None,
    fit: Annotated[
        Fit | None,
        typer.Option(
            metavar="HOW",
            help="What becomes of images of another aspect than the size that they are resized to: pad (borders that "
            "repeat their edges), crop (their centre) or stretch. (default pad)",
            show_default=False,
        ),
    ] = None,
    skip_broken: SkipBroken = False,
    cache: Cache = CacheName.auto,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help=f"Number of passes over the training data. {per_model('epochs')}",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help=f"Number of examples in a step. {per_model('batch_size')}",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    optimizer: Annotated[
        OptimizerName | None,
        typer.Option(
            metavar="NAME",
            help=f"One of {', '.join(OptimizerName)}; momentum is SGD with Nesterov momentum 0.9. "
            + per_model("optimizer"),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            min=0.0,
            help=f"Learning rate at its peak. {per_model('learning_rate')}",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    schedule: Annotated[
        ScheduleName | None,
        typer.Option(
            metavar="NAME",
            help=f"How the learning rate changes over the run: {', '.join(ScheduleName)}. {per_model('schedule')}",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", min=0.0, help=f"Weight decay. {per_model('weight_decay')}", rich_help_panel=TRAINING
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            min=0.0,
            max=0.99,
            help=f"Dropout rate at the dense layers of {', '.join(WITH_DROPOUT)}. {per_model('dropout')}",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    shift: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=0,
            max=8,
            help="Augmentation: shift a random half of the images by up to this many pixels in each direction; 0 for "
            "none. " + per_model("shift"),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Stop when the validation loss has not fallen for N epochs, and restore the parameters of the epoch "
            "where it was lowest; 0 for never. (default 0)",
            show_default=False,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=2**32 - 1,
            help="Seed of the split, the initial weights, the order of examples, dropout and shifts. (default 0)",
            show_default=False,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Largest number of threads, by default the number of cores; small steps stay on one thread. The "
            "same number gives the same figures.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Train on this many processes of this machine, one core each, with shards of each batch. On several "
            "machines, start the command by mpiexec or srun instead. Needs mpi4py (the extra mpi). (default 1)",
            show_default=False,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Resume from a checkpoint, or from the newest readable one in a folder. It holds the run's options, "
            "and the run ends as if it had never been interrupted.",
            rich_help_panel=CHECKPOINTS,
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write a checkpoint to this folder after each epoch. Without it, a run writes one each minute, and "
            "one after Ctrl-C, to a new folder, such as checkpoints/1.",
            rich_help_panel=CHECKPOINTS,
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="STEPS",
            help="Write a checkpoint each time this many steps are done.",
            rich_help_panel=CHECKPOINTS,
        ),
    ] = None,
    keep: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Number of checkpoints to keep, the newest.", rich_help_panel=CHECKPOINTS
        ),
    ] = KEEP,
    validation: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            min=0.0,
            max=0.9,
            help="Fraction of the data to validate on after each epoch; 0 for none. (default 0.1)",
            show_default=False,
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    test: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            min=0.01,
            max=0.9,
            help="Fraction of the data to test on at the end. (default 0.2)",
            show_default=False,
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr",
            help="Try learning rates instead, each for a few steps, and suggest one. No model is saved.",
            rich_help_panel=TRAINING,
        ),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="Cross-validate instead, with this many folds, stratified and shuffled: train on all but one and test "
            "on that one, for each. No model is saved.",
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Save the trained model to this file, in the format of a checkpoint (.safetensors). An existing "
            "model is replaced, any other file is not.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write losses and accuracies to this file after each epoch: JSON lines (.jsonl), JSON (.json) or a "
            "table (.csv).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    history_steps: Annotated[
        bool,
        typer.Option(
            "--history-steps", help="Write a record to the history after each step, too.", rich_help_panel=OUTPUT
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as one JSON object.", rich_help_panel=OUTPUT)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the results.", rich_help_panel=OUTPUT)] = False,
) -> None:
    comm = jobs.communicator(processes)
    ranks = jobs.rank_and_size()
    if ranks.size > 1 and threads is None:
        threads = 1
    given = {
        "model": model, "data": data, "image_size": image_size, "epochs": epochs, "batch_size": batch_size,
        "optimizer": optimizer, "learning_rate": learning_rate, "schedule": schedule, "weight_decay": weight_decay,
        "dropout": dropout, "shift": shift, "seed": seed, "threads": threads, "validation": validation, "test": test,
        "early_stopping": early_stopping, "target": target, "fit": fit and str(fit), "from_file": from_file,
        "freeze": freeze, "scaling": scaling and str(scaling), "processes": ranks.size,
    }  # fmt: skip
    if folds and (output or resume or checkpoints or checkpoint_every or history or early_stopping):
        raise UsageError(
            "--folds trains several networks and keeps none: it cannot be combined with --output, --history, "
            "--early-stopping, or checkpoints"
        )
    if find_lr and (folds or output or resume or checkpoints or checkpoint_every or history or early_stopping):
        raise UsageError(
            "--find-lr trains no network to the end: it cannot be combined with --folds, --output, --resume, "
            "--history, --early-stopping, or checkpoints"
        )
    if find_lr and ranks.size > 1:
        raise UsageError("--find-lr runs in one process")
    if history_steps and not history:
        raise UsageError("--history-steps needs --history FILE")
    if ranks.rank:
        output = history = checkpoints = None
    log = console.logger(quiet or ranks.rank > 0)
    source = runs.continued_folder(resume) if resume else None
    folder = checkpoints or source
    same_folder = folder is not None and source is not None and same_file(folder, source)
    not_held = hold(context, folder) if folder and same_folder and not ranks.rank else ""
    saved = None
    if resume:
        resume, saved = runs.read_checkpoint(resume)
        done = saved.train_state
        log(f"resuming from {resume}: {done.epoch} epochs and {done.step} steps are done")
        if not folder:
            log(f"{resume} is not the newest checkpoint of a folder: this run writes its own to a new folder")
    source_network = None
    if not saved:
        check_from(given)
        source_network = pretrained.read(Path(from_file), image_size) if from_file else None
    run = runs.resumed_run(saved, given) if saved else runs.new_run(given, source_network)
    check_options(run, dropout)
    check_outputs(
        {"--output": output, "--history": history, "--checkpoints": checkpoints},
        {"--resume": resume, "--from": Path(run.from_file) if run.from_file else None},
        {"--data": run.data},
    )
    for file in (output, history):
        if file:
            check_writable(file)
    if output:
        check_replaceable(output)
    if history:
        check_history(history, saved)
    if folder and not same_folder:
        not_held = hold(context, folder)
        if any(path.is_file() for path in folder.glob("step-*.safetensors")):
            raise ValueError(
                f"{folder} has checkpoints of another run: resume it by --resume {folder}, or name another folder"
            )

    known: dict[str, Any] = source_network.description if source_network else {}
    in_shape: tuple[int, ...] = source_network.in_shape if source_network else ()
    if saved and run.from_file:
        known, in_shape = saved.description, tuple(saved.description["data"]["in_shape"])
    fitted = run.fit if saved or "fit" in known.get("preprocessing", {}) else fit
    classes = saved.description["data"]["classes"] if saved else source_network.classes if source_network else None
    dataset = runs.open_data(run, in_shape, known, classes, fit=fitted, skip_broken=skip_broken, cache=cache)
    check_image_options(run, dataset, in_shape, fit=fit, skip_broken=skip_broken)
    if source_network:
        check_network(source_network, run, dataset, folds)
    check_data(run, dataset, folds)
    check_parts(run, dataset, {"--validation": validation, "--test": test, "--folds": folds})
    if fitted is None:
        warn_of_padding(run, dataset, in_shape)
    beginning = None
    if source_network:
        beginning = pretrained.begin(
            source_network,
            dataset.classes,
            freeze=run.freeze,
            scaling=run.scaling,
            seed=run.seed,
            full_scale=dataset.full_scale,
        )
        if converted := describe_channels(source_network.in_shape, dataset.x):
            beginning.notes.append(f"{source_network.file}: {converted}")
    if folds:
        cross_validate(run, dataset, folds, as_json, quiet, beginning, comm)
        return

    if resume and saved:
        splits = runs.recorded_splits(f"--resume {resume}", saved.description, dataset)
        network, initial = runs.resume(resume, run, saved, dataset, splits, same_folder=same_folder)
    else:
        splits = runs.hold_out(run, dataset)
        network, initial = runs.start(run, dataset, splits, beginning)
        runs.warn_of_other_pixels(dataset.x, dataset.full_scale, initial.description["preprocessing"], run.data)
    print_summary(network, initial, log, beginning)
    log(f"{len(splits.train)} examples to train on, {len(splits.validation)} to validate, {len(splits.test)} to test")
    if dataset.splits:
        own = [name for name, part in zip(Splits._fields, dataset.splits, strict=True) if len(part)]
        log(f"{run.data}: the parts {', '.join(own)} are its folders'")
    if find_lr:
        find_rate.print_rates(find_rate.find_rate(run, network, initial, dataset, splits), as_json)
        return
    policy = training_loop.CheckpointPolicy(
        folder,
        checkpoint_every,
        keep,
        parent=Path(".checkpoints" if is_inside(Path("checkpoints"), Path(run.data)) else "checkpoints"),
        resumed=resume,
        same_folder=same_folder,
        replaces=resume if same_folder and saved and saved.description.get("interrupted") else None,
        not_held=not_held,
        history=history,
        history_steps=history_steps,
    )
    try:
        trained = training_loop.train(run, network, initial, dataset, splits, policy=policy, quiet=quiet, comm=comm)
    except training_loop.InterruptedRun as interrupted:
        known = saved.description["run"] if saved else run._asdict()
        raise console.Interrupted(report_interruption(interrupted, context, known)) from None
    current, failures = trained
    best = current.best
    if best:
        current = current._replace(train_state=current.train_state._replace(params=best.params, state=best.state))
        log(f"the best of {current.train_state.epoch} epochs was number {best.epoch}")
    if output:
        try:
            checkpoint.save(output, as_model(current))
            size = sum(row.parameters for row in summary(network, tuple(initial.description["data"]["in_shape"])))
            log(f"saved {size:,} parameters to {output}")
        except OSError as error:
            failures = [*failures, str(error)]
    confusion = training_loop.confusion_on_test(run, network, current, dataset, splits, comm)
    if as_json:
        epochs_done = {"epochs": current.train_state.epoch, "best_epoch": best.epoch if best else None}
        print(json_line({**epochs_done, **report.report_figures(confusion, dataset.classes)}))
    else:
        report.print_report(console.results_console(), "test", confusion, dataset.classes)
    if failures:
        raise OSError("; ".join(failures))


def hold(context: typer.Context, folder: Path) -> str:
    """Lock the folder of a run's checkpoints until the end of the command, or return why it cannot be written to.

    Raises
    ------
    BlockingIOError
        If another run holds it.
    """
    try:
        context.with_resource(locked(folder))
    except BlockingIOError:
        raise
    except OSError as error:
        return str(error)
    return ""


def as_model(current: Checkpoint) -> Checkpoint:
    """Return what --output saves: a checkpoint without what only a resumed run needs."""
    description = {name: value for name, value in current.description.items() if name != "run_id"}
    train_state = current.train_state._replace(opt_state={}, optimizer="")
    return current._replace(train_state=train_state, best=None, description=description)


def check_options(run: Run, dropout: float | None) -> None:
    """Refuse options that cannot be combined, before any file is read."""
    if run.data not in BUILTIN and not Path(run.data).exists():
        raise UsageError(
            f"--data {run.data} is neither a file, nor a folder, nor one of scikit-learn's: {', '.join(BUILTIN)}"
        )
    if run.data in TABLES and not run.from_file:
        check_table(run)
    if run.target and Path(run.data).suffix.lower() not in SUFFIXES:
        raise UsageError(f"--target {run.target} names a column of a table (.csv, .tsv), and --data {run.data} is none")
    if dropout is not None and not run.from_file and run.model not in WITH_DROPOUT:
        raise UsageError(f"--dropout cannot be combined with --model {run.model}, which has no dropout layers")
    if run.learning_rate == 0 or not np.isfinite(run.learning_rate + run.weight_decay):
        raise UsageError("--learning-rate must be above 0, and --weight-decay finite")
    if run.validation + run.test >= 1:
        raise UsageError(f"--validation {run.validation} and --test {run.test} leave no examples to train on")
    if run.early_stopping and not run.validation:
        raise UsageError("--early-stopping needs validation data: --validation must be above 0")


def check_from(given: dict[str, Any]) -> None:
    """Refuse options that only apply to runs that begin with a trained network, or that do not apply to these."""
    file = given["from_file"]
    if file == "":
        raise UsageError("--from needs a file, and its name is empty")
    if file is None:
        for name in ("freeze", "scaling"):
            if given[name] is not None:
                raise UsageError(f"--{name} {given[name]} needs --from FILE, the trained network to begin with")
        return
    for name in ("model", "dropout"):
        if given[name] is not None:
            raise UsageError(f"--{name} {given[name]} cannot be combined with --from {file}, which has its own layers")
    pretrained.trained_layers(given["freeze"] or "none")


def check_table(run: Run) -> None:
    """Refuse options that only apply to images."""
    if not run.from_file and run.model != ModelName.mlp:
        raise UsageError(f"--model {run.model} takes images; --data {run.data} has none: use --model mlp")
    if run.shift:
        raise UsageError(f"--shift moves images; --data {run.data} has none")
    if run.image_size:
        raise UsageError(f"--image-size resizes images; --data {run.data} has none")


def check_image_options(
    run: Run, dataset: Dataset, in_shape: tuple[int, ...], *, fit: str | None, skip_broken: bool
) -> None:
    """Refuse options that say how images are read and resized, where none are."""
    if skip_broken and not dataset.names:
        raise UsageError(f"--skip-broken leaves out image files; --data {run.data} has none")
    if fit and len(dataset.x.shape) == 2:
        raise UsageError(f"--fit says how images are resized; --data {run.data} has none")
    if fit and not (dataset.names or run.image_size or in_shape):
        raise UsageError(
            f"--fit {fit} says how images are resized, and those of --data {run.data} are not: see --image-size"
        )


def check_data(run: Run, dataset: Dataset, folds: int | None) -> None:
    """Refuse options that do not fit the data."""
    if len(dataset.x.shape) == 2:
        check_table(run)
    if folds:
        counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
        rarest, name = int(counts.min()), dataset.classes[counts.argmin()]
        if folds > rarest:
            raise UsageError(
                f"--folds {folds} must be at most {rarest}: the rarest class, {name}, has {rarest} examples"
                + "; add some, or leave it out" * (rarest < 2)
            )


def check_parts(run: Run, dataset: Dataset, options: dict[str, float | None]) -> None:
    """Refuse options that split data otherwise than the folders do."""
    if dataset.splits is None:
        return
    for option, value in options.items():
        part = option.removeprefix("--")
        if value is not None and (part == "folds" or len(getattr(dataset.splits, part))):
            own = "parts of its own" if part == "folds" else f"a folder for the {part} part"
            raise UsageError(f"{option} {value} cannot be combined with --data {run.data}, which has {own}")


def warn_of_padding(run: Run, dataset: Dataset, in_shape: tuple[int, ...]) -> None:
    """Warn if images of an array are padded: of files, reading them does."""
    shape, size = dataset.x.shape[1:3], in_shape[:2] if len(in_shape) == 3 else (run.image_size, run.image_size)
    if len(dataset.x.shape) == 4 and shape[0] * size[1] != shape[1] * size[0]:
        console.warn(
            f"{run.data}: images of {shape[0]}x{shape[1]} (height x width) are padded to {size[0]}x{size[1]}; --fit "
            "can be crop or stretch instead"
        )


def check_network(network: Pretrained, run: Run, dataset: Dataset, folds: int | None) -> None:
    """Refuse data that a trained network cannot take, and tests on examples that it was trained on."""
    shape, wanted = dataset.x.shape[1:], network.in_shape
    fits = shape == wanted if len(wanted) == 1 else len(shape) == 3 and {shape[2], wanted[2]} in ({1, 3}, {wanted[2]})
    if not fits:
        raise UsageError(
            f"--from {network.file} takes {describe_shape(wanted)}; --data {run.data} has {describe_shape(shape)}"
        )
    known = network.description
    if known.get("data", {}).get("fingerprint") == runs.fingerprint(dataset):
        if folds:
            raise UsageError(f"--folds tests on all examples, and {network.file} was trained on most of them")
        if known.get("split") != runs.split_record(run, dataset.splits):
            console.warn(
                f"{network.file} was trained on another part of {run.data}: examples that it knows are among those to "
                "test and to validate on; leave out --seed, --test and --validation to take its split"
            )


def describe_channels(shape: Sequence[int], x: Source) -> str:
    """Return, where a network takes images of other channels than the data's, what becomes of them; else nothing."""
    if len(shape) < 3 or shape[2] == 1:
        return "colours become grey, as it takes one channel" if len(shape) == 3 and x.shape[3] == 3 else ""
    is_grey = shape[2] == 3 and all((block[..., :1] == block).all() for _, block in blocks(x))
    return "grey images are repeated to 3 channels" if is_grey else ""


def print_summary(
    network: Layer,
    initial: Checkpoint,
    log: Callable[[str], None],
    beginning: Beginning | None = None,
) -> None:
    """Print the size of the network and, unless they are built in, of the data; and what a run begins with."""
    data, run = initial.description["data"], initial.description["run"]
    rows = summary(network, tuple(data["in_shape"]))
    parameters, products = sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)
    log(f"{run['from_file'] or run['model']}: {parameters:,} parameters, {products:,} multiply-adds an example")
    if run["data"] not in BUILTIN:
        shape = describe_shape(data["in_shape"])
        if len(data["in_shape"]) == 1:
            shape = f"rows of {shape}"
        elif len(set(data["in_shape"][:2])) > 1:
            shape += " (height x width)"
        log(f"{run['data']}: {data['examples']} {shape}; {len(data['classes'])} classes, {', '.join(data['classes'])}")
    for note in beginning.notes if beginning else ():
        log(note)


def cross_validate(
    run: Run, dataset: Dataset, folds: int, as_json: bool, quiet: bool, beginning: Beginning | None, comm: Any
) -> None:
    """Train once for each fold, and report on all."""
    log, confusions = console.logger(quiet or jobs.rank_and_size().rank > 0), []
    for i, splits in enumerate(runs.fold_splits(dataset.labels, folds), start=1):
        network, initial = runs.start(run, dataset, splits, beginning)
        runs.warn_of_other_pixels(dataset.x, dataset.full_scale, initial.description["preprocessing"], run.data)
        if i == 1:
            print_summary(network, initial, log, beginning)
            log(f"{len(dataset.x)} examples in {folds} folds")
        trained = training_loop.train(
            run, network, initial, dataset, splits, label=f"fold {i}/{folds}  ", quiet=quiet, comm=comm
        )
        confusions.append(training_loop.confusion_on_test(run, network, trained.checkpoint, dataset, splits, comm))
    rights, counts = [int(c.trace()) for c in confusions], [int(c.sum()) for c in confusions]
    total = sum(confusions[1:], confusions[0])
    if as_json:
        each = [{"examples": n, "right": right} for right, n in zip(rights, counts, strict=True)]
        print(json_line({"folds": each, **report.report_figures(total, dataset.classes)}))
    else:
        report.print_folds(console.results_console(), rights, counts)
        report.print_report(console.results_console(), "mean", total, dataset.classes)


def report_interruption(
    interrupted: training_loop.InterruptedRun, context: typer.Context, known: dict[str, Any]
) -> str:
    """Return the sentence after Ctrl-C, with the command that resumes the run where there is a checkpoint."""
    parts = [str(interrupted), *([interrupted.failure] if interrupted.failure else [])]
    if interrupted.source is None:
        return "; ".join([*parts, "no checkpoint could be written"])
    earlier = " from an earlier checkpoint" if interrupted.failure else ""
    return "; ".join([*parts, f"to resume{earlier}: {resume_command(interrupted.source, context, known)}"])


def resume_command(source: Path, context: typer.Context, known: dict[str, Any]) -> str:
    """Return the shell command that resumes a run as it was started.

    Parameters
    ----------
    source : Path
        The folder or file to resume from.
    context : typer.Context
        All options of the command, with their values.
    known : dict
        The run's own options, as its checkpoint has them. These need not be given again.
    """
    words = [*console.invocation("train"), "--resume", str(source)]
    ranks = jobs.rank_and_size()
    if ranks.size > 1 and context.params["processes"] is None:
        words = ["mpiexec", "-n", str(ranks.size), *words]
    for option in context.command.params:
        name, value = option.name or "", context.params.get(option.name or "")
        if value is None or value == option.default or name == "resume":
            continue
        if name == "checkpoints" and same_file(value, source):  # a run continues in the folder it resumes from
            continue
        if name in known and name not in runs.CHANGEABLE and value == known[name]:
            continue
        words += [option.opts[0]] if value is True else [option.opts[0], str(value)]
    return console.shell_command(words)
