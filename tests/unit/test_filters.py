"""Each filter against an oracle written here or in another library, never against OpenCV."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from labkit.errors import ImageRefused, InvalidParameter
from labkit.filters import blur, edges, names, resize, sharpen, validate

SEED = 20_240
SHAPES = {"gray": (31, 47), "bgr": (31, 47, 3), "bgra": (31, 47, 4)}


@pytest.fixture
def rng():
    print(f"seed {SEED}")
    return np.random.default_rng(SEED)


def noise(rng, shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def gaussian(image, sigma):
    """Two passes of a kernel cut at three sigmas, mirrored borders, in 64-bit floats."""
    radius = int(3 * sigma + 0.5)
    x = np.arange(-radius, radius + 1)
    kernel = np.exp(-(x**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    result = image.astype(float)
    for axis in (0, 1):
        width = [(radius, radius) if each == axis else (0, 0) for each in range(image.ndim)]
        padded = np.pad(result, width, mode="reflect")
        length = image.shape[axis]
        result = sum(
            weight * np.take(padded, range(at, at + length), axis=axis)
            for at, weight in enumerate(kernel)
        )
    return result


def colour(image):
    return image[..., :3] if image.ndim == 3 else image


def distance(result, expected):
    return np.abs(colour(result).astype(float) - colour(expected)).max()


def levels(result, expected):
    return distance(result, np.rint(expected))


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 4.0])
def test_blur_is_a_gaussian_up_to_the_border(rng, layout, sigma):
    image = noise(rng, SHAPES[layout])
    assert levels(blur(image, sigma_px=sigma), gaussian(image, sigma)) <= 1


def test_the_widest_blur_is_a_gaussian_within_two_levels(rng):
    image = noise(rng, (90, 130))
    assert levels(blur(image, sigma_px=20), gaussian(image, 20)) <= 2


def test_blur_agrees_with_scipy(rng):
    image = noise(rng, SHAPES["gray"])
    expected = ndimage.gaussian_filter(image.astype(float), 2.0, mode="mirror", truncate=3)
    assert levels(blur(image, sigma_px=2.0), expected) <= 1


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("intensity", [0.25, 1, 3, 10])
def test_sharpen_adds_back_what_the_blur_removes(rng, layout, intensity):
    image = noise(rng, SHAPES[layout])
    detail = image - gaussian(image, 1.0)
    expected = np.clip(image + intensity * detail, 0, 255)
    # The blur is rounded before it is weighted, so its error (0.8 of a level) is weighted as well.
    assert distance(sharpen(image, intensity=intensity), expected) <= 0.5 + 0.8 * intensity


def test_sharpen_at_default_is_within_a_level(rng):
    image = noise(rng, SHAPES["bgr"])
    expected = np.clip(2.0 * image - gaussian(image, 1.0), 0, 255)
    assert levels(sharpen(image), expected) <= 1


@pytest.mark.parametrize("layout", SHAPES)
def test_resize_by_a_whole_number_averages_blocks(rng, layout):
    image = noise(rng, (36, 48, *SHAPES[layout][2:]))
    blocks = image.reshape(12, 3, 12, 4, *image.shape[2:]).astype(float)
    result = resize(image, width_px=12, height_px=12)
    assert np.abs(result - blocks.mean(axis=(1, 3))).max() <= 1


def test_resize_by_a_fraction_averages_the_area_under_each_pixel(rng):
    image = noise(rng, (7, 10))

    def weights(old, new):
        """Row i: how much of each old pixel lies under new pixel i."""
        ends = np.arange(new + 1) * old / new
        pixel = np.arange(old)
        low, high = ends[:-1, None], ends[1:, None]
        covered = np.clip(np.minimum(pixel + 1, high) - np.maximum(pixel, low), 0, None)
        return covered * new / old

    expected = weights(7, 3) @ image @ weights(10, 4).T
    assert np.abs(resize(image, width_px=4, height_px=3) - expected).max() <= 1


def test_resize_enlarges_by_straight_lines(rng):
    image = noise(rng, (8, 8))
    centres = (np.arange(20) + 0.5) * 8 / 20 - 0.5
    grid = np.meshgrid(centres, centres, indexing="ij")
    expected = ndimage.map_coordinates(image.astype(float), grid, order=1, mode="nearest")
    assert np.abs(resize(image, scale=2.5) - expected).max() <= 1


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ({}, (50, 100)),
        ({"scale": 0.1}, (10, 20)),
        ({"scale": 2}, (200, 400)),
        ({"width_px": 50}, (25, 50)),
        ({"height_px": 50}, (50, 100)),
        ({"width_px": 7, "height_px": 300}, (300, 7)),
        ({"width_px": 1}, (1, 1)),
    ],
)
def test_resize_takes_sides_or_a_scale(params, shape):
    assert resize(np.zeros((100, 200, 3), np.uint8), **params).shape == (*shape, 3)


def test_resize_never_makes_a_side_of_nothing():
    assert resize(np.zeros((1, 300), np.uint8), scale=0.01).shape == (1, 3)


def test_resize_refuses_a_side_with_a_scale():
    with pytest.raises(InvalidParameter, match=r"scale is 0.5[^$]*left out"):
        validate(["resize"], {"resize": {"width_px": 10, "scale": 0.5}})


def test_resize_refuses_a_result_that_would_fill_the_memory():
    with pytest.raises(InvalidParameter, match=r"20000x20000[^$]*25000000"):
        resize(np.zeros((2000, 2000), np.uint8), scale=10)


def test_resize_to_the_same_size_of_a_very_large_image_is_allowed():
    image = np.zeros((5001, 5000), np.uint8)
    assert resize(image, scale=1) is image


def canny(gray, low, high):
    """Canny 1986 in numpy: Sobel, thinning across the gradient, hysteresis by components."""
    levels = np.pad(gray.astype(int), 1, mode="edge")
    smooth, slope = np.array([1, 2, 1]), np.array([-1, 0, 1])
    dx = ndimage.correlate(levels, np.outer(smooth, slope))[1:-1, 1:-1]
    dy = ndimage.correlate(levels, np.outer(slope, smooth))[1:-1, 1:-1]
    steep = np.abs(dx) + np.abs(dy)
    around = np.pad(steep, 1)
    thin = np.zeros(gray.shape, bool)
    for y, x in np.argwhere(steep > low):
        angle = np.degrees(np.arctan2(abs(dy[y, x]), abs(dx[y, x])))
        if angle < 22.5:
            step, strict = (0, 1), False
        elif angle > 67.5:
            step, strict = (1, 0), False
        else:
            step, strict = (1, 1 if (dx[y, x] < 0) == (dy[y, x] < 0) else -1), True
        before = around[y + 1 - step[0], x + 1 - step[1]]
        after = around[y + 1 + step[0], x + 1 + step[1]]
        here = steep[y, x]
        # Of two equal neighbours along a row or a column the later one is kept.
        thin[y, x] = here > before and (here > after if strict else here >= after)
    labels, _count = ndimage.label(thin, np.ones((3, 3)))
    kept = np.unique(labels[thin & (steep > high)])
    return np.where(np.isin(labels, kept[kept > 0]), 255, 0)


@pytest.mark.parametrize(("low", "high"), [(50, 150), (20, 400), (0, 0), (300, 1530)])
def test_edges_are_those_of_canny(rng, low, high):
    image = ndimage.gaussian_filter(noise(rng, (60, 80)), 1)
    image[20:40, 30:60] = 240
    assert np.array_equal(edges(image, threshold1=low, threshold2=high), canny(image, low, high))


def test_edges_of_a_disc_lie_on_its_circle():
    y, x = np.mgrid[:101, :101] - 50
    drawn = edges(np.where(np.hypot(x, y) < 30, 200, 20).astype(np.uint8))
    far = np.abs(np.hypot(x, y)[drawn > 0] - 30)
    assert far.max() <= 1.5
    directions = np.degrees(np.arctan2(y, x)[drawn > 0]).round() // 10
    assert len(set(directions)) >= 36, "the circle is closed"


def test_a_weak_edge_is_kept_only_where_it_touches_a_strong_one():
    image = np.zeros((40, 60), np.uint8)
    image[:20, 30:] = 100  # a step of 4 * 100
    image[20:, 30:] = 30  # a step of 4 * 30 that goes on from it
    image[:, :10] = 30  # and one that stands alone
    drawn = edges(image, threshold1=50, threshold2=300)
    assert drawn[:, 25:35].any(axis=1).all()
    assert not drawn[:, :20].any()


def test_edges_take_the_thresholds_in_either_order(rng):
    image = noise(rng, (40, 40))
    one = edges(image, threshold1=600, threshold2=900)
    assert one.any()
    assert np.array_equal(one, edges(image, threshold1=900, threshold2=600))


def test_edges_of_colour_are_those_of_its_luma(rng):
    image = ndimage.gaussian_filter(noise(rng, (60, 80, 4)), (1, 1, 0))
    luma = np.rint(image[..., :3] @ [0.114, 0.587, 0.299]).astype(np.uint8)
    agree = edges(image) == canny(luma, 50, 150)
    assert agree.mean() > 0.99  # a rounded half may fall either way
    assert np.array_equal(edges(image), edges(image[..., :3]))


@st.composite
def images(draw):
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    channels = draw(st.sampled_from([(), (3,), (4,)]))
    seed = draw(st.integers(0, 2**32 - 1))
    image = noise(np.random.default_rng(seed), (height, width, *channels))
    view = draw(st.sampled_from(["whole", "flipped", "sliced", "turned", "reversed"]))
    return {
        "whole": image,
        "flipped": image[::-1, ::-1],
        "sliced": image.repeat(2, axis=0).repeat(2, axis=1)[::2, 1::2],
        "turned": image.swapaxes(0, 1),
        "reversed": image[..., ::-1] if channels == (3,) else image[:, ::-1],
    }[view]


@given(image=images(), name=st.sampled_from(names()))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_what_always_holds(image, name):
    before = image.copy()
    image.setflags(write=False)
    result = validate([name])(image)
    assert np.array_equal(image, before), "the input is never written on"
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    if name in {"blur", "sharpen"}:
        assert result.shape == image.shape
        if image.shape[2:] == (4,):
            assert np.array_equal(result[..., 3], image[..., 3]), "alpha is kept"
    if name == "resize":
        assert result.shape[2:] == image.shape[2:]
    if name == "edges":
        assert result.shape == image.shape[:2]
        assert set(np.unique(result)) <= {0, 255}
    packed = np.ascontiguousarray(before)
    assert np.array_equal(result, validate([name])(packed)), "the memory layout does not matter"


@given(image=images())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_nothing_to_do_returns_the_image(image):
    assert np.array_equal(sharpen(image, intensity=0), image)
    assert np.array_equal(blur(image, sigma_px=0), image)
    assert np.array_equal(resize(image, scale=1), image)


@given(level=st.integers(0, 255), image=images())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_flat_image_has_nothing_to_sharpen_blur_or_draw(level, image):
    flat = np.full(image.shape, level, np.uint8)
    assert np.array_equal(sharpen(flat, intensity=10), flat)
    assert np.array_equal(blur(flat), flat)
    assert not edges(flat).any()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((4, 4), np.float32), "float32"),
        (np.zeros((4, 4), np.uint16), "uint16"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((4, 4, 1), np.uint8), r"\(4, 4, 1\)"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        ([[1, 2]], "list"),
        (None, "NoneType"),
    ],
)
def test_what_is_not_an_image_is_refused(image, reason):
    for name in names():
        with pytest.raises(ImageRefused, match=reason):
            validate([name])(image)
    with pytest.raises(ImageRefused, match=reason):
        sharpen(image)


def test_a_direct_call_checks_its_parameters():
    with pytest.raises(InvalidParameter, match="intensity is 11"):
        sharpen(np.zeros((4, 4), np.uint8), intensity=11)
