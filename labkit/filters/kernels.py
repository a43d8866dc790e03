"""The filters: arrays in, arrays out.

To add one, write it here and nowhere else: a function decorated with :func:`image_filter`, whose
keyword parameters say their type, range and default. Its name and its parameters become valid in
``filters`` and ``filter_params`` at once. The decorator has checked the image and the parameters
before the body runs. A filter never writes on the array that it was given.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from labkit.errors import InvalidParameter
from labkit.filters._opencv import cv2
from labkit.filters.catalog import image_filter
from labkit.filters.image import Image, has_alpha
from labkit.i18n import _

MAX_RESIZED_PIXELS = 25_000_000
SHARPEN_SIGMA_PX = 1.0

Intensity = Annotated[float, msgspec.Meta(ge=0, le=10)]
Scale = Annotated[float, msgspec.Meta(ge=0.01, le=10)]
Side = Annotated[int, msgspec.Meta(ge=1, le=20_000)]
Sigma = Annotated[float, msgspec.Meta(ge=0, le=20)]
# 1530 is the steepest step of 8-bit levels: |dx| + |dy| of a 3x3 Sobel, all weights at 0 or 255.
Threshold = Annotated[float, msgspec.Meta(ge=0, le=1530)]


def _sides_or_scale(params: Mapping[str, Any]) -> None:
    if params["scale"] is not None and (params["width_px"] or params["height_px"]):
        raise InvalidParameter(
            "resize", "scale", params["scale"], _("left out when width_px or height_px is given")
        )


@image_filter(rule=_sides_or_scale)
def resize(
    image: Image,
    *,
    width_px: Side | None = None,
    height_px: Side | None = None,
    scale: Scale | None = None,
) -> Image:
    """Change the size: to given sides, or by a scale; with neither, to half.

    Shrinking averages the area under each pixel; enlarging is bilinear, as the OpenCV docs of
    ``InterpolationFlags`` advise. All channels are resized alike, alpha included.

    Args:
        image: shape (height, width), (height, width, 3) BGR or (height, width, 4) BGRA, uint8.
        width_px: new width in pixels; without height_px, the proportions are kept.
        height_px: new height in pixels; without width_px, the proportions are kept.
        scale: new side / old side, 0.01 to 10; no side is ever less than a pixel.

    Raises:
        InvalidParameter: out of range, a side together with a scale, or the result would have
            more than 25 million pixels and more than the image has.
    """
    old_height, old_width = image.shape[:2]
    by = 0.5 if scale is None else scale
    if width_px is not None:
        by = width_px / old_width
    elif height_px is not None:
        by = height_px / old_height
    width = width_px or max(1, round(old_width * by))
    height = height_px or max(1, round(old_height * by))
    limit = max(MAX_RESIZED_PIXELS, old_width * old_height)
    if width * height > limit:
        raise InvalidParameter(
            "resize", "size", f"{width}x{height}", _("at most {limit} pixels").format(limit=limit)
        )
    if (width, height) == (old_width, old_height):
        return image
    shrinks = width <= old_width and height <= old_height
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: Image = cv2.resize(image, (width, height), interpolation=how)
    return resized


@image_filter()
def blur(image: Image, *, sigma_px: Sigma = 2.0) -> Image:
    """Smooth with a Gaussian, cut at three sigmas; the border mirrors, its last pixel once.

    OpenCV's ``GaussianBlur`` counts in fixed point: a level from the exact value at most, two for
    the widest sigmas.

    Args:
        image: shape (height, width), (height, width, 3) BGR or (height, width, 4) BGRA, uint8.
            Alpha is kept as it is.
        sigma_px: standard deviation in pixels, 0 to 20; 0 returns the image unchanged.

    Raises:
        InvalidParameter: sigma_px is out of range.
    """
    if sigma_px == 0:
        return image
    return _with_alpha_of(image, cv2.GaussianBlur(image, (0, 0), sigma_px))


@image_filter()
def sharpen(image: Image, *, intensity: Intensity = 1.0) -> Image:
    """Add back what a Gaussian blur of one pixel removes (unsharp mask).

    The result is ``image + intensity * (image - blurred)``, rounded and kept within 0 to 255:
    Gonzalez & Woods, *Digital Image Processing*, "Unsharp masking and highboost filtering". The
    blur is rounded to whole levels first, so the rounding grows with the intensity.

    Args:
        image: shape (height, width), (height, width, 3) BGR or (height, width, 4) BGRA, uint8.
            Alpha is kept as it is.
        intensity: weight of the detail added back, 0 to 10; 0 returns the image unchanged.

    Raises:
        InvalidParameter: intensity is out of range.
    """
    if intensity == 0:
        return image
    blurred = cv2.GaussianBlur(image, (0, 0), SHARPEN_SIGMA_PX)
    # The blurred array is ours: writing the result over it saves an allocation.
    sharp = cv2.addWeighted(image, 1 + intensity, blurred, -intensity, 0, dst=blurred)
    return _with_alpha_of(image, sharp)


@image_filter()
def edges(image: Image, *, threshold1: Threshold = 50.0, threshold2: Threshold = 150.0) -> Image:
    """Draw the edges, white on black (Canny).

    A pixel steeper than the higher threshold is an edge, and so is one steeper than the lower that
    touches an edge: J. Canny, "A Computational Approach to Edge Detection", PAMI 8(6), 1986; he
    recommends two or three to one. Nothing is blurred first: put "blur" before it on a noisy image.

    Args:
        image: shape (height, width), (height, width, 3) BGR or (height, width, 4) BGRA, uint8.
            Colour is turned to gray. Alpha is not looked at, and the result has none.
        threshold1: gradient |dx| + |dy| of a 3x3 Sobel, in levels, 0 to 1530.
        threshold2: the other one; either may be the higher, as in OpenCV.

    Returns:
        shape (height, width), uint8, 0 or 255: a gray image, which any other filter takes.

    Raises:
        InvalidParameter: a threshold is out of range.
    """
    if image.ndim == 3:
        code = cv2.COLOR_BGRA2GRAY if has_alpha(image) else cv2.COLOR_BGR2GRAY
        image = cv2.cvtColor(image, code)
    drawn: Image = cv2.Canny(image, threshold1, threshold2)
    return drawn


def _with_alpha_of(image: Image, result: Image) -> Image:
    # Filtering four channels and putting alpha back is cheaper than splitting and merging.
    if has_alpha(image):
        result[..., 3] = image[..., 3]
    return result
