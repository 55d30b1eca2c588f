"""The package as a whole: what its import brings along, and how fast."""

import subprocess
import sys

PROBE = """
import sys
import funcnn
roots = {name.partition('.')[0] for name in sys.modules}
print(sorted(r for r in roots - set(sys.stdlib_module_names) if not r.startswith('_')))
"""


def test_import_brings_numpy_and_no_other_third_party_module():
    # -I -S would hide an editable installation, so only what the interpreter itself loads is subtracted
    bare = subprocess.run(
        [sys.executable, "-c", PROBE.replace("import funcnn", "")], capture_output=True, text=True, check=True
    )
    with_funcnn = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    before, after = (set(eval(run.stdout)) for run in (bare, with_funcnn))
    assert after - before == {"funcnn", "numpy"}
