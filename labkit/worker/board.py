"""A page of memory that runner and supervisor share: what runs now, and what should stop.

The runner writes where it is in its slice; the supervisor reads it without asking, because a
runner inside a C call cannot answer. Reads may catch a write half way, so each write is bracketed
by a number: a reader that sees two different ones looks again.
"""

import mmap
import struct
import time
from dataclasses import dataclass

from labkit.task import Claim

_SIZE = 1 << 18  # untouched pages cost nothing
_FLAGS = struct.Struct("<BB6xq")  # runner idle, draining, slice that is recalled
_PLACE = struct.Struct("<qqiiddq")  # write, slice, index in it, tasks in it, start, timeout, write
_PAIR = struct.Struct("<qH")  # token, length of id
_DONE = struct.Struct("<qiHH")  # slice, index in it, lengths of label and result
_COUNT = struct.Struct("<qi")  # how often the results were sent, how many have been added since
_PLACE_AT, _COUNT_AT, _SLICE_AT, _DONE_AT = 64, 192, 256, 1 << 17
SMALL = 512  # a result of at most so many bytes may wait on the board
MOST = 128  # tasks in a slice, so that all of them fit


@dataclass(frozen=True, slots=True)
class Running:
    """What the runner is at.

    Attributes:
        slice_number: which slice.
        task: (id, token) of the task that runs.
        unstarted: (id, token) of those that wait behind it.
        unsent: (id, token, label, result) of those before it that are done but not acknowledged.
        age_s: for how long it has been running.
        timeout_s: for how long it may.
    """

    slice_number: int
    task: tuple[str, int]
    unstarted: list[tuple[str, int]]
    unsent: list[tuple[str, int, str, bytes]]
    age_s: float
    timeout_s: float


class Board:
    """Made before the fork, so that both processes see the same memory."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, _SIZE)
        self._slice = self._count = self._done = self._sent = self._writes = 0
        self._done_end = _DONE_AT

    # What the runner writes.

    def take(self, claims: list[Claim]) -> None:
        """A new slice begins."""
        offset = _SLICE_AT
        for claim in claims:
            name = claim.id.encode()
            _PAIR.pack_into(self._page, offset, claim.token, len(name))
            offset += _PAIR.size
            self._page[offset : offset + len(name)] = name
            offset += len(name)
        self._slice += 1
        self._count = len(claims)
        self.sent()

    def begin(self, index: int, timeout_s: float) -> bool:
        """The task at this place is about to run, for so long at most. False if it must not."""
        number, now_s = self._slice, time.monotonic()
        self._writes = write = self._writes + 1
        _PLACE.pack_into(
            self._page, _PLACE_AT, write, number, index, self._count, now_s, timeout_s, write
        )
        self._page[0] = 0  # only now: until here the place is that of the slice before
        _, draining, recalled = _FLAGS.unpack_from(self._page)
        return not draining and recalled != number

    def finished(self, index: int, label: str, result: bytes) -> None:
        """The task at this place is done, and its acknowledgement will be sent with others."""
        name = label.encode()[:256]
        _DONE.pack_into(self._page, self._done_end, self._slice, index, len(name), len(result))
        start = self._done_end + _DONE.size
        self._done_end = start + len(name) + len(result)
        self._page[start : self._done_end] = name + result
        self._done += 1
        _COUNT.pack_into(self._page, _COUNT_AT, self._sent, self._done)

    def sent(self) -> None:
        """All that was finished has been acknowledged."""
        self._done, self._done_end = 0, _DONE_AT
        self._sent += 1
        _COUNT.pack_into(self._page, _COUNT_AT, self._sent, 0)

    def rest(self) -> None:
        """The slice is over."""
        self._page[0] = 1

    # What the supervisor writes.

    def clear(self) -> None:
        """A new runner is about to start."""
        self._page[0] = 1
        self._page[8:16] = bytes(8)

    def drain(self) -> None:
        """Begin no further task, and go."""
        self._page[1] = 1

    def recall(self, slice_number: int) -> None:
        """Begin no further task of this slice."""
        self._page[8:16] = struct.pack("<q", slice_number)

    # What both read.

    @property
    def draining(self) -> bool:
        """Whether the worker is to stop."""
        return self._page[1] == 1

    def running(self) -> Running | None:
        """What runs now; None between slices."""
        for _attempt in range(100):
            if self._page[0] == 1:
                return None
            # A reader that goes the same way as the writer may still meet it half way: look twice.
            place = _PLACE.unpack_from(self._page, _PLACE_AT)
            write, number, index, count, start_s, timeout_s, again = place
            if place != _PLACE.unpack_from(self._page, _PLACE_AT) or write != again:
                continue
            if not 0 <= index < count <= MOST:
                continue
            sent, done = _COUNT.unpack_from(self._page, _COUNT_AT)
            pairs = self._pairs(count)
            unsent = self._unsent(number, pairs, done)
            same_slice = _PLACE.unpack_from(self._page, _PLACE_AT)[1] == number
            same_results = _COUNT.unpack_from(self._page, _COUNT_AT)[0] == sent
            if same_slice and same_results and self._page[0] == 0:
                age_s = time.monotonic() - start_s
                return Running(number, pairs[index], pairs[index + 1 :], unsent, age_s, timeout_s)
        return None

    def _pairs(self, count: int) -> list[tuple[str, int]]:
        pairs, offset = [], _SLICE_AT
        for _n in range(count):
            token, length = _PAIR.unpack_from(self._page, offset)
            offset += _PAIR.size
            name = bytes(self._page[offset : offset + length]).decode(errors="replace")
            pairs.append((name, token))
            offset += length
        return pairs

    def _unsent(
        self, number: int, pairs: list[tuple[str, int]], done: int
    ) -> list[tuple[str, int, str, bytes]]:
        found: list[tuple[str, int, str, bytes]] = []
        offset = _DONE_AT
        for _n in range(done):
            of_slice, index, name_length, length = _DONE.unpack_from(self._page, offset)
            if of_slice != number or index >= len(pairs):
                break
            start = offset + _DONE.size
            offset = start + name_length + length
            label = bytes(self._page[start : start + name_length]).decode(errors="replace")
            found.append((*pairs[index], label, bytes(self._page[offset - length : offset])))
        return found
