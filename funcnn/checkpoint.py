"""Checkpoints: one file holds everything needed to resume a training run and to rebuild its model.

The format is safetensors, which PyTorch, JAX and others open: each array is stored under its path in the tree, such as
``params/0_conv2d/w``. What is not an array is JSON in the file's metadata, under ``funcnn``, with a checksum of the
whole file. A file is written under a temporary name and renamed, so that there is always a complete file, old or new.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import secrets
import warnings
from contextlib import suppress
from operator import index
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import funcnn
from funcnn import checks, extras, files, models
from funcnn.layer import Layer
from funcnn.stopping import BestEpoch
from funcnn.training import EpochPlan, TrainState
from funcnn.tree import Array, Tree

try:
    import safetensors
    import safetensors.numpy
except ImportError as error:
    raise extras.missing("checkpoints need safetensors", "checkpoint", error) from None

__all__ = [
    *("Checkpoint", "CheckpointError", "Latest"),
    *("add", "latest", "load", "of_run", "rebuild", "run_id", "save", "versions"),
]

_VERSION = 1
_NO_DIGEST = "0" * 64
_NAME = re.compile(r"step-\d{9,}\.safetensors")
_UNFINISHED = re.compile(r"\.step-\d{9,}\.safetensors\.\w+\.part")


class CheckpointError(ValueError):
    """A file is not a checkpoint, is damaged, or cannot be read; the message names it.

    Examples
    --------
    >>> try:
    ...     load("missing.safetensors")
    ... except CheckpointError as error:
    ...     print(error)
    cannot read missing.safetensors: No such file or directory
    """


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes
    ----------
    train_state : TrainState
        From which `funcnn.training.fit` continues.
    description : dict
        What JSON can hold: at least ``model``, a dict of ``name`` and ``arguments`` of a function in `funcnn.models`,
        where the model is to be rebuilt; by convention also ``data``, ``run`` and ``versions``, and ``run_id``, a
        string that tells a run's checkpoints from those of others (`add`).
    best : funcnn.stopping.BestEpoch, optional
    history : list of dict
        A record of each epoch, of what JSON can hold.

    Examples
    --------
    >>> description = {"model": {"name": "mlp", "arguments": {"outputs": 3}}}
    >>> params, state, _ = rebuild(description).init((0,), (4,))
    >>> checkpoint = Checkpoint(TrainState(params, state, {}, (0,), epoch=0, step=0), description)
    >>> checkpoint.best, checkpoint.history
    (None, [])
    """

    train_state: TrainState
    description: dict[str, Any]
    best: BestEpoch | None = None
    history: list[dict[str, Any]] = []  # noqa: RUF012 never modified


class Latest(NamedTuple):
    """The newest checkpoint of a folder that can be read: its file, its content, and why newer ones were skipped.

    Attributes
    ----------
    path : Path
    checkpoint : Checkpoint
    unreadable : list of CheckpointError

    Examples
    --------
    See `latest`.
    """

    path: Path
    checkpoint: Checkpoint
    unreadable: list[CheckpointError]


def save(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint. If that fails, the file that was there before is unchanged.

    Parameters
    ----------
    path : path
        Its folder must exist.
    checkpoint : Checkpoint
        The trees' leaves may be arrays of float16 to float64, complex64, bool and ints, NumPy's scalars of these, and
        Python's bools, ints, floats, strings and None. All are restored exactly; any memory layout is accepted.

    Raises
    ------
    TypeError, ValueError
        If a leaf is of another type, a key is not a string without ``/``, or ``description`` is not a dict or
        ``history`` not a list of what JSON can hold; nothing is written.
    OSError
        If the file cannot be written, naming it.

    Notes
    -----
    By `funcnn.files.write_atomic`: even a power cut leaves the old file or the new one. A process killed meanwhile
    leaves a hidden file, ``.{name}.{random}.part``, which `add` removes.

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.eye(2).T[::-1]}, {}, {"step": 3, "mean": np.float32(0.1)}, (0,), 0, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/net.safetensors", Checkpoint(train_state, {}))
    ...     print(load(f"{folder}/net.safetensors").train_state.opt_state)
    {'step': 3, 'mean': np.float32(0.1)}
    """
    files.write_atomic(path, _encoded(checkpoint))


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    path : path

    Returns
    -------
    Checkpoint
        Equal to the one saved, bit for bit; its arrays are in row-major order (C).

    Raises
    ------
    CheckpointError
        If the file cannot be read, is not a checkpoint of funcnn, or was damaged. No content
        of the file raises another error or takes more memory than a few times the file's size.

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.ones(2)}, {}, {}, (0,), epoch=1, step=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/net.safetensors", Checkpoint(train_state, {}))
    ...     loaded = load(f"{folder}/net.safetensors")
    >>> loaded.train_state.step, loaded.train_state.params
    (8, {'w': array([1., 1.])})
    """
    path = Path(path)
    try:
        if not path.is_file():
            path.stat()  # raises the right error if no such file exists
            raise CheckpointError(f"cannot read {path}: it is {'a directory' if path.is_dir() else 'not a file'}")
        return _decoded(path)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        size = path.stat().st_size
        raise CheckpointError(f"{path} is damaged or not a checkpoint: {error} in {size:,} bytes") from None
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a checkpoint as funcnn writes them: {error!r}") from None


def add(folder: str | os.PathLike[str], checkpoint: Checkpoint, *, keep: int = 3, replaces: Path | None = None) -> Path:
    """Save a checkpoint in a run's folder, under its step, and remove all but the newest ones of this run.

    Parameters
    ----------
    folder : path
        It is created if it does not exist.
    checkpoint : Checkpoint
        Checkpoints of the same run have the same ``run_id`` in their description, or none. Nothing else in the folder
        is removed or changed.
    keep : int >= 1
        How many checkpoints of the run stay, this one included.
    replaces : Path, optional
        One of the run's checkpoints in the folder, to remove when this one is written.

    Returns
    -------
    Path
        Of the file, ``step-{step}.safetensors``.

    Raises
    ------
    TypeError, ValueError, OSError
        As `save` does, and if the file exists and is a checkpoint of another run; no other checkpoint is removed then.

    Notes
    -----
    A damaged file of that name, which does not tell whose it is, is renamed to ``{name}.{random}.damaged``. Whoever
    lets several processes write to a folder locks it (`funcnn.files.locked`).

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.ones(2)}, {}, {}, (0,), epoch=1, step=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [add(folder, Checkpoint(train_state._replace(step=step), {}), keep=2) for step in (8, 16, 24)]
    ...     sorted(os.listdir(folder))
    ['step-000000016.safetensors', 'step-000000024.safetensors']
    """
    checks.count("add", "keep", keep)
    folder = Path(folder)
    content, this_run = _encoded(checkpoint), checkpoint.description.get("run_id")
    files.make_folder(folder)
    path = folder / f"step-{checkpoint.train_state.step:09d}.safetensors"
    if path.is_file():
        try:
            if run_id(path) != this_run:
                raise FileExistsError(f"cannot write {path}: it is a checkpoint of another run")
        except CheckpointError:
            path.rename(f"{path}.{secrets.token_hex(4)}.damaged")
    files.write_atomic(path, content)
    for name in os.listdir(folder):
        if _UNFINISHED.fullmatch(name):
            files.remove_unfinished(folder / name)
    kept = (path.name, replaces and replaces.name)
    superseded = [folder / replaces.name] if replaces and replaces.name != path.name else []
    crowded = len(_checkpoint_files(folder)) > keep  # otherwise there is no need to look into the others
    others = [other for other in of_run(folder, this_run) if other.name not in kept] if crowded else []
    for old in [*others[keep - 1 :], *superseded]:
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"cannot remove {old}: {error.strerror or error}", stacklevel=2)
    return path


def of_run(folder: str | os.PathLike[str], run: str | None) -> list[Path]:
    """List the checkpoints of one run in a folder, in descending order of their steps.

    Parameters
    ----------
    folder : path
    run : str, optional
        The ``run_id`` of their descriptions; None for those that have none.

    Returns
    -------
    list of Path
        Without files that do not tell whose they are.

    Raises
    ------
    OSError
        If the folder cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.ones(2)}, {}, {}, (0,), epoch=1, step=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = add(folder, Checkpoint(train_state, {"run_id": "first"}))
    ...     _ = add(folder, Checkpoint(train_state._replace(step=16), {"run_id": "second"}), keep=1)
    ...     [path.name for path in of_run(folder, "first")]
    ['step-000000008.safetensors']
    """
    found = []
    for path in _checkpoint_files(Path(folder)):
        with suppress(CheckpointError, OSError):
            if run_id(path) == run:
                found.append(path)
    return found


def run_id(path: str | os.PathLike[str]) -> str | None:
    """Return the ``run_id`` of a checkpoint's description, or None if it has none, without reading its arrays.

    Parameters
    ----------
    path : path

    Raises
    ------
    CheckpointError
        If the file's header is damaged or not that of a checkpoint; what is behind it may be damaged.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.ones(2)}, {}, {}, (0,), epoch=1, step=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run_id(add(folder, Checkpoint(train_state, {"run_id": "first"})))
    'first'
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > os.fstat(file.fileno()).st_size:
                raise ValueError("its header is incomplete")
            header = json.loads(file.read(length))
        found = json.loads(header["__metadata__"]["funcnn"])["description"].get("run_id")
        return None if found is None else str(found)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        raise CheckpointError(f"{path} is damaged or not a checkpoint") from None


def latest(folder: str | os.PathLike[str]) -> Latest:
    """Read the newest checkpoint of a run's folder, skipping those that cannot be read.

    Parameters
    ----------
    folder : path
        In which `add` has saved.

    Returns
    -------
    Latest

    Raises
    ------
    CheckpointError
        If no checkpoint in it can be read.

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.ones(2)}, {}, {}, (0,), epoch=1, step=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = add(folder, Checkpoint(train_state, {}))
    ...     damaged = Path(folder, "step-000000016.safetensors")
    ...     damaged.touch()
    ...     found = latest(folder)
    >>> found.path.name, found.checkpoint.train_state.step, len(found.unreadable)
    ('step-000000008.safetensors', 8, 1)
    """
    folder = Path(folder)
    unreadable: list[CheckpointError] = []
    try:
        paths = _checkpoint_files(folder)
    except OSError as error:
        raise CheckpointError(f"cannot read {folder}: {error.strerror or error}") from None
    for path in paths:
        try:
            return Latest(path, load(path), unreadable)
        except CheckpointError as error:
            unreadable.append(error)
    raise CheckpointError("; ".join([f"{folder} has no checkpoint that can be read", *map(str, unreadable)]))


def _checkpoint_files(folder: Path) -> list[Path]:
    """List the files that `add` has saved, in descending order of their steps; folders of such a name are none."""
    names = [name for name in os.listdir(folder) if _NAME.fullmatch(name) and (folder / name).is_file()]
    return [folder / name for name in sorted(names, key=lambda name: int(name[5:-12]), reverse=True)]


def rebuild(description: dict[str, Any]) -> Layer:
    """Make the model that a description names.

    Parameters
    ----------
    description : dict
        Its entry ``model`` has the ``name`` of a function in `funcnn.models` and its ``arguments``.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If there is no such function, or it does not take the arguments.

    Examples
    --------
    >>> rebuild({"model": {"name": "mlp", "arguments": {"outputs": 3, "hidden": [16]}}}).init((0,), (4,))[2]
    (3,)
    """
    model = description.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("arguments"), dict):
        raise ValueError("rebuild: the description must have an entry 'model' with 'name' and 'arguments'")
    name, arguments = model.get("name"), model["arguments"]
    if name not in models.__all__:
        raise ValueError(f"rebuild: funcnn.models has no {name!r}, only {', '.join(models.__all__)}")
    try:
        layer: Layer = getattr(models, name)(**arguments)
    except TypeError as error:
        raise ValueError(f"rebuild: models.{name} does not take {arguments}: {error}") from None
    return layer


def versions() -> dict[str, Any]:
    """Return the versions of the software that a run's exact results depend on, and the BLAS with its threads.

    Returns
    -------
    dict of str and int
        ``funcnn``, ``numpy``, ``python``, ``processor``, ``blas``; with threadpoolctl installed, ``blas`` names the
        processor type of its routines, and ``blas_threads`` is how many threads it may use.

    Examples
    --------
    >>> versions()["numpy"] == np.__version__
    True
    """
    found: dict[str, Any] = {
        "funcnn": funcnn.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "processor": platform.machine(),
    }
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {**found, "blas": f"{built.get('name')} {built.get('version')}"}
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    # SciPy may have brought a second one, which NumPy does not use.
    pools.sort(key=lambda pool: ("numpy" not in pool["filepath"], pool["filepath"]))
    for pool in pools[:1]:
        blas = " ".join(str(pool[key]) for key in ("internal_api", "version", "architecture") if pool.get(key))
        found |= {"blas": blas, "blas_threads": pool["num_threads"]}
    return found


# In the JSON, one of these stands for each array; everything else is written as it is.
_ARRAY, _SCALAR = "array", "scalar"


def _encoded(checkpoint: Checkpoint) -> bytes:
    train_state, best = checkpoint.train_state, checkpoint.best
    about: dict[str, Any] = {"description": checkpoint.description, "history": checkpoint.history}
    for name, kind in (("description", dict), ("history", list)):
        if not isinstance(about[name], kind):
            raise TypeError(f"a checkpoint's {name} is a {kind.__name__}, not {about[name]!r}")
        try:
            json.dumps(about[name])
        except TypeError as error:
            raise TypeError(f"a checkpoint's {name} holds what JSON can: {error}") from None
    trees: Tree = {"params": train_state.params, "state": train_state.state, "opt_state": train_state.opt_state}
    trees["losses"] = np.asarray(train_state.losses, np.float64)
    if best is not None:
        trees["best"] = {"params": best.params, "state": best.state}
    arrays: dict[str, Array] = {}
    metadata = {
        "version": _VERSION,
        "checksum": _NO_DIGEST,
        "trees": _to_json(trees, "", arrays),
        "key": [int(i) for i in train_state.key],
        "epoch": int(train_state.epoch),
        "step": int(train_state.step),
        "plan": train_state.plan,
        "best": None
        if best is None
        else {"epoch": int(best.epoch), "value": float(best.value), "waited": int(best.waited)},
        **about,
    }
    content = safetensors.numpy.save(arrays, {"funcnn": json.dumps(metadata)})
    # The checksum is computed with zeros in the bytes that hold it.
    at = content.index(_NO_DIGEST.encode())
    digest = hashlib.sha256(content).hexdigest().encode()
    return b"".join([content[:at], digest, content[at + len(digest) :]])


def _to_json(tree: Any, path: str, arrays: dict[str, Array]) -> Any:
    """Return a tree as JSON, its arrays put under their paths into ``arrays``."""
    if isinstance(tree, dict):
        for key in tree:
            if not isinstance(key, str) or "/" in key or not key:
                raise ValueError(
                    f"a checkpoint's keys must be strings without '/', not {key!r} at {path or 'the root'}"
                )
        return {key: _to_json(child, f"{path}/{key}" if path else key, arrays) for key, child in tree.items()}
    if isinstance(tree, np.ndarray | np.generic):
        dtype = tree.dtype.newbyteorder("=")
        if dtype.name not in _DTYPES:
            raise TypeError(f"a checkpoint cannot hold {path}, which is of dtype {tree.dtype}")
        # safetensors 0.8 takes any array's memory as if it were in row-major order
        arrays[path] = np.asarray(tree, dtype, order="C")
        return _ARRAY if isinstance(tree, np.ndarray) else _SCALAR
    if tree is None or type(tree) in (bool, int, float, str):
        return [tree]
    raise TypeError(f"a checkpoint cannot hold {path}, which is a {type(tree).__name__}")


_DTYPES = {
    *("float16", "float32", "float64", "complex64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
}


def _decoded(path: Path) -> Checkpoint:
    # It refuses a header that does not describe, array by array, exactly the bytes that are there.
    with safetensors.safe_open(path, framework="np") as file:
        written = (file.metadata() or {}).get("funcnn")
        if written is None:
            raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of funcnn")
        digest = re.search(r'"checksum": "([0-9a-f]{64})"', written)
        if digest is None or _digest(path, digest[1].encode()) != digest[1]:
            raise CheckpointError(f"{path} is damaged: its {path.stat().st_size:,} bytes do not have their checksum")
        metadata = json.loads(written)
        if metadata["version"] > _VERSION:
            raise CheckpointError(
                f"{path} was written by a later funcnn, in version {metadata['version']} of the format"
            )
        arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 not a dict
    for name, kind in _KINDS.items():
        if not isinstance(metadata[name], kind):
            raise TypeError(f"{name} is {metadata[name]!r}")
    trees, best = _from_json(metadata["trees"], "", arrays), metadata["best"]
    key = tuple(map(index, metadata["key"]))
    params, state, opt_state, losses = (trees[name] for name in ("params", "state", "opt_state", "losses"))
    plan = None if metadata.get("plan") is None else EpochPlan(*metadata["plan"])
    train_state = TrainState(params, state, opt_state, key, metadata["epoch"], metadata["step"], losses, plan)
    best = None if best is None else BestEpoch(**best, **trees["best"])
    return Checkpoint(train_state, metadata["description"], best, metadata["history"])


_KINDS = {"trees": dict, "key": list, "epoch": int, "step": int, "description": dict, "history": list}


def _digest(path: Path, digest: bytes) -> str:
    """Return the checksum of a file, computed with zeros in the bytes that hold the checksum."""
    with open(path, "rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
        total = hashlib.sha256(length + header.replace(digest, _NO_DIGEST.encode(), 1))
        return hashlib.file_digest(file, lambda: total).hexdigest()


def _from_json(written: Any, path: str, arrays: dict[str, Array]) -> Any:
    if isinstance(written, dict):
        return {key: _from_json(child, f"{path}/{key}" if path else key, arrays) for key, child in written.items()}
    if written == _ARRAY:
        return arrays[path]
    return arrays[path][()] if written == _SCALAR else written[0]
