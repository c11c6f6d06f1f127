"""Constructor arguments by name, by the conventions of scikit-learn, without importing it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from inspect import signature
from typing import Any, Self

__all__ = ["Estimator"]


class Estimator:
    """An object that stores the arguments of its constructor untouched, under their own names.

    Arguments that are frozen dataclasses have nested parameters, ``solver__tol`` for the field `tol` of `solver`.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor by name, those of nested options included where `deep`."""
        own = {name: getattr(self, name) for name in signature(type(self)).parameters}
        return own | _nested(own) if deep else own

    def set_params(self, **parameters: Any) -> Self:
        """Set arguments of the constructor, or replace nested options; what was learned stays until the next fit.

        Raises
        ------
        ValueError
            If there is no such parameter, or a nested option refuses its value.
        """
        for name in sorted(parameters, key=lambda name: name.count("__")):  # whole options before parts of them
            outer, _, inner = name.partition("__")
            accepted = list(signature(type(self)).parameters)
            if outer not in accepted:
                raise _unknown(name, type(self), accepted)
            value = parameters[name]
            setattr(self, outer, _replaced(getattr(self, outer), inner, value) if inner else value)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_params(deep=False).items())})"


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of those values that are dataclasses, at any depth, as name__field."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if is_dataclass(value) and not isinstance(value, type):
            own = {f"{name}__{f.name}": getattr(value, f.name) for f in fields(value) if f.init}
            found |= own | _nested(own)
    return found


def _replaced(option: Any, name: str, value: Any) -> Any:
    """The dataclass `option` with another value of the field `name`, or of a field of that field."""
    outer, _, inner = name.partition("__")
    accepted = [f.name for f in fields(option) if f.init] if is_dataclass(option) else []
    if outer not in accepted:
        raise _unknown(name, type(option), accepted)
    return replace(option, **{outer: _replaced(getattr(option, outer), inner, value) if inner else value})


def _unknown(name: str, kind: type, accepted: list[str]) -> ValueError:
    return ValueError(f"{name!r} is no parameter of {kind.__name__}; accepted are {', '.join(accepted) or 'none'}.")
