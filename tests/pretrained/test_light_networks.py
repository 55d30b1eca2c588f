"""The networks of the onnx wheel at their full size: tests/onnx has them for smaller images."""

import numpy as np
import pytest
from imported import assert_agrees, onnx_runs, run
from light_networks import SMALLER, light_network


@pytest.mark.parametrize("name", SMALLER)
def test_network_of_the_wheel(name):
    model, x = light_network(name)
    expected = onnx_runs(model, x)
    assert np.ptp(expected) > 0.1
    assert_agrees(run(model, x).reshape(expected.shape), expected)
