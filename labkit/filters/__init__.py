"""What tasks do: arrays in, arrays out.

To add a filter, write one function in :mod:`labkit.filters.kernels` and decorate it::

    @image_filter()
    def mirror(image: Image, *, axis: Annotated[int, msgspec.Meta(ge=-1, le=1)] = 1) -> Image:
        \"\"\"Swap left and right (1), top and bottom (0), or both (-1).\"\"\"
        return cv2.flip(image, axis)

Nothing else changes: ``{"filters": ["mirror"], "filter_params": {"mirror": {"axis": 0}}}`` is
now valid, its errors name the range, and :func:`names` lists it.
"""

from labkit.filters.catalog import Pipeline, image_filter, names, validate
from labkit.filters.codec import OUTPUTS, decode, encode
from labkit.filters.image import Image, as_image
from labkit.filters.kernels import blur, edges, resize, sharpen

__all__ = [
    "OUTPUTS",
    "Image",
    "Pipeline",
    "as_image",
    "blur",
    "decode",
    "edges",
    "encode",
    "image_filter",
    "names",
    "resize",
    "sharpen",
    "validate",
]
