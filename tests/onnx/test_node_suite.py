"""ONNX's own test suite of its operators, as far as they are this field's: every case agrees to 1e-5.

ONNX defines its operators together with node tests: a model of one operator, its inputs, and the outputs that every
implementation must give. The suite's cases whose model is more than one node are the same once again, spelled out in
generic arithmetic; those are not run.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from node_cases import node_cases
from onnx_adapter import OPERATORS

from funcnn import ops

FLOOR = 469  # all that run of the 528 cases in onnx 1.23.2

# cases of operators that are run, but which are not run themselves, and why
LISTED = {
    "integers: funcnn computes in floats, which neither wrap around nor have no fraction": """
        test_add_int8 test_add_int16 test_add_uint8 test_add_uint16 test_add_uint32 test_add_uint64
        test_mul_int8 test_mul_int16 test_mul_uint8 test_mul_uint16 test_mul_uint32 test_mul_uint64
        test_clip_default_int8_min test_clip_default_int8_max test_clip_default_int8_inbounds
        test_clip_default_int8_inbounds_expanded
        test_sub_int8 test_sub_int16 test_sub_uint8 test_sub_uint16 test_sub_uint32 test_sub_uint64
        test_div_int8 test_div_int16 test_div_int32_trunc test_div_uint8 test_div_uint16 test_div_uint32 test_div_uint64
        test_pow_types_int64_float32 test_pow_types_int32_float32 test_pow_types_int64_int64
        test_pow_types_int32_int32 test_reduce_max_bool_inputs test_reduce_max_empty_set_bool""",
    "the maximum of nothing: ONNX has minus infinity, funcnn an error": "test_reduce_max_empty_set",
    "bfloat16: NumPy has none": "test_celu_bfloat16",
    "float16: ONNX rounds the result once, float16 arithmetic every step": """
        test_swiglu_float16 test_causal_conv_with_state_silu_fp16""",
    "sequences and optional values": "test_identity_sequence test_identity_opt",
    "the expected output has four decimals, see test_average_of_a_window_that_starts_in_the_padding": """
        test_averagepool_2d_ceil_last_window_starts_on_pad""",
    "random numbers of another generator, see test_dropout_scales_what_it_keeps_as_onnx_does": """
        test_training_dropout_default test_training_dropout_default_mask test_training_dropout
        test_training_dropout_mask""",
    "resizing by cubic interpolation, or with smoothing": """
        test_resize_upsample_scales_cubic test_resize_upsample_scales_cubic_align_corners
        test_resize_downsample_scales_cubic test_resize_downsample_scales_cubic_align_corners
        test_resize_upsample_sizes_cubic test_resize_downsample_sizes_cubic
        test_resize_upsample_scales_cubic_A_n0p5_exclude_outside
        test_resize_downsample_scales_cubic_A_n0p5_exclude_outside test_resize_upsample_scales_cubic_asymmetric
        test_resize_downsample_scales_linear_antialias test_resize_downsample_sizes_linear_antialias
        test_resize_downsample_scales_cubic_antialias test_resize_downsample_sizes_cubic_antialias""",
}

# operators none of whose cases are run, and what they are
OUTSIDE = {
    "arithmetic on single numbers": """
        Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Floor Mean Mod Round Shrink Sign Sin Sinh Tan
        ThresholdedRelu""",
    "logic, comparison and bits": """
        And BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Equal Greater GreaterOrEqual IsInf IsNaN Less
        LessOrEqual Not Or Where Xor""",
    "other reductions, sums along an axis, order": """
        ArgMax ArgMin CumProd CumSum Hardmax NonZero ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMin ReduceProd
        ReduceSumSquare TopK Unique""",
    "arrays made and indexed": """
        CenterCropPad Compress Constant ConstantOfShape EyeLike GatherElements GatherND OneHot Range ReverseSequence
        Scatter ScatterElements ScatterND Shape Size TensorScatter Tile Trilu""",
    "control flow, sequences and optional values": """
        If Loop OptionalGetElement OptionalHasElement Scan SequenceInsert SequenceMap SplitToSequence""",
    "types and quantisation": """
        Cast CastLike ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul
        QuantizeLinear""",
    "attention and recurrence": """
        Attention FlexAttention GRU LSTM LinearAttention RNN RotaryEmbedding""",
    "operators on images and windows that funcnn does not have": """
        AffineGrid Col2Im DeformConv GridSample ImageDecoder LpNormalization LpPool MaxUnpool NonMaxSuppression
        RoiAlign""",
    "linear algebra, signals and random numbers": """
        Bernoulli BlackmanWindow DFT Det Einsum HammingWindow HannWindow MelWeightMatrix STFT""",
    "text and classical models": """
        ArrayFeatureExtractor Binarizer LabelEncoder RegexFullMatch StringConcat StringNormalizer StringSplit
        TfIdfVectorizer TreeEnsemble""",
}


def names(table):
    return [name for entries in table.values() for name in entries.split()]


class Case(NamedTuple):
    operator: str
    attributes: dict[str, Any]
    inputs: list[Any]
    outputs: list[Any]


@cache
def suite():
    """Return the suite's cases by name, in our terms."""
    return {case.name: parsed(case) for case in node_cases()}


def parsed(case):
    node, data = case.model.graph.node[0], case.data_sets[0]
    (version,) = [opset.version for opset in case.model.opset_import if opset.domain == node.domain]
    schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    defaults = [a.default_value for a in schema.attributes.values() if a.default_value.name]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in (*defaults, *node.attribute)}
    attributes = {name: v.decode() if isinstance(v, bytes) else v for name, v in attributes.items()}
    given = iter(data[0])
    inputs = [frozen(next(given)) if name else None for name in node.input]
    return Case(node.op_type, attributes | {"outputs": len(node.output)}, inputs, list(data[1]))


def frozen(x):
    """Return a copy that nothing can write to; sequences stay what they are."""
    if isinstance(x, list):
        return x
    x = np.array(x)
    x.flags.writeable = False
    return x


@cache
def problem(name):
    """Run a case; return what is wrong, or None."""
    case = suite()[name]
    try:
        outputs = OPERATORS[case.operator](case.attributes, *case.inputs)
        outputs = outputs if isinstance(outputs, (tuple, list)) else [outputs]
        for actual, expected in zip(outputs, case.outputs, strict=False):
            np.testing.assert_allclose(actual, np.asarray(expected), rtol=1e-5, atol=1e-5, strict=True)
        assert len(outputs) >= len(case.outputs), f"{len(outputs)} outputs for {len(case.outputs)}"
    except Exception as error:
        return f"{name} {case.attributes}: {type(error).__name__}: {error}"
    return None


def adapted():
    """Return the names of all cases of the adapter's operators."""
    return [name for name, case in suite().items() if case.operator in OPERATORS]


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_operator(operator):
    cases = [name for name in adapted() if suite()[name].operator == operator and name not in names(LISTED)]
    assert cases, f"the suite has no case of {operator} that is not listed"
    problems = [p for p in map(problem, cases) if p]
    assert not problems, "\n\n".join(problems)


def test_every_operator_is_run_or_outside():
    assert sorted([*OPERATORS, *names(OUTSIDE)]) == sorted({case.operator for case in suite().values()})


def test_what_is_listed_exists_and_does_not_run():
    assert len(set(names(LISTED))) == len(names(LISTED))
    assert set(names(LISTED)) - set(adapted()) == set()
    assert [name for name in names(LISTED) if problem(name) is None] == []


def test_enough_cases_run(closing_lines):
    passed = [name for name in adapted() if name not in names(LISTED) and problem(name) is None]
    closing_lines.append(
        f"ONNX node suite: {len(passed)} of {len(adapted())} cases run and passed, "
        f"{len(names(LISTED))} listed with reasons"
    )
    assert len(passed) >= FLOOR


def test_average_of_a_window_that_starts_in_the_padding():
    case = suite()["test_averagepool_2d_ceil_last_window_starts_on_pad"]
    y = OPERATORS["AveragePool"](case.attributes, *case.inputs)
    np.testing.assert_allclose(y, case.outputs[0], rtol=0, atol=1e-4, strict=True)


def test_dropout_scales_what_it_keeps_as_onnx_does():
    for name in ("test_training_dropout_default", "test_training_dropout"):
        case = suite()[name]
        x, rate, _ = case.inputs
        y, _ = ops.dropout(x, rate=float(rate), key=(0,))
        assert np.unique((y / x).round(5)).tolist() == np.unique((case.outputs[0] / x).round(5)).tolist()
