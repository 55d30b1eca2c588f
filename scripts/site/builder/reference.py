"""The pages of the reference: the modules, and their public names, as reStructuredText."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import Any

import funcnn
from builder import docstrings

# packages whose public names are those that they list; their modules are how they are arranged
LISTED = ("ops", "losses", "layers", "combinators", "optim", "data", "estimators", "onnx", "show")
COMMAND = "funcnn.cli"
COMPILED = "funcnn.kernels.compiled"  # twins of the kernels by the same names, which need the extra `fast`


def modules() -> dict[str, ModuleType]:
    """Return the public modules by name, the package itself first."""
    names = [funcnn.__name__]
    for found in pkgutil.walk_packages(funcnn.__path__, "funcnn."):
        inside_listed = any(found.name.startswith(f"funcnn.{package}.") for package in LISTED)
        if not inside_listed and not found.name.startswith((COMMAND, COMPILED, "funcnn.__main__")):
            names.append(found.name)
    return {name: importlib.import_module(name) for name in names}


def public_names(module: ModuleType) -> list[str]:
    """Return the public names of a module: those that it lists, or else those of its functions and classes."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return [name for name in listed if not inspect.ismodule(getattr(module, name))]
    return sorted(
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and callable(thing) and getattr(thing, "__module__", None) == module.__name__
    )


def pages() -> dict[str, str]:
    """Return the text of each page of the reference by its file's name."""
    found = modules()
    home: dict[Any, str] = {}
    # an object that several modules export is described by the first package that lists it, or where it is defined
    for name in sorted(found, key=lambda name: (name == "funcnn", not hasattr(found[name], "__path__"), name)):
        for public in public_names(found[name]):
            home.setdefault(_identity(found[name], public), name)
    texts = {f"reference/{name}.rst": _module_page(name, found, home) for name in found}
    texts["reference/index.rst"] = _index(found)
    return texts


def _identity(module: ModuleType, name: str) -> Any:
    thing = getattr(module, name)
    return id(thing) if callable(thing) else (module.__name__, name)


def _module_page(name: str, found: dict[str, ModuleType], home: dict[Any, str]) -> str:
    module = found[name]
    lines = [*_title(name), f".. automodule:: {name}", "   :no-members:", "", f".. currentmodule:: {name}", ""]
    names = public_names(module)
    if not names:
        lines += _links({inner: found[inner] for inner in found if inner.startswith(f"{name}.")})
    own = [public for public in names if home[_identity(module, public)] == name]
    for public in names:
        if public not in own:
            where = home[_identity(module, public)]
            lines += [f"- `{public} <{where}.{public}>`: from `{where}`"]
    if len(own) > 1:
        lines += ["", *(f"- `{public}`{_summary(getattr(module, public))}" for public in own)]
    for public in own:
        lines += ["", *_entry(getattr(module, public), public)]
    return "\n".join(lines) + "\n"


def _entry(thing: Any, name: str) -> list[str]:
    if inspect.isclass(thing):
        return [f".. autoclass:: {name}", "   :members:", "   :inherited-members: tuple, dict, object"]
    if inspect.isfunction(thing) or inspect.isbuiltin(thing):
        return [f".. autofunction:: {name}"]
    return [f".. py:data:: {name}", "", f"   ``{thing!r}``"]


def _summary(thing: Any) -> str:
    """Return the first line of an object's docstring, its names as code."""
    if not (callable(thing) or inspect.ismodule(thing)) or not thing.__doc__:
        return ""
    line = inspect.cleandoc(thing.__doc__).split("\n", 1)[0]
    return ": " + docstrings.escaped(re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line))


def _index(found: dict[str, ModuleType]) -> str:
    lines = [*_title("Reference"), "All public names, by module, from their docstrings.", ""]
    lines += _links(found)
    lines += ["- :doc:`The command <command>`: what ``funcnn --help`` prints, and the help of each sub-command."]
    lines += ["", ".. toctree::", "   :hidden:", "", *(f"   {name}" for name in found), "   command"]
    return "\n".join(lines) + "\n"


def _links(found: dict[str, ModuleType]) -> list[str]:
    return [f"- :doc:`{name} <{name}>`{_summary(module)}" for name, module in found.items()]


def _title(text: str) -> list[str]:
    return [text, "=" * len(text), ""]
