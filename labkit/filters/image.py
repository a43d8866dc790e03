"""What an image is: an array of 8-bit levels in one of three layouts."""

import numpy as np
import numpy.typing as npt

from labkit.errors import ImageRefused
from labkit.i18n import _

#: Shape (height, width) gray, (height, width, 3) BGR or (height, width, 4) BGRA; levels 0 to 255.
Image = npt.NDArray[np.uint8]


def as_image(value: object) -> Image:
    """Check that a value is an image; the result is contiguous, and copied only if it has to be.

    Raises:
        ImageRefused: not an array, not uint8, not one of the three shapes, or empty.
    """
    todo = _("Give a uint8 array of shape (h, w), (h, w, 3) or (h, w, 4).")
    if not isinstance(value, np.ndarray):
        kind = type(value).__name__
        raise ImageRefused(_("It is of type {kind}, not a numpy array.").format(kind=kind), todo)
    if value.dtype != np.uint8:
        raise ImageRefused(_("Its levels are {dtype}.").format(dtype=value.dtype), todo)
    if value.ndim != 2 and not (value.ndim == 3 and value.shape[2] in {3, 4}):
        raise ImageRefused(_("Its shape is {shape}.").format(shape=value.shape), todo)
    if value.size == 0:
        raise ImageRefused(_("It is empty: its shape is {shape}.").format(shape=value.shape), todo)
    return np.ascontiguousarray(value)


def has_alpha(image: Image) -> bool:
    """True if the image is BGRA."""
    return image.ndim == 3 and image.shape[2] == 4
