"""ONNX's own node suite through `from_onnx`: the first input is the network's, the others are constants of the file.

Cases of integers are run with floats of the same values, for networks compute in floats. A case whose axis 0 is no axis
of examples is run with two equal examples stacked.
"""

import re
from functools import cache

import numpy as np
import onnx
import pytest
from imported import assert_agrees, model_of, names_of, run
from node_cases import node_cases
from onnx import helper

from funcnn.onnx.operators import OPERATORS

FLOOR = 377  # all of the 431 cases in onnx 1.23.2 that are neither refused nor listed
JOINS = ("Add", "Concat", "Div", "MatMul", "Max", "Min", "Mul", "Sub", "Sum")
NEWEST_OPSET = 24

# What from_onnx refuses: the pattern of the message, and the cases
REFUSED = {
    "normalises by the batch's own statistics, as in training: export the network in evaluation mode": """
        test_batchnorm_example_training_mode test_batchnorm_epsilon_training_mode""",
    "would be mixed by the shape": """
        test_expand_dim_changed test_reshape_allowzero_reordered""",
    "would merge the examples with their entries": """
        test_flatten_axis0 test_flatten_axis2 test_flatten_axis3 test_flatten_negative_axis4
        test_flatten_negative_axis2 test_flatten_negative_axis1""",
    "differs between examples": "test_gemm_default_matrix_bias",
    "transA exchanges the examples with their entries": "test_gemm_transposeA test_gemm_all_attributes",
    "cannot be applied to examples": "test_matmul_1d_3d",
    "it reduces all axes, and so the examples": """
        test_reduce_mean_default_axes_keepdims_example test_reduce_mean_default_axes_keepdims_random
        test_reduce_sum_default_axes_keepdims_example test_reduce_sum_default_axes_keepdims_random""",
    "the file leaves sizes open": """
        test_reduce_max_empty_set test_reduce_max_empty_set_bool test_reduce_sum_empty_set
        test_reduce_sum_empty_set_non_reduced_axis_zero test_split_zero_size_splits_opset13
        test_split_zero_size_splits_opset18""",
    "mode '.*' with coordinates '.*' is not known here": """
        test_resize_upsample_scales_cubic test_resize_upsample_scales_cubic_align_corners
        test_resize_downsample_scales_cubic test_resize_downsample_scales_cubic_align_corners
        test_resize_upsample_sizes_cubic test_resize_downsample_sizes_cubic
        test_resize_upsample_scales_cubic_asymmetric""",
    "antialias and exclude_outside are not known here": """
        test_resize_upsample_scales_cubic_A_n0p5_exclude_outside
        test_resize_downsample_scales_cubic_A_n0p5_exclude_outside test_resize_downsample_scales_linear_antialias
        test_resize_downsample_sizes_linear_antialias test_resize_downsample_scales_cubic_antialias
        test_resize_downsample_sizes_cubic_antialias""",
    "nothing is left": "test_slice_start_out_of_bounds",
    "gives it no attribute 'mode'": """
        test_spacetodepth_dcr_mode_example test_spacetodepth_crd_mode_example""",
}

# What is not compared, and why
LISTED = {
    "integers, whose quotients are cut": """
        test_div_int8 test_div_int16 test_div_int32_trunc test_div_uint8 test_div_uint16 test_div_uint32
        test_div_uint64""",
    "bfloat16: NumPy has none": "test_celu_bfloat16",
    "no numbers": "test_reduce_max_bool_inputs",
    "the expected output has four decimals": "test_averagepool_2d_ceil_last_window_starts_on_pad",
    "random numbers of another generator: imported as a dropout, which does nothing in evaluation": """
        test_training_dropout_default test_training_dropout_default_mask test_training_dropout
        test_training_dropout_mask""",
}
# Products of matrices whose axes before the last two differ
NOT_JOINED = ["test_matmul_1d_3d", "test_matmul_4d_1d", "test_matmul_1d_1d"]


@cache
def suite():
    """Return the cases that are imported, by name."""
    return {
        case.name: case
        for case in node_cases()
        if case.model.graph.node[0].op_type in OPERATORS
        and not case.name.endswith("_expanded")  # the same once again, in generic arithmetic
        and not case.name.startswith(("test_cast_", "test_castlike_"))  # types
    }


def parsed(name):
    """Return the node, its inputs as floats, its first output, and the opset."""
    case = suite()[name]
    node, ((given, expected),) = case.model.graph.node[0], case.data_sets
    present = [i for i, input_name in enumerate(node.input) if input_name]
    arrays = dict(zip(present, map(np.asarray, given), strict=True))
    data = len(arrays) if node.op_type in JOINS else 1
    arrays = {i: a.astype(np.float32) if a.dtype.kind in "iu" and i < data else a for i, a in arrays.items()}
    (version,) = [o.version for o in case.model.opset_import if o.domain == node.domain]
    return node, arrays, np.asarray(expected[0]), min(version, NEWEST_OPSET)


def run_case(node, arrays, opset):
    """Run a node whose first input is the network's, of as many examples as axis 0 is long."""
    x = arrays[0]
    constants = {node.input[i]: array for i, array in arrays.items() if i}
    fixed = node.op_type in ("Reshape", "Expand", "Concat")  # the size of axis 0 is part of the shape or the constants
    shape = [*x.shape] if fixed else ["N", *x.shape[1:]]
    model = model_of([node], {node.input[0]: shape}, node.output[:1], constants, opset)
    return run(model, x)


def stacked(node, arrays, expected):
    """Return a case with two equal examples, an axis in front of all others."""
    node = onnx.NodeProto.FromString(node.SerializeToString())
    arrays, rank = dict(arrays), arrays[0].ndim
    given = {attribute.name: attribute for attribute in node.attribute}
    operator = node.op_type
    if "axis" in given:
        given["axis"].i += given["axis"].i >= 0
    elif operator in ("Split", "Gather"):
        node.attribute.append(helper.make_attribute("axis", 1))
    if "axes" in given:
        given["axes"].ints[:] = [a + (a >= 0) for a in given["axes"].ints]
    if operator == "Transpose":
        perm = given["perm"].ints if "perm" in given else range(rank)[::-1]
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("perm", [0, *(p + 1 for p in perm)]))
    at = {"Slice": 3, "Pad": 3, "Squeeze": 1, "Unsqueeze": 1}.get(operator, 1 if operator.startswith("Reduce") else 0)
    if at in arrays and at > 0:
        arrays[at] = arrays[at] + (arrays[at] >= 0)
    elif operator in ("Slice", "Pad") or (at and "axes" not in given and "noop_with_empty_axes" not in given):
        node.input.extend([""] * (at - len(node.input)) + ["axes"])
        arrays[at] = np.arange(len(arrays[1]) if operator == "Slice" else rank) + 1
    if operator in ("Reshape", "Expand"):
        lead = [2] + [1] * (rank - len(arrays[1])) * (operator == "Expand")
        arrays[1] = np.array([*lead, *arrays[1]])
    for i in arrays if operator == "Concat" else [0]:
        arrays[i] = np.stack([arrays[i]] * 2)
    return node, arrays, np.stack([expected] * 2)


def run_joined(node, arrays, opset):
    """Run a node all of whose inputs are computed: they are parts of a row of features."""
    sizes = [array.size for array in arrays.values()]
    rank = max(array.ndim for array in arrays.values())
    nodes = [helper.make_node("Split", ["row", "sizes"], [f"part{i}" for i in arrays], axis=1)]
    constants = {"sizes": np.array(sizes)}
    for i, array in arrays.items():
        lead = 0 if node.op_type == "MatMul" else rank - array.ndim
        constants[f"shape{i}"] = np.array([-1, *[1] * lead, *array.shape])
        nodes.append(helper.make_node("Reshape", [f"part{i}", f"shape{i}"], [f"in{i}"]))
    joined = helper.make_node(node.op_type, [f"in{i}" for i in arrays], ["y"])
    joined.attribute.extend(node.attribute)
    for attribute in joined.attribute:
        attribute.i += attribute.name == "axis" and attribute.i >= 0
    row = np.concatenate([array.ravel() for array in arrays.values()])[None].astype(np.float32)
    x = np.concatenate([row, row[:, ::-1]])  # another second example
    return run(model_of([*nodes, joined], {"row": x}, ["y"], constants, max(opset, 13)), x)[:1]


def attempts(name):
    """Yield the errors of a case as it is and stacked, until one of them is None."""
    node, arrays, expected, opset = parsed(name)
    for change in (lambda *case: case, stacked):
        try:
            changed, given, y = change(node, arrays, expected)
            assert_agrees(run_case(changed, given, opset), y.astype(np.float32))
            yield None
            return
        except (ValueError, TypeError, AssertionError) as error:
            yield error


@cache
def problem(name):
    """Run a case; return what is wrong, or None."""
    errors = list(attempts(name))
    return None if errors[-1] is None else f"{name}: " + " | ".join(f"{type(e).__name__}: {e}" for e in errors)


@cache
def joined_problem(name):
    node, arrays, expected, opset = parsed(name)
    try:
        assert_agrees(run_joined(node, arrays, opset), expected[None].astype(np.float32))
    except (ValueError, TypeError, AssertionError) as error:
        return f"{name} joined: {type(error).__name__}: {error}"
    return None


def cases_of(operator):
    return [name for name, case in suite().items() if case.model.graph.node[0].op_type == operator]


@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - {"Cast"}))
def test_operator(operator):
    left_out = {*names_of(REFUSED), *names_of(LISTED)}
    problems = [p for p in map(problem, set(cases_of(operator)) - left_out) if p]
    assert not problems, "\n\n".join(problems)


@pytest.mark.parametrize("operator", JOINS)
def test_operator_of_computed_inputs(operator):
    left_out = {*names_of(LISTED), *NOT_JOINED}
    cases = set(cases_of(operator)) - left_out
    problems = [p for p in map(joined_problem, cases) if p]
    assert cases and not problems, "\n\n".join(problems)


def test_what_is_refused_is_named():
    wrong = []
    for pattern, names in REFUSED.items():
        for name in names.split():
            messages = [str(error) for error in attempts(name)]
            if not any(re.search(pattern, message) and message.startswith("from_onnx: ") for message in messages):
                wrong.append((name, messages))
    assert not wrong


def test_what_is_listed_differs():
    assert set(names_of(LISTED)) <= set(suite())
    assert [name for name in names_of(LISTED) if problem(name) is None] == []
    assert [name for name in NOT_JOINED if joined_problem(name) is None] == []


def test_enough_cases_run(closing_lines):
    passed = [name for name in suite() if problem(name) is None]
    closing_lines.append(
        f"ONNX node suite through from_onnx: {len(passed)} of {len(suite())} cases agree, {len(names_of(REFUSED))} are "
        f"refused, {len(names_of(LISTED))} listed with reasons"
    )
    assert len(passed) + len(names_of(REFUSED)) + len(names_of(LISTED)) == len(suite())
    assert len(passed) >= FLOOR
