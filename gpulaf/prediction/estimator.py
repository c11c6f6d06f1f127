"""The conventions of scikit-learn, without importing it: arguments by name, tags, what is not fitted."""

from __future__ import annotations

import sys
from dataclasses import fields, is_dataclass, replace
from inspect import signature
from typing import Any, Self

__all__ = ["Estimator", "NotFittedError", "not_fitted"]


class NotFittedError(ValueError, AttributeError):
    """A predictor is used before its fit; scikit-learn's error of this name is both of these, too."""


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

    def __sklearn_is_fitted__(self) -> bool:
        """Whether it has learned: what ``check_is_fitted`` of scikit-learn asks."""
        return hasattr(self, "classes_")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks its estimators: X are images and y their ground truth, of any sizes."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None, target_tags=TargetTags(required=True), no_validation=True,
            input_tags=InputTags(two_d_array=False, three_d_array=True),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_params(deep=False).items())})"


def not_fitted(text: str) -> NotFittedError:
    """A NotFittedError, which is one of scikit-learn's, too, where that is loaded."""
    theirs = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", None)
    kind = NotFittedError if theirs is None else type("NotFittedError", (NotFittedError, theirs), {})
    return kind(text)


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
