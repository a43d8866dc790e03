"""Real photographs: scikit-image's, or a folder of the user's."""

from dataclasses import dataclass
from pathlib import Path

from labkit.batch import list_images
from labkit.filters import encode, resize
from labkit.filters._opencv import cv2

SIZE_PX = (1280, 720)
# Those of scikit-image's that come inside its wheel: nothing is downloaded.
SAMPLES = (
    "astronaut",
    "chelsea",
    "coffee",
    "hubble_deep_field",
    "motorcycle_left",
    "rocket",
    "retina",
)


@dataclass(frozen=True, slots=True)
class Photo:
    """One image: its name without a suffix, and its encoded bytes."""

    name: str
    data: bytes


def load(folder: Path | None = None) -> list[Photo]:
    """The photographs of a folder; by default scikit-image's, as 1280x720 JPEGs.

    Raises:
        SettingInvalid: the folder does not exist or holds no images.
    """
    if folder is not None:
        return [Photo(path.stem, path.read_bytes()) for path in list_images(folder)]
    import skimage.data

    home = Path(skimage.data.__file__).parent
    paths = [path for name in SAMPLES for path in home.glob(f"{name}.*")]
    return [Photo(path.stem, _as_sample(path)) for path in paths]


def _as_sample(path: Path) -> bytes:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    height, width = image.shape[:2]
    wide, high = SIZE_PX
    scale = max(wide / width, high / height)
    image = resize(
        image, width_px=max(wide, round(width * scale)), height_px=max(high, round(height * scale))
    )
    # Portraits keep their heads: more is cut below than above.
    top, left = (image.shape[0] - high) // 8, (image.shape[1] - wide) // 2
    return encode(image[top : top + high, left : left + wide], "jpg")
