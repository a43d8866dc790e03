"""What a worker can do: filters on images, and the drills."""

from collections.abc import Callable

from labkit.filters import decode, encode, names, validate
from labkit.filters._opencv import cv2
from labkit.settings import Settings
from labkit.task import Work
from labkit.worker import drills


class Workshop:
    """Turns a Work into result bytes."""

    def __init__(self, settings: Settings) -> None:
        cv2.setNumThreads(1)  # the cluster is the parallelism; threads here would only compete
        self._max_bytes = int(settings.max_image_mb * 1e6)
        self._max_pixels = settings.max_pixels
        self.capabilities = names()

    def do(self, work: Work, fetch: Callable[[str], bytes]) -> bytes:
        """Run a Work.

        Args:
            work: what to do.
            fetch: gives image bytes by digest.

        Returns:
            Encoded image, or what the drill returns.

        Raises:
            Refused: the input is at fault; trying again cannot help.
        """
        if work.name != "filters":
            return drills.run(work.name, work.args)
        pipeline = validate(work.filters, work.filter_params)
        image = decode(
            fetch(work.image or ""), max_bytes=self._max_bytes, max_pixels=self._max_pixels
        )
        return encode(pipeline(image), work.output)
