"""The cases of ONNX's node suite that are one node."""

import warnings
from functools import cache


@cache
def node_cases():
    """Return the cases. It takes seconds to make them, so nothing asks for them at collection."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of the expected outputs' computation
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2.5, about onnx's own modules
        return [case for case in load_model_tests(kind="node") if len(case.model.graph.node) == 1]
