"""The demo itself: start, work, break, mend, judge, keep the evidence."""

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from labkit import batch
from labkit.cluster.cluster import Cluster
from labkit.cluster.local_cluster import LocalCluster
from labkit.cluster.redis_server import server_version
from labkit.demo import photos, table
from labkit.demo.director import PATIENCE_S, Director
from labkit.demo.narrator import Narrator
from labkit.demo.verdict import Verdict, judge
from labkit.errors import DockerUnavailable, LabkitError, SettingInvalid
from labkit.filters import decode, encode, validate
from labkit.i18n import _
from labkit.measure import events, figures
from labkit.settings import Settings

_TASKS = 600  # long enough to watch
_FAULT_AFTER = 0.3  # of the tasks


@dataclass(frozen=True, slots=True)
class Options:
    """What to show.

    Attributes:
        backend: "auto" (containers if Docker and its images are here), "local" or "docker".
        workers: how many.
        images: a folder of photographs; None for scikit-image's.
        tasks: how many; None for 600, or one for each image if there are more.
        filters: applied in order.
        fault: "kill", "pause" or "none".
        seed: of the choice of the victim.
        redis_url: a server to use instead of one of our own.
        json_file: where to write the figures as well.
        plots: folder for the plots; None for the run's own.
        runs: where each run leaves its evidence in a folder, with a link ``latest``.
    """

    backend: str = "auto"
    workers: int = 3
    images: Path | None = None
    tasks: int | None = None
    filters: tuple[str, ...] = ("sharpen", "edges")
    fault: str = "kill"
    seed: int = 0
    redis_url: str | None = None
    json_file: Path | None = None
    plots: Path | None = None
    runs: Path = Path("runs")


def run(options: Options, console: Console) -> Verdict:
    """Run the demo. Nothing of it is left running afterwards, however it ends.

    Raises:
        SettingInvalid: an option makes no sense.
        LabkitError: no Docker, no Redis, workers that do not start.
    """
    if options.workers < 2 and options.fault != "none":
        raise SettingInvalid("--workers", options.workers, _("2 or more, to lose one of them"))
    if options.tasks is not None and options.tasks < 1:
        raise SettingInvalid("--tasks", options.tasks, _("1 or more"))
    validate(options.filters, {})
    pictures = photos.load(options.images)
    count = options.tasks or max(_TASKS, len(pictures))
    folder = _new_folder(options.runs)
    start_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(_cluster(options, console))
        redis_version = server_version(cluster.redis_url)
        table.opening(console, cluster.backend, redis_version, options, count, len(pictures))
        narrator = Narrator(cluster.redis_url, console)
        stack.callback(narrator.close)
        since = narrator.began
        cluster.wait_ready()
        ready_s = time.monotonic() - start_s
        names = cluster.workers()
        meter = stack.enter_context(_Meter(cluster))
        director = Director(cluster, narrator, options.fault, options.seed)
        outcome = _work(cluster, pictures, count, options, director, folder / "images", console)
        director.join(timeout_s=2 * PATIENCE_S)
        if director.error:
            raise director.error
        time.sleep(0.1)  # a last event may be on its way
        history = list(events.read(cluster.client, since))
    verdict = judge(
        history,
        names=names,
        backend=cluster.backend,
        redis_version=redis_version,
        filters=list(options.filters),
        fault=options.fault,
        returned=outcome.returned,
        wrong=outcome.wrong,
        failed=outcome.failed,
        ready_s=ready_s,
        peak_rss_mb=meter.peak_mb,
        seed=options.seed,
    )
    sentences = _keep(history, verdict, folder, options)
    table.closing(console, verdict, sentences, folder, options.plots or folder / "plots")
    return verdict


@dataclass(slots=True)
class _Outcome:
    returned: int = 0
    wrong: int = 0
    failed: int = 0


def _work(
    cluster: Cluster,
    pictures: list[photos.Photo],
    count: int,
    options: Options,
    director: Director,
    folder: Path,
    console: Console,
) -> _Outcome:
    outcome = _Outcome()
    folder.mkdir(parents=True)
    expected = {picture.name: _by_one_process(picture, options) for picture in pictures}
    saved: set[str] = set()
    with Progress(
        TextColumn("[dim]" + _("photographs") + "[/]"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task("", total=count)
        for result in _all_results(cluster, pictures, count, options, director):
            outcome.returned += 1
            picture = pictures[result.index % len(pictures)]
            if not result.ok:
                outcome.failed += 1
            elif result.data != expected[picture.name]:
                outcome.wrong += 1
            elif picture.name not in saved:
                saved.add(picture.name)
                (folder / f"{picture.name}.jpg").write_bytes(result.data)
            progress.update(bar, completed=min(outcome.returned, count))
            if outcome.returned >= _FAULT_AFTER * count:
                director.start()
    return outcome


def _all_results(
    cluster: Cluster,
    pictures: list[photos.Photo],
    count: int,
    options: Options,
    director: Director,
) -> Iterator[batch.Result]:
    def sources() -> Iterator[bytes]:
        n, deadline_s = 0, float("inf")
        while n < count or not (director.over or time.monotonic() > deadline_s):
            yield pictures[n % len(pictures)].data
            n += 1
            if n == count:  # so many were asked for; but the others must not idle meanwhile
                deadline_s = time.monotonic() + 2 * PATIENCE_S

    return batch.process(cluster.queue, sources(), options.filters)


def _by_one_process(picture: photos.Photo, options: Options) -> bytes:
    """What the result must be, to the byte; b"" where the image itself is at fault."""
    try:
        image = decode(picture.data, max_bytes=1 << 30, max_pixels=1 << 30)
        return encode(validate(options.filters, {})(image), "jpg")
    except LabkitError:
        return b""


def _cluster(options: Options, console: Console) -> Cluster:
    settings = Settings.from_env()
    if options.backend == "local":
        return LocalCluster(options.workers, redis_url=options.redis_url, settings=settings)
    from labkit.cluster.docker_cluster import DockerCluster

    try:
        return DockerCluster(options.workers, redis_url=options.redis_url, settings=settings)
    except LabkitError as error:
        if options.backend == "docker":
            raise
        why = _("Docker does not answer") if isinstance(error, DockerUnavailable) else error.what
        console.print("[dim]" + _("On processes: {why}").format(why=why) + "[/]")
        return LocalCluster(options.workers, redis_url=options.redis_url, settings=settings)


class _Meter:
    """Watches how much memory the workers use."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="labkit-meter", daemon=True)
        self.peak_mb = 0.0

    def __enter__(self) -> "_Meter":
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            for worker in self._cluster.workers():
                self.peak_mb = max(self.peak_mb, self._cluster.memory_mb(worker))


def _new_folder(runs: Path) -> Path:
    """A folder for this run, and ``latest`` to point to it."""
    name = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = runs / name
    number = 2
    while folder.exists():
        folder, number = runs / f"{name}-{number}", number + 1
    folder.mkdir(parents=True)
    latest = runs / "latest"
    with contextlib.suppress(OSError):  # a file system without links
        latest.unlink(missing_ok=True)
        latest.symlink_to(folder.name)
    return folder


def _keep(
    history: list[events.Event], verdict: Verdict, folder: Path, options: Options
) -> list[str]:
    """Write figures, plots and events; return the sentences under the plots."""
    text = json.dumps(verdict.as_dict(), indent=2, ensure_ascii=False) + "\n"
    (folder / "verdict.json").write_text(text, encoding="utf-8")
    if options.json_file:
        options.json_file.parent.mkdir(parents=True, exist_ok=True)
        options.json_file.write_text(text, encoding="utf-8")
    with (folder / "events.jsonl").open("w", encoding="utf-8") as lines:
        for event in history:
            lines.write(json.dumps(dataclasses.asdict(event), ensure_ascii=False) + "\n")
    plots = options.plots or folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    sentences = []
    for name in ("timeline", "throughput", "shares", "latency", "scorecard"):
        figure = getattr(figures, name)(history)
        figure.save(plots / f"{name}.png")
        sentences.append(figure.sentence)
    return sentences
