"""Bytes to image and back, within limits that hold before memory is spent."""

import io

import imagesize
import numpy as np

from labkit.errors import ImageRefused, Refused
from labkit.filters._opencv import cv2
from labkit.filters.container import read_orientation
from labkit.filters.image import Image, as_image, has_alpha
from labkit.i18n import _

OUTPUTS = ("jpg", "png")


def decode(data: bytes, *, max_bytes: int, max_pixels: int) -> Image:
    """Read a JPEG, PNG or WebP file, upright.

    Gray stays (height, width), colour becomes (height, width, 3) BGR, and with transparency
    (height, width, 4) BGRA. Sixteen-bit levels are rounded to eight, because filters work on eight.
    The picture is turned as its EXIF orientation says, so a phone's photo comes out upright.

    Args:
        data: the whole file.
        max_bytes: limit on the file, checked first.
        max_pixels: limit on width x height, read from the header and checked before decoding.

    Raises:
        ImageRefused: too large, cut short, animated, of another format, or not an image.
    """
    if not data:
        raise ImageRefused(_("It is empty: 0 bytes."))
    if len(data) > max_bytes:
        raise ImageRefused(
            _("It has {size} bytes; the limit is {limit}.").format(size=len(data), limit=max_bytes)
        )
    orientation = read_orientation(data)
    width, height = _size(data)
    _check_pixels(width, height, max_pixels)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageRefused(_("OpenCV said: {detail}").format(detail=error.err)) from None
    if image is None:
        raise ImageRefused(_("It is damaged: it could not be decoded."))
    _check_pixels(image.shape[1], image.shape[0], max_pixels)  # in case the header lied
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)  # 65535 becomes 255
    return as_image(_upright(image, orientation))


def encode(image: Image, output: str, quality: int = 90) -> bytes:
    """Write an image as a file.

    A JPEG has no alpha: a BGRA image is laid on white first. A PNG keeps it.

    Args:
        image: shape (height, width), (height, width, 3) BGR or (height, width, 4) BGRA, uint8.
        output: "jpg" or "png".
        quality: of a JPEG, 1 to 100; a PNG is always exact.

    Raises:
        Refused: another output or quality.
        ImageRefused: not an image, or too large for the format.
    """
    if output not in OUTPUTS:
        raise Refused(
            _("output is {output!r}.").format(output=output),
            _("It must be one of: {known}.").format(known=", ".join(OUTPUTS)),
            _("Change output."),
        )
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise Refused(
            _("quality is {quality!r}.").format(quality=quality),
            _("It must be a whole number from 1 to 100."),
            _("Change quality."),
        )
    image = as_image(image)
    options: list[int] = []
    if output == "jpg":
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        if has_alpha(image):
            image = _on_white(image)
    try:
        done, buffer = cv2.imencode(f".{output}", image, options)
    except cv2.error:
        done = False
    if not done:
        height, width = image.shape[:2]
        raise ImageRefused(
            _("{width} x {height} pixels do not fit a {output} file.").format(
                width=width, height=height, output=output
            ),
            _("Make it smaller with resize."),
        )
    data: bytes = buffer.tobytes()
    return data


def _size(data: bytes) -> tuple[int, int]:
    try:
        width, height = imagesize.get(io.BytesIO(data))
    except Exception:  # whatever a hostile header makes it raise, it is the header's fault
        width = height = -1
    if width <= 0 or height <= 0:
        raise ImageRefused(_("Its header does not say its width and height."))
    return width, height


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageRefused(
            _("It has {width} x {height} pixels; the limit is {limit} in all.").format(
                width=width, height=height, limit=max_pixels
            )
        )


def _upright(image: Image, orientation: int) -> Image:
    """Undo how the camera was held: first across the diagonal (5 to 8), then by mirroring."""
    if orientation >= 5:
        image = cv2.transpose(image)
    # What to mirror, by orientation: 0 top to bottom, 1 left to right, -1 both.
    mirror = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    if mirror is not None:
        image = cv2.flip(image, mirror)
    return image


def _on_white(image: Image) -> Image:
    alpha = image[..., 3:].astype(np.uint16)
    blend = image[..., :3] * alpha + 255 * (255 - alpha)  # at most 65025: sixteen bits hold it
    return ((blend + 127) // 255).astype(np.uint8)
