"""The command's console: encodings of every kind."""

import commands
import numpy as np


def test_every_command_on_a_narrow_terminal_in_small_encodings(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(np.array(["cat [old]", "b [/x]", "ß ≠ a class with a long name"]), 40)
    np.savez(tmp_path / "rows.npz", x=rng.standard_normal((120, 3)) + (y == "b [/x]")[:, None], y=y)
    for encoding in ("ascii", "cp1252"):
        environment = {"PYTHONIOENCODING": encoding, "LANG": "C", "NO_COLOR": "1"}
        options = ("--data", "rows.npz", "--model", "mlp", "--epochs", 2, "--output", "net.safetensors")
        names = [name.encode(encoding, "backslashreplace").decode(encoding) for name in np.unique(y)]
        for command in (
            ("train", *options),
            ("evaluate", "net.safetensors", "rows.npz"),
            ("export", "net.safetensors", "net.onnx"),
            ("predict", "net.safetensors", "rows.npz"),
        ):
            output, code = commands.on_a_terminal(*command, columns=50, cwd=tmp_path, encoding=encoding, **environment)
            assert code == 0 and "Traceback" not in output, output
            assert command[0] == "export" or all(name in output for name in names)
