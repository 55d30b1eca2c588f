"""scripts/efficiency.py: what the model of a step's exchanges says, and that it counts what ranks really send."""

import re
import sys
from pathlib import Path

import pytest
import typer

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import efficiency

from funcnn import models, predictor, serial
from funcnn.layers import batch_norm, conv2d, dense, global_avg_pool

FAST, SLOW = efficiency.Network(1e-9, 1e15), efficiency.Network(1e-3, 1e6)
SMALL = serial(conv2d(2, 3, bias=False), batch_norm(), global_avg_pool(), dense(3))


def test_the_traffic_of_a_step():
    seconds, sent = efficiency.measure_step(SMALL, (5, 5, 1), 4, seconds=0)
    assert seconds > 0
    assert sent.gradients == 4 * (18 + 2 + 2 + 6 + 3)
    # outputs, value and checksum, and of the batch norm: count, mean and variance; two sums
    assert sent.gathered == [4 * 4 * 3, 4 + 16, 8 + 2 * 4 * 2, 2 * 4 * 2]


def test_two_ranks_exchange_each_byte_once():
    sent, bandwidth = efficiency.Traffic(1000, []), 1e3
    assert efficiency.communication(sent, 2, efficiency.Network(0.0, bandwidth)) == pytest.approx(1.0)
    assert efficiency.communication(sent, 1000, efficiency.Network(0.0, bandwidth)) == pytest.approx(2.0, rel=1e-2)
    assert efficiency.communication(efficiency.Traffic(0, [0]), 8, efficiency.Network(1.0, 1.0)) == 7 + 3 + 3


def test_efficiency_falls_with_ranks_and_rises_with_the_network():
    _, sent = efficiency.measure_step(models.mlp(3), (4,), 2, seconds=0)
    slow = [efficiency.efficiency(1e-2, sent, ranks, SLOW) for ranks in efficiency.RANKS]
    assert slow == sorted(slow, reverse=True) and slow[-1] < 0.1
    assert all(efficiency.efficiency(1e-2, sent, ranks, FAST) > 0.99 for ranks in efficiency.RANKS)


def test_the_table_has_a_row_for_each_number_of_ranks_and_a_column_for_each_network():
    lines = efficiency.table(SMALL, (5, 5, 1), 4, {"slow": SLOW, "fast": FAST}, seconds=0).splitlines()
    assert lines[0].endswith("0.00 MB of gradients, 4 gathered arrays")
    assert "slow: 1000.0 us, 0.0 GB/s" in lines
    rows = lines[lines.index("ranks  slow  fast") + 1 :]
    assert [int(row.split()[0]) for row in rows] == list(efficiency.RANKS)
    assert all(re.fullmatch(r" *\d+ +\d+% +\d+%", row) for row in rows)


def test_the_model_of_a_name_and_arguments_and_of_a_file(tmp_path, capsys):
    description = {"name": "mlp", "arguments": {"outputs": 3, "hidden": [5]}}
    params, state, _ = models.mlp(3, hidden=(5,)).init((0,), (4,))
    trained = predictor.from_description(predictor.describe(description, (4,), ["a", "b", "c"]), params, state)
    trained.save(tmp_path / "net.safetensors")
    named = efficiency.read_model("mlp", '{"outputs": 3, "hidden": [5]}', "4")
    for model, in_shape in (named, efficiency.read_model(str(tmp_path / "net.safetensors"), "", "")):
        assert (str(model), in_shape) == (str(models.mlp(3, hidden=(5,))), (4,))
    efficiency.main(str(tmp_path / "net.safetensors"), batch_size=2, latency=7.0, bandwidth=3.0, seconds=0)
    assert "given: 7.0 us, 3.0 GB/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "mlpx"}, "funcnn.models has no 'mlpx'"),
        ({"model": "missing.safetensors"}, "cannot read missing.safetensors"),
        ({"arguments": "{"}, "Expecting property name"),
        ({"in_shape": "8,8,x"}, "invalid literal"),
        ({"in_shape": "8,8"}, "in layer"),
        ({"latency": 3.0}, "must be given together"),
    ],
)
def test_what_does_not_fit_is_one_message(changes, message):
    with pytest.raises(typer.BadParameter) as error:
        efficiency.main(**({"model": "convnet", "seconds": 0} | changes))
    assert message in "\n".join([str(error.value), *getattr(error.value.__context__, "__notes__", [])])
