"""The README's Python, pasted into a Python shell block by block, as a reader would."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from documents import blocks, paste

from funcnn import checkpoint, gradients, losses, models, ops, predictor, training

README = Path(__file__).parents[1] / "README.md"
BLOCKS = blocks(README, "python")


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Paste every block into one shell; return its variables and what each block printed."""
    directory = tmp_path_factory.mktemp("readme")
    params, state, _ = models.convnet(10).init((1,), (8, 8, 1))
    classes = [str(i) for i in range(10)]
    description = {
        "model": {"name": "convnet", "arguments": {"outputs": 10}},
        "data": {"in_shape": [8, 8, 1], "classes": classes, "standardize": None},
        "preprocessing": predictor.preprocessing_for((8, 8, 1), None, full_scale=16),
    }
    saved = training.TrainState(params, state, {}, (1,), 0, 0)
    checkpoint.save(directory / "digits.safetensors", checkpoint.Checkpoint(saved, description))
    variables, printed = {}, []
    with contextlib.chdir(directory):
        for block in BLOCKS:
            out = paste(block, variables)
            printed.append((dict(variables), out))
    return printed


def test_there_are_examples():
    assert len(BLOCKS) == 6
    assert 18 <= len([line for line in BLOCKS[0].splitlines() if line]) <= 24


def test_the_step_by_hand_lowers_the_loss(shell):
    after, _ = shell[0]
    logits, _ = ops.dense(after["linear"], ops.flatten(ops.relu(ops.conv(after["kernel"], after["x"])[0])[0])[0])
    assert losses.softmax_cross_entropy(logits, after["labels"])[0] < after["loss"]
    assert after["dx"].shape == after["x"].shape


def test_the_three_line_version_is_the_same_function(shell):
    by_hand, _ = shell[0]
    after, _ = shell[1]
    params = {**after["params"], "0_conv2d": by_hand["kernel"], "3_dense": by_hand["linear"]}
    grad_fn = gradients.value_and_grad(after["model"], losses.softmax_cross_entropy)
    value, grads, _ = grad_fn(params, after["state"], after["x"], after["labels"])
    flat = ops.flatten(ops.relu(ops.conv(by_hand["kernel"], by_hand["x"])[0])[0])[0]
    logits, dense_vjp = ops.dense(by_hand["linear"], flat)
    loss, loss_vjp = losses.softmax_cross_entropy(logits, after["labels"])
    assert value == loss
    assert np.array_equal(grads["3_dense"]["w"], dense_vjp(loss_vjp(1.0))[0]["w"])


def test_the_training_loop_trains(shell):
    _, printed = shell[3]
    lines = printed.splitlines()
    assert len(lines) == 8 and float(lines[-1].split()[2]) > 0.96


def test_a_saved_model_predicts_names(shell):
    names, probabilities = shell[2][1].split("] [")
    assert len(names.strip("[]\n ").split()) == 3 and all(
        0.1 <= float(p) <= 1 for p in probabilities.strip("[]\n ").split()
    )
    assert shell[2][0]["saved"].params["0_conv2d"]["w"].any()


def test_the_estimator_is_scored(shell):
    scores = shell[4][1].strip("[] \n").split()
    assert len(scores) == 3 and min(map(float, scores)) > 0.8


def test_it_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 180
