"""The closed catalogue: what is accepted, what is refused, and in which words."""

import pickle
from typing import Annotated

import msgspec
import numpy as np
import pytest

from labkit.errors import InvalidParameter, Refused, UnknownFilter
from labkit.filters import Image, blur, catalog, edges, image_filter, names, sharpen, validate

BODY = {
    "filters": ["sharpen", "edges"],
    "filter_params": {
        "sharpen": {"intensity": 3},
        "edges": {"threshold1": 50, "threshold2": 150},
    },
}


@pytest.fixture
def image():
    return np.random.default_rng(7).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture
def restored(monkeypatch):
    monkeypatch.setattr(catalog, "_FILTERS", dict(catalog._FILTERS))


def test_the_catalogue_is_closed():
    assert names() == ["resize", "blur", "sharpen", "edges"]


def test_a_chain_applies_its_filters_in_order(image):
    by_hand = edges(sharpen(image, intensity=3), threshold1=50, threshold2=150)
    assert np.array_equal(validate(**BODY)(image), by_hand)
    swapped = validate(["edges", "sharpen"], BODY["filter_params"])
    assert not np.array_equal(swapped(image), by_hand)


def test_a_filter_may_come_twice_with_the_same_parameters(image):
    twice = validate(["blur", "blur"], {"blur": {"sigma_px": 1}})
    assert np.array_equal(twice(image), blur(blur(image, sigma_px=1), sigma_px=1))


@pytest.mark.parametrize("name", ["resize", "blur", "sharpen", "edges"])
def test_every_filter_works_without_parameters_and_takes_the_result_of_any_other(name, image):
    for other in names():
        assert validate([other, name])(image).dtype == np.uint8


def test_a_pipeline_travels_to_another_process(image):
    pipeline = validate(**BODY)
    again = pickle.loads(pickle.dumps(pipeline))
    assert again == pipeline
    assert np.array_equal(again(image), pipeline(image))


def test_a_chain_is_validated_once():
    first = validate(**BODY)
    assert validate(list(BODY["filters"]), dict(BODY["filter_params"])) is first
    assert validate(tuple(BODY["filters"]), BODY["filter_params"]) is first
    for step in range(2 * catalog.CACHED_PIPELINES):
        validate(["sharpen"], {"sharpen": {"intensity": step / 1000}})
    assert catalog._compile_text.cache_info().currsize <= catalog.CACHED_PIPELINES


def test_true_is_not_one_even_after_one_was_seen():
    validate(["sharpen"], {"sharpen": {"intensity": 1}})
    with pytest.raises(InvalidParameter, match="intensity is True"):
        validate(["sharpen"], {"sharpen": {"intensity": True}})


NUMBER = "a number from 0 to 10"


@pytest.mark.parametrize(
    "value",
    [-0.001, 10.001, -1, 11, True, False, "3", None, [3], {}, float("nan"), float("inf"),
     float("-inf"), 2**70, 10**5000, np.float32(3), b"3", object()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_parameter_is_a_number_in_its_range(value):
    with pytest.raises(InvalidParameter) as caught:
        validate(["sharpen"], {"sharpen": {"intensity": value}})
    assert caught.value.filter_name == "sharpen"
    assert caught.value.parameter == "intensity"
    assert NUMBER in str(caught.value)
    if not isinstance(value, int) or value < 100:
        assert f"sharpen: intensity is {value!r}." in str(caught.value)


@pytest.mark.parametrize("value", [0, 10, 3, 2.5, 0.0])
def test_whole_numbers_pass_for_floats_and_ends_belong_to_the_range(value):
    ((_name, params),) = validate(["sharpen"], {"sharpen": {"intensity": value}}).steps
    assert params == {"intensity": float(value)}


@pytest.mark.parametrize(
    ("name", "parameter", "value", "expected"),
    [
        ("resize", "width_px", 0, "a whole number from 1 to 20000, or null"),
        ("resize", "width_px", 2.5, "a whole number from 1 to 20000, or null"),
        ("resize", "height_px", "9", "a whole number from 1 to 20000, or null"),
        ("resize", "scale", 0, "a number from 0.01 to 10, or null"),
        ("resize", "scale", float("nan"), "a number from 0.01 to 10, or null"),
        ("blur", "sigma_px", 20.5, "a number from 0 to 20"),
        ("edges", "threshold1", -1, "a number from 0 to 1530"),
        ("edges", "threshold2", 1531, "a number from 0 to 1530"),
        ("sharpen", "intensty", 3, "named as one of: intensity"),
    ],
)
def test_an_error_names_filter_parameter_value_and_what_is_expected(
    name, parameter, value, expected
):
    with pytest.raises(InvalidParameter) as caught:
        validate([name], {name: {parameter: value}})
    assert f"{name}: {parameter} is {value!r}." in str(caught.value)
    assert f"It must be {expected}." in str(caught.value)


def test_the_parameter_at_fault_is_named_among_good_ones():
    with pytest.raises(InvalidParameter, match="edges: threshold2 is 'x'"):
        validate(["edges"], {"edges": {"threshold1": 1, "threshold2": "x"}})


def test_a_long_value_does_not_fill_the_message():
    for params in ({"intensity": "9" * 10**6}, {"9" * 10**6: 1}):
        with pytest.raises(InvalidParameter) as caught:
            validate(["sharpen"], {"sharpen": params})
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["sharp", "", "Sharpen", "__class__", 3, None, ["sharpen"]])
def test_an_unknown_filter_is_named_with_those_that_exist(name):
    with pytest.raises(UnknownFilter) as caught:
        validate(["blur", name])
    assert repr(name) in str(caught.value)
    assert "resize, blur, sharpen, edges" in str(caught.value)


def test_an_unknown_filter_in_the_parameters_is_named_too():
    with pytest.raises(UnknownFilter, match="'sharpn'"):
        validate(["sharpen"], {"sharpn": {"intensity": 3}})


def test_parameters_of_a_filter_that_was_not_asked_for_are_refused():
    with pytest.raises(Refused, match="filter_params has blur, but filters does not"):
        validate(["sharpen"], {"blur": {}})


@pytest.mark.parametrize("filters", [[], (), "sharpen", None, {"sharpen": 1}, 3, ["blur"] * 33])
def test_filters_must_be_a_list_that_is_not_empty(filters):
    with pytest.raises(Refused, match="list of 1 to 32 names"):
        validate(filters)


@pytest.mark.parametrize("params", [[], "", 0, 3, [1]])
def test_filter_params_must_be_an_object(params):
    with pytest.raises(Refused, match="must be an object"):
        validate(["sharpen"], params)
    with pytest.raises(Refused, match=r"filter_params.sharpen is"):
        validate(["sharpen"], {"sharpen": params})


@pytest.mark.usefixtures("restored")
def test_adding_a_filter_is_one_decorated_function(image):
    @image_filter()
    def dim(image: Image, *, stops: Annotated[int, msgspec.Meta(ge=0, le=7)] = 1) -> Image:
        return image >> stops

    assert "dim" in names()
    assert np.array_equal(validate(["dim"], {"dim": {"stops": 2}})(image), image // 4)
    with pytest.raises(InvalidParameter, match="a whole number from 0 to 7"):
        validate(["dim"], {"dim": {"stops": 8}})


@pytest.mark.usefixtures("restored")
def test_a_filter_defined_again_replaces_the_old_one(image):
    for by in (1, 2):

        @image_filter()
        def dim(image: Image, *, stops: Annotated[int, msgspec.Meta(ge=0, le=7)] = by) -> Image:
            return image >> stops

        assert np.array_equal(validate(["dim"])(image), image >> by)


@pytest.mark.usefixtures("restored")
def test_a_parameter_without_range_or_default_cannot_be_declared():
    def no_range(image: Image, *, amount: float = 1.0) -> Image: ...

    def no_default(
        image: Image, *, amount: Annotated[float, msgspec.Meta(ge=0, le=1)]
    ) -> Image: ...

    for function in (no_range, no_default):
        with pytest.raises(TypeError, match="amount needs"):
            image_filter()(function)
