"""The model of a filter's parameters, derived from its signature, and errors that say the range."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from labkit.errors import InvalidParameter
from labkit.i18n import _

Rule = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a filter accepts: numbers within their ranges, nothing converted from text or bool."""

    filter_name: str
    model: type[msgspec.Struct]
    rule: Rule | None  # what the range of each parameter alone cannot say

    @classmethod
    def of(cls, function: Callable[..., Any], rule: Rule | None = None) -> "Parameters":
        """Derive the model from the keyword parameters of a function.

        Raises:
            TypeError: a parameter has no range or no default. A programmer's error.
        """
        name = function.__name__
        hints = get_type_hints(function, include_extras=True)
        fields = []
        for each in list(inspect.signature(function).parameters.values())[1:]:
            low, high, _whole, _optional = _range(hints.get(each.name, Any))
            # Both ends, because they also keep NaN and infinity out.
            if low is None or high is None or each.default is each.empty:
                raise TypeError(f"{name}: {each.name} needs a type with ge and le, and a default")
            fields.append((each.name, hints[each.name], each.default))
        model = msgspec.defstruct(name, fields, forbid_unknown_fields=True, kw_only=True)
        return cls(name, model, rule)

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter with its value, defaults filled in.

        Raises:
            InvalidParameter: unknown, of another type, or out of range.
        """
        try:
            values = msgspec.structs.asdict(msgspec.convert(given, self.model))
        except msgspec.ValidationError:
            raise self._explain(given) from None
        if self.rule:
            self.rule(values)
        return values

    def _explain(self, given: Mapping[str, Any]) -> InvalidParameter:
        types = {field.name: field.type for field in msgspec.structs.fields(self.model)}
        for name, value in given.items():
            if name not in types:
                known = ", ".join(types) or _("(it takes no parameters)")
                expected = _("named as one of: {known}").format(known=known)
                return InvalidParameter(self.filter_name, str(shown(name)), shown(value), expected)
            try:
                msgspec.convert(value, types[name])
            except msgspec.ValidationError:
                return InvalidParameter(
                    self.filter_name, name, shown(value), _expected(types[name])
                )
        raise AssertionError("each parameter is valid alone, but not together")


def _range(kind: object) -> tuple[float | None, float | None, bool, bool]:
    """Lowest, highest, whether it is a whole number, whether it may be None."""
    info = msgspec.inspect.type_info(kind)
    optional = isinstance(info, msgspec.inspect.UnionType)
    for each in info.types if isinstance(info, msgspec.inspect.UnionType) else (info,):
        if isinstance(each, msgspec.inspect.IntType | msgspec.inspect.FloatType):
            return each.ge, each.le, isinstance(each, msgspec.inspect.IntType), optional
    return None, None, False, optional


def _expected(kind: object) -> str:
    low, high, whole, optional = _range(kind)
    template = (
        _("a whole number from {low} to {high}") if whole else _("a number from {low} to {high}")
    )
    expected = template.format(low=low, high=high)
    return _("{expected}, or null").format(expected=expected) if optional else expected


def shown(value: object) -> object:
    """The value, or the start of its text if that is long: it goes into a message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of thousands of digits, a list in itself
        return f"<{type(value).__name__}>"
    return value if len(text) <= 80 else f"{text[:77]}..."
