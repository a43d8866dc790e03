"""Which filters there are, what parameters they take, and chains of them."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from labkit.errors import Refused, UnknownFilter
from labkit.filters.image import Image, as_image
from labkit.filters.parameters import Parameters, Rule, shown
from labkit.i18n import _

MAX_STEPS = 32
CACHED_PIPELINES = 256

Kernel = TypeVar("Kernel", bound=Callable[..., Image])


@dataclass(frozen=True, slots=True)
class _Filter:
    apply: Callable[..., Image]  # trusts what it is given
    parameters: Parameters


_FILTERS: dict[str, _Filter] = {}


def image_filter(*, rule: Rule | None = None) -> Callable[[Kernel], Kernel]:
    """Put a function in the catalogue, under its own name.

    Each keyword parameter needs a range and a default, as in
    ``intensity: Annotated[float, msgspec.Meta(ge=0, le=10)] = 1.0``. What is returned checks the
    image and the parameters of a direct call.

    Args:
        rule: looks at all parameters together and raises InvalidParameter.
    """

    def register(function: Kernel) -> Kernel:
        parameters = Parameters.of(function, rule)
        _FILTERS[function.__name__] = _Filter(function, parameters)
        _compile_text.cache_clear()  # a notebook cell may define a filter again

        @functools.wraps(function)
        def checked(image: Image, **given: Any) -> Image:
            return function(as_image(image), **parameters.check(given))

        return cast(Kernel, checked)

    return register


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A chain of filters whose parameters are known to be valid; call it with an image.

    It can be pickled, so a pool of processes can map it. Make one with :func:`validate`.
    """

    steps: tuple[tuple[str, dict[str, Any]], ...]

    def __call__(self, image: Image) -> Image:
        """Apply the filters in order.

        Raises:
            ImageRefused: not a uint8 array of shape (h, w), (h, w, 3) or (h, w, 4), or empty.
            InvalidParameter: a parameter cannot be used on an image of this size.
        """
        image = as_image(image)
        for name, params in self.steps:
            image = _FILTERS[name].apply(image, **params)
        return image


def names() -> list[str]:
    """The names of all filters."""
    return list(_FILTERS)


def validate(
    filters: list[str] | tuple[str, ...], filter_params: dict[str, dict[str, Any]] | None = None
) -> Pipeline:
    """Check a chain of filters once, to apply it many times.

    A filter may come more than once; it has the same parameters each time. The Pipeline of a chain
    seen lately is kept, so asking again for each task costs microseconds.

    Raises:
        UnknownFilter: a name in filters or filter_params is not in the catalogue.
        InvalidParameter: a parameter is unknown, of another type or out of range.
        Refused: no filters, too many, or filter_params names one that filters does not.
    """
    params = {} if filter_params is None else filter_params
    try:
        # Text, because as keys of a dict 1, 1.0 and True would be the same.
        text = json.dumps([filters, params])
    except (TypeError, ValueError, RecursionError):  # not JSON: let the checks say where
        return _compile(filters, params)
    return _compile_text(text)


@functools.lru_cache(CACHED_PIPELINES)
def _compile_text(text: str) -> Pipeline:
    return _compile(*json.loads(text))


def _compile(filters: object, filter_params: object) -> Pipeline:
    if not isinstance(filters, list | tuple) or not 1 <= len(filters) <= MAX_STEPS:
        raise Refused(
            _("filters is {value!r}.").format(value=shown(filters)),
            _("It must be a list of 1 to {most} names.").format(most=MAX_STEPS),
            _("The filters are {known}.").format(known=", ".join(_FILTERS)),
        )
    if not isinstance(filter_params, dict):
        raise _not_an_object("filter_params", filter_params)
    for name in (*filters, *filter_params):
        if not isinstance(name, str) or name not in _FILTERS:
            raise UnknownFilter(shown(name), names())
    for name, params in filter_params.items():
        if name not in filters:
            raise Refused(
                _("filter_params has {name}, but filters does not.").format(name=name),
                _("The filters asked for are {filters}.").format(filters=", ".join(filters)),
                _("Add {name} to filters, or take its parameters out.").format(name=name),
            )
        if not isinstance(params, dict):
            raise _not_an_object(f"filter_params.{name}", params)
    return Pipeline(
        tuple(
            (name, _FILTERS[name].parameters.check(filter_params.get(name, {}))) for name in filters
        )
    )


def _not_an_object(where: str, value: object) -> Refused:
    return Refused(
        _("{where} is {value!r}.").format(where=where, value=shown(value)),
        _("It must be an object with names and values."),
        _('For example: {"sharpen": {"intensity": 3}}.'),
    )
