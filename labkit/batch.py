"""Work in, results out.

A batch is submitted while its results come in: never more than a window of it is on its way, so a
folder of any size fits. What cannot be read or done is a result with its reason, not an exception
that loses the rest. Leaving early, by Ctrl-C or ``break``, cancels what no worker has begun.
"""

import os
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from tqdm.auto import tqdm

from labkit.connection import in_our_words
from labkit.errors import LabkitError, QueueFull, SettingInvalid
from labkit.filters import Image, decode, encode, validate
from labkit.i18n import _
from labkit.measure import events, words
from labkit.queue import TaskQueue, keys
from labkit.task import Params, Work, digest

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_WAIT_MS = 250
_CHUNK_BYTES = 8_000_000  # of images in one round trip
_FEW = 8
_GATHER_S = 0.02  # while there is plenty on its way, news are read in small batches
_RECONCILE_S = 2.0  # after so much silence, ask for each task instead of waiting for news

Source = Path | str | bytes | Image


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one item.

    Attributes:
        index: its place in what was submitted, from 0.
        name: file name, or "#index".
        data: the encoded image, or what a drill returned; b"" after a failure.
        error: why it failed; "" if it did not.
        worker: who did it.
    """

    index: int
    name: str
    data: bytes
    error: str
    worker: str

    @property
    def ok(self) -> bool:
        """Whether it worked."""
        return not self.error

    def image(self) -> Image:
        """The result as an array, uint8, (height, width[, 3 or 4])."""
        return decode(self.data, max_bytes=len(self.data), max_pixels=1 << 30)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to do: work, and the bytes of its image if it has one; or why it cannot be done."""

    name: str
    work: Work | None
    data: bytes = b""
    error: str = ""


def process(
    queue: TaskQueue,
    images: Path | str | Iterable[Source],
    filters: Sequence[str],
    filter_params: dict[str, Params] | None = None,
    *,
    output: Literal["jpg", "png"] = "jpg",
    in_order: bool = False,
    progress: bool = False,
    window: int = 64,
) -> Generator[Result]:
    """Apply filters to images on the cluster; yield results as they are finished.

    Args:
        queue: where to send them.
        images: a folder, or paths, encoded bytes or arrays (uint8, BGR) in any mixture.
        filters: names, applied in order.
        filter_params: parameters by filter name.
        output: format of the results.
        in_order: yield them in the order of submission instead.
        progress: show a bar with rate and time left.
        window: how many may be on their way at once.

    Raises:
        UnknownFilter, InvalidParameter: before anything is sent.
        SettingInvalid: the folder does not exist or holds no images.
        StoreFull, RedisUnavailable: Redis cannot take more; what came before has been yielded.
    """
    validate(tuple(filters), filter_params or {})
    sources = list_images(Path(images)) if isinstance(images, (str, Path)) else images
    work = Work(filters=tuple(filters), filter_params=filter_params or {}, output=output)
    items = (_read(n, source, work) for n, source in enumerate(sources))
    total = len(sources) if isinstance(sources, Sequence) else None
    return run(queue, items, total=total, in_order=in_order, progress=progress, window=window)


def drill(
    queue: TaskQueue, works: Iterable[Work], *, window: int = 2000, **options: Any
) -> Generator[Result]:
    """Run drills (labkit.worker.drills) on the cluster; options as for :func:`process`."""
    return run(queue, (Item(work.name, work) for work in works), window=window, **options)


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder, by name.

    Raises:
        SettingInvalid: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise SettingInvalid("images", str(folder), _("a folder that exists"))
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise SettingInvalid(
            "images", str(folder), _("a folder with images ({kinds})").format(kinds=kinds)
        )
    return found


def run(
    queue: TaskQueue,
    items: Iterable[Item],
    *,
    total: int | None = None,
    in_order: bool = False,
    progress: bool = False,
    window: int = 64,
    batch_id: str | None = None,
) -> Generator[Result]:
    """Submit items and yield a result for each, exactly one. See :func:`process`."""
    if window < 1:
        raise SettingInvalid("window", window, _("1 or more"))
    batch = _Batch(queue, iter(items), window, batch_id or os.urandom(5).hex())
    results = batch.in_order() if in_order else batch.results()
    bar = tqdm(total=total, unit="img", disable=not progress, smoothing=0.1)
    try:
        for result in results:
            bar.update()
            yield result
    finally:
        bar.close()
        batch.cancel()


class _Batch:
    """What is on its way, and what has come back."""

    def __init__(self, queue: TaskQueue, items: Iterator[Item], window: int, name: str) -> None:
        self._queue, self._items, self._window, self._name = queue, items, window, name
        self._client = queue.client
        self._away: dict[str, tuple[int, str]] = {}  # task id -> index, name
        self._count = 0
        self._exhausted = False
        self._refill = max(1, window // 4)
        self._seen = events.last_id(self._client)
        self._reap_at = self._news_at = time.monotonic()

    def results(self) -> Iterator[Result]:
        while True:
            yield from self._submit()
            if not self._away and self._exhausted:
                return
            yield from self._collect()

    def in_order(self) -> Iterator[Result]:
        early: dict[int, Result] = {}
        due = 0
        for result in self.results():
            early[result.index] = result
            while due in early:
                yield early.pop(due)
                due += 1

    def cancel(self) -> None:
        """Take back what nobody has begun; what Redis does not hear ends by its TTL."""
        away, self._away = list(self._away), {}
        try:
            self._queue.cancel(away)
        except LabkitError:
            return

    def _submit(self) -> Iterator[Result]:
        """Fill the window, once a part of it is free: a few round trips for many items."""
        if self._exhausted or len(self._away) > self._window - self._refill:
            return
        works: list[Work] = []
        names: list[str] = []
        pictures: dict[str, bytes] = {}
        first = self._count
        while len(self._away) + len(works) < self._window:
            item = next(self._items, None)
            if item is None:
                self._exhausted = True
                break
            number, self._count = self._count, self._count + 1
            if item.work is None:  # the numbers of a call are in a row, so this one ends here
                self._send(works, names, pictures, first)
                works, names, pictures, first = [], [], {}, self._count
                yield Result(number, item.name, b"", item.error, "")
                continue
            works.append(item.work)
            names.append(item.name)
            if item.data:
                key = digest(item.data)
                works[-1] = msgspec.structs.replace(item.work, image=key)
                pictures[key] = item.data
            if sum(map(len, pictures.values())) > _CHUNK_BYTES:
                self._send(works, names, pictures, first)
                works, names, pictures, first = [], [], {}, self._count
        self._send(works, names, pictures, first)

    def _send(
        self, works: list[Work], names: list[str], pictures: dict[str, bytes], first: int
    ) -> None:
        if not works:
            return
        if pictures:
            self._queue.put_images(pictures)
        for number, name in enumerate(names, first):
            self._away[f"{self._name}:{number}"] = (number, name)
        while True:
            try:
                self._queue.enqueue(self._name, works, first=first)
                return
            except QueueFull:  # others' work is before ours: wait for the workers
                self._tend()
                time.sleep(0.05)

    def _collect(self) -> Iterator[Result]:
        """Wait for news, and turn it into results."""
        if len(self._away) > self._window // 2 > _FEW:
            time.sleep(_GATHER_S)
        with in_our_words(self._queue.url):
            news = self._client.xread({keys.EVENTS: self._seen}, count=1000, block=_WAIT_MS)
        ended: dict[str, events.Event] = {}
        for entry_id, raw in news[0][1] if news else ():
            self._seen = entry_id.decode()
            if raw.get(b"kind") in (b"done", b"dead"):
                event = events.parse(entry_id, raw)
                ended |= {task: event for task in event.tasks if task in self._away}
        now_s = time.monotonic()
        if ended:
            self._news_at = now_s
            yield from self._fetch(list(ended), ended)
        elif now_s - self._news_at > _RECONCILE_S:
            self._news_at = now_s
            yield from self._reconcile()
        self._tend()

    def _fetch(self, ids: list[str], ended: dict[str, events.Event]) -> Iterator[Result]:
        with self._client.pipeline(transaction=False) as pipe:
            for task_id in ids:
                pipe.get(keys.result(task_id))
            for task_id in ids:
                pipe.unlink(keys.result(task_id))  # it has been delivered
            found = pipe.execute()[: len(ids)]
        for task_id, data in zip(ids, found, strict=True):
            index, name = self._away.pop(task_id)
            event = ended[task_id]
            error = words.reason(event.fields.get("reason", "?")) if event.kind == "dead" else ""
            yield Result(index, name, data or b"", error, event.worker)

    def _reconcile(self) -> Iterator[Result]:
        """No news for a while: the stream may have been trimmed, or Redis may have lost tasks."""
        for task_id in list(self._away):
            known = self._queue.task(task_id)
            state = known.get("state", "lost")
            if state in ("done", "dead", "lost", "cancelled"):
                index, name = self._away.pop(task_id)
                data = self._queue.result(task_id) if state == "done" else None
                reason = {
                    "dead": words.reason(known.get("error", "?")),
                    "lost": _("Redis no longer knows this task: it lost its data."),
                    "cancelled": _("It was cancelled."),
                }.get(state, "")
                yield Result(index, name, data or b"", reason, known.get("worker", ""))

    def _tend(self) -> None:
        """Reap now and then, in case every worker is gone."""
        now_s = time.monotonic()
        if now_s >= self._reap_at:
            self._reap_at = now_s + self._queue.settings.reap_s
            self._queue.reap()


def _read(index: int, source: Source, work: Work) -> Item:
    """Load one source; what cannot be read becomes an item that says why."""
    if isinstance(source, (str, Path)):
        try:
            return Item(Path(source).name, work, Path(source).read_bytes())
        except OSError as error:
            return Item(Path(source).name, None, error=f"{type(error).__name__}: {error}")
    if isinstance(source, bytes):
        return Item(f"#{index}", work, source)
    try:
        return Item(f"#{index}", work, encode(source, "png"))
    except LabkitError as error:
        return Item(f"#{index}", None, error=str(error))
