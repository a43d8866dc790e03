"""The one place that imports OpenCV.

OpenCV reads its limits from the environment once, at import, so they are set here, first. They are
the second line of defence: :mod:`labkit.filters.codec` reads the size from the header beforehand,
and that also holds when a notebook imported cv2 before labkit.
"""

import os
from typing import Any

BACKSTOP_PIXELS = 100_000_000

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(BACKSTOP_PIXELS))

import cv2 as _cv2  # noqa: E402

# Its stubs say that any array may hold any type, so every result would need a cast.
cv2: Any = _cv2

__all__ = ["BACKSTOP_PIXELS", "cv2"]
