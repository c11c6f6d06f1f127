"""Describe what a CuPy offers, as JSON: names with their kinds, parameters, values, and ancestors of exceptions.

``python -I surface.py FOLDER`` imports `cupy` and `cupyx` from a folder and describes every public name of them.
``python -I surface.py`` reads such names as a JSON list and describes what the installed CuPy has under them; null
where it has nothing. Both tell what some wrong calls raise. Neither needs a device.
"""

import ast
import inspect
import json
import re
import sys
from importlib import import_module
from types import ModuleType

ROOTS = ("cupy", "cupyx", "cupyx.scipy", "cupyx.scipy.sparse", "cupyx.scipy.ndimage")
#: Calls that CuPy refuses before it needs a device.
WRONG = (
    "cupy.exp(1.0, where=True)", "cupy.add(1.0, 2.0, order='C')", "cupy.RawModule()", "cupy.RawModule(code=1)",
    "cupy.RawModule(code='', options=['-O3'])", "cupy.RawModule(code='', backend='gcc')", "cupy.concat",
    "cupy.ndarray.__array_namespace__", "cupy.stack([1.0, 2.0])", "cupy.cuda.Stream(2, 3, 4, 5, 6)",
    "cupyx.scipy.sparse.coo_matrix('abc')", "cupyx.scipy.sparse.spmatrix(3)", "cupyx.scipy.sparse.bsr_matrix",
    "cupyx.scipy.nothing",
)  # fmt: skip
#: Special names that tell how a class is written, not what it offers; without ``__imatmul__`` Python takes another.
WRITTEN = {
    "__annotations__", "__class__", "__class_getitem__", "__delattr__", "__dict__", "__dir__", "__doc__", "__eq__",
    "__firstlineno__", "__format__", "__getattr__", "__getattribute__", "__getstate__", "__hash__", "__init__",
    "__init_subclass__", "__module__", "__ne__", "__new__", "__qualname__", "__reduce__", "__reduce_ex__", "__repr__",
    "__setattr__", "__signature__", "__sizeof__", "__slots__", "__static_attributes__", "__str__", "__subclasshook__",
    "__weakref__", "__del__", "__match_args__", "__dataclass_fields__", "__dataclass_params__", "__replace__",
    "__annotate_func__", "__annotations_cache__", "__imatmul__",
}  # fmt: skip


def names():
    """Every public name below `ROOTS` and the members of their classes, in order."""
    found, modules = [], [import_module(root) for root in ROOTS]
    seen = set(modules)
    for module in modules:  # which grows
        for name in sorted(vars(module)):
            value = vars(module)[name]
            if name.startswith("_") or foreign(value):
                continue
            path = f"{module.__name__}.{name}"
            if isinstance(value, ModuleType):
                if value not in seen:
                    seen.add(value)
                    modules.append(value)
                continue
            found.append(path)
            if inspect.isclass(value) and value.__module__.split(".")[0] in ("cupy", "cupyx"):
                found += [f"{path}.{member}" for member in members(value)]
    return found


def foreign(value):
    """Whether a value came into a module by an import from elsewhere, and is no part of its surface."""
    if isinstance(value, ModuleType):
        return value.__name__.split(".")[0] not in ("cupy", "cupyx")
    home = getattr(value, "__module__", None) or ""
    return home.split(".")[0] in sys.stdlib_module_names or type(value).__module__ in ("__future__", "typing")


def members(kind):
    """Public members and special methods of a class, without those of ``object``."""
    exception = issubclass(kind, BaseException)
    mine = {name for base in kind.__mro__ if base.__module__ != "builtins" for name in vars(base)}
    special = {name for name in mine if re.fullmatch(r"__\w+__", name)} - WRITTEN
    return sorted({name for name in mine if not name.startswith("_")} | (set() if exception else special))


def found(path):
    """The object of a dotted name and, for a member, its class; None where there is none."""
    parts = path.split(".")
    owner, value = None, import_module(parts[0])
    for k, part in enumerate(parts[1:], 1):
        owner = value if inspect.isclass(value) else None
        try:
            value = inspect.getattr_static(value, part) if owner else getattr(value, part)
        except AttributeError:
            try:
                value = import_module(".".join(parts[: k + 1]))
            except ImportError:
                return None
    return owner, value


def described(path):
    """One name: its kind, its parameters where they are known, its value where that is a constant."""
    at = found(path)
    if at is None:
        return None
    owner, value = at
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, ModuleType):
        return {"kind": "module"}
    if inspect.isclass(value):
        ancestors = [base.__name__ for base in value.__mro__]
        kind = "exception" if issubclass(value, BaseException) else "class"
        result = {"kind": kind, "parameters": parameters(value, True)}
        return result | ({"ancestors": ancestors} if kind == "exception" else {})
    if owner is None and type(value).__name__ == "ufunc":
        return {"kind": "ufunc", "value": f"{value.nin} in, {value.nout} out"}
    if callable(value):
        return {"kind": "callable", "parameters": parameters(value, owner is not None)}
    if owner is None and isinstance(value, (bool, int, float, str, type(None))):
        return {"kind": "value", "value": repr(value)}
    return {"kind": "attribute" if owner else "value"}


def parameters(value, bound):
    """[name, kind, default] of every parameter but ``self``; None where nothing tells.

    Compiled functions tell theirs in the first line of their docstring, with the types of C.
    """
    if inspect.isclass(value):
        value = constructor(value)
    try:
        known = list(inspect.signature(value).parameters.values())
        result = [[p.name, p.kind.name, None if p.default is p.empty else literal(p.default)] for p in known]
        if not inspect.isclass(value) and [p[1] for p in result[1:]] == ["VAR_POSITIONAL", "VAR_KEYWORD"]:
            return None  # a slot of a compiled class
    except (ValueError, TypeError):
        result = of_docstring(value)
    return result[1:] if result and bound and result[0][0] in ("self", "cls") else result


def constructor(kind):
    """The first ``__init__`` of a class and its bases that names its parameters; the class if none does."""
    for base in kind.__mro__:
        made = vars(base).get("__init__")
        if inspect.isfunction(made):
            kinds = {p.kind.name for p in inspect.signature(made).parameters.values()}
            if not {"VAR_POSITIONAL", "VAR_KEYWORD"} <= kinds:
                return made
    return kind


def of_docstring(value):
    lines = (getattr(value, "__doc__", None) or "").strip().splitlines()
    match = re.match(r"[\w.]+\((.*)\)(\s*->.*)?$", lines[0]) if lines else None
    if not match:
        return None
    result, kind = [], "POSITIONAL_OR_KEYWORD"
    for text in split(match[1]):
        text = text.replace("\\", "")
        if text == "/":
            result = [[name, "POSITIONAL_ONLY", default] for name, _, default in result]
        elif text == "*":
            kind = "KEYWORD_ONLY"
        elif text.startswith("**"):
            result.append([text[2:], "VAR_KEYWORD", None])
        elif text.startswith("*"):
            result.append([text[1:], "VAR_POSITIONAL", None])
            kind = "KEYWORD_ONLY"
        else:
            declared, equals, default = text.partition("=")
            name = re.findall(r"\w+", declared.partition(":")[0])[-1]
            result.append([name, kind, text_literal(default) if equals else None])
    return result


def split(text):
    """The parts between the commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def literal(value):
    """How a default is written where it is a plain value, else "?"."""
    plain = isinstance(value, (bool, int, float, str, type(None), tuple))
    return repr(value) if plain else getattr(value, "__name__", "?")


def text_literal(text):
    try:
        return repr(ast.literal_eval(text.strip()))
    except (ValueError, SyntaxError):
        return "?"


def refused(call):
    """What a call raises; None where it raises nothing, or only for want of a device."""
    try:
        eval(call, {"cupy": import_module("cupy"), "cupyx": import_module("cupyx")})
    except Exception as error:
        return None if "CUDA driver" in str(error) else type(error).__name__
    return None


def main():
    if len(sys.argv) > 1:
        sys.path.insert(0, sys.argv[1])
        wanted = names()
    else:
        wanted = json.load(sys.stdin)
        for root in ROOTS:
            import_module(root)
    surface = {path: described(path) for path in wanted}
    errors = {call: refused(call) for call in WRONG}
    json.dump({"file": import_module("cupy").__file__, "names": surface, "errors": errors}, sys.stdout)


if __name__ == "__main__":
    main()
