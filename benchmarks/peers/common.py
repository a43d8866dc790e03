"""What all peers share: the work itself, which is the code of labkit's own worker."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from labkit.filters import decode, encode, validate
from labkit.filters._opencv import cv2

URL = os.environ["REDIS_URL"]
IMAGES = os.environ["PEER_WORK"] == "images"
POLL_S = 0.005  # how often a client looks where a library has no way to be told
DONE = b"1"  # something, because "nothing" is not kept as a result everywhere

cv2.setNumThreads(1)


def say_hello() -> bytes:
    """Show that this worker lives; slow enough that the others get a greeting too."""
    (Path(os.environ["READY"]) / str(os.getpid())).touch()
    time.sleep(0.05)
    return DONE


def filter_image(data: bytes) -> bytes:
    pipeline = validate(("sharpen", "edges"), {})
    return encode(pipeline(decode(data, max_bytes=32_000_000, max_pixels=25_000_000)), "jpg")


def wait_until(check: Callable[[], bool]) -> None:
    while not check():
        time.sleep(0.002)
