"""The command that shows what a model is made of, which is written in `inspection`.

Its name is that of a module of Python's own, and Python looks for modules in this folder first. So whoever imports
`inspect` from here (`dataclasses` does, and so does NumPy) is given the one that was meant.
"""

import sys

if __name__ == "__main__":
    import terminal
    from inspection import app

    terminal.run(app)
else:
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec
    from pathlib import Path

    _elsewhere = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]
    _spec = PathFinder.find_spec(__name__, _elsewhere)
    if _spec is None or _spec.loader is None:
        raise ImportError("Python's own module inspect is not to be found")
    sys.modules[__name__] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[__name__])
