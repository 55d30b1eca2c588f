"""The networks of the onnx wheel at their full size: tests/onnx has them for smaller images."""

import numpy as np
import onnxruntime
import pytest
from imported import assert_agrees, run
from light_networks import SMALLER, light_network


@pytest.mark.parametrize("name", SMALLER)
def test_network_of_the_wheel(name):
    model, x = light_network(name)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: x})[0]
    assert np.ptp(expected) > 0.1
    assert_agrees(run(model, x).reshape(expected.shape), expected)
