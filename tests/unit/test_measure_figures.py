"""The figures: drawn for any history, with a sentence that says what they show."""

import gettext
import struct
import sys
import zlib
from random import Random

import matplotlib
import pytest

from labkit import i18n
from labkit.measure import figures
from labkit.measure.events import Event

EPOCH_S = 1_700_000_000.0
ALL = ("timeline", "throughput", "shares", "latency", "scorecard")
OPS = ("sharpen", "edges", "blur+resize")


@pytest.fixture(autouse=True)
def _english():
    i18n.use_language("en")
    yield
    i18n.use_language(None)


class Story:
    """Writes events, in order of time."""

    def __init__(self) -> None:
        self.found: list[Event] = []

    def __call__(self, at_s: float, kind: str, **fields: object) -> None:
        at_s = EPOCH_S + round(at_s, 3)
        self.found.append(Event("", at_s, kind, {k: str(v) for k, v in fields.items()}))

    def events(self) -> list[Event]:
        return sorted(self.found, key=lambda event: event.at_s)


def a_kill(tasks: int = 300, task_s: float = 0.025) -> list[Event]:
    """Three workers share the tasks; worker-2 is killed at a third and restarted at two thirds."""
    write, random = Story(), Random(1)
    workers = ("worker-1", "worker-2", "worker-3")
    for worker in workers:
        write(0, "joined", worker=worker)
        write(0.2, "active", worker=worker)
    write(0.25, "enqueued", batch="b3f", count=tasks)
    killed_s, back_s = 0.3 + tasks * task_s / 9, 0.3 + tasks * task_s * 2 / 9
    write(killed_s, "fault", worker="worker-2", fault="kill")
    write(killed_s + 0.03, "died", worker="worker-2", reason="killed")
    write(back_s, "fault", worker="worker-2", fault="restart")
    write(back_s, "joined", worker="worker-2")
    write(back_s + 0.2, "active", worker="worker-2")
    free_s = dict.fromkeys(workers, 0.3)
    todo = [f"b3f:{n}" for n in range(tasks)]
    while todo:
        worker = min(free_s, key=lambda name: free_s[name])
        task, start_s = todo.pop(0), free_s[worker]
        end_s = start_s + task_s * random.uniform(0.6, 1.4)
        write(start_s, "claimed", worker=worker, tasks=task)
        if worker == "worker-2" and start_s < killed_s <= end_s:
            write(killed_s + 0.03, "requeued", task=task, worker=worker, reason="killed")
            todo.insert(6, task)  # by then the others have seen it come back
            free_s[worker] = back_s + 0.2
        else:
            write(end_s, "done", tasks=task, worker=worker, op=random.choice(OPS))
            free_s[worker] = end_s
    return write.events()


def a_pause() -> list[Event]:
    write = Story()
    for worker in ("w1", "w2"):
        write(0, "active", worker=worker)
    write(0, "enqueued", batch="b", count=40)
    write(0.1, "claimed", worker="w1", tasks="b:0 b:1")
    write(1, "fault", worker="w1", fault="pause")
    for n in range(2, 40):
        write(0.1 + n / 4, "claimed", worker="w2", tasks=f"b:{n}")
        write(0.3 + n / 4, "done", tasks=f"b:{n}", worker="w2", op="edges")
    write(7, "requeued", task="b:0", worker="w1", reason="expired")
    write(10.2, "claimed", worker="w2", tasks="b:0 b:1")
    write(10.4, "done", tasks="b:0 b:1", worker="w2", op="edges")
    write(11, "fault", worker="w1", fault="resume")
    write(11.1, "fenced", task="b:0", worker="w1")
    return write.events()


def noops() -> list[Event]:
    """Twenty workers and tasks too short for the clock."""
    write = Story()
    for n in range(20):
        write(1, "claimed", worker=f"worker-{n}", tasks=f"b:{2 * n} b:{2 * n + 1}")
        write(1, "done", worker=f"worker-{n}", tasks=f"b:{2 * n} b:{2 * n + 1}", op=f"noop{n}")
    return write.events()


def only_faults() -> list[Event]:
    write = Story()
    for n, fault in enumerate(("kill", "pause", "slow", "redis-restart", "a $trange one")):
        write(n / 100, "fault", worker="" if "redis" in fault else "w", fault=fault)
    return write.events()


def claimed_only() -> list[Event]:
    write = Story()
    write(0, "claimed", worker="w", tasks="b:0 b:1")
    return write.events()


HISTORIES = {
    "nothing": list,
    "kill": a_kill,
    "kill, cut short": lambda: a_kill()[:250],
    "pause": a_pause,
    "noops": noops,
    "only faults": only_faults,
    "claimed only": claimed_only,
    "one event": lambda: a_kill()[:1],
}


def draw(name: str, events: list[Event]) -> figures.Figure:
    return getattr(figures, name)(events)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("history", HISTORIES)
def test_any_history_gives_a_figure_and_a_sentence(name, history):
    figure = draw(name, HISTORIES[history]())
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert figure.sentence.endswith(".")
    assert "{" not in figure.sentence


@pytest.mark.parametrize("name", ALL)
def test_without_events_it_says_what_is_missing(name):
    assert draw(name, []).sentence.startswith(("No task was", "Nothing was"))


def words_in(figure: figures.Figure) -> list[str]:
    canvas = figure.figure
    texts = [*canvas.texts, *(text for axes in canvas.axes for text in axes.texts)]
    # Where the font is wide, a title takes two lines.
    return [text.get_text().replace("\N{NO-BREAK SPACE}", " ").replace("\n", " ") for text in texts]


def test_the_timeline_tells_the_finding():
    figure = figures.timeline(a_kill())
    assert figure.sentence == (
        "Timeline of 3 workers and 300 tasks: 1 run again, 0 unfinished, 0 done twice; "
        "worker-2 was killed at 1.13 s and worker-2 was restarted at 1.97 s."
    )
    said = words_in(figure)
    assert said[0] == (
        "worker-2 was killed: what was left undone was run again, and no task was lost"
    )
    assert {"✕", "↻", "worker-2 was killed, 1.13 s"} <= set(said)
    assert any(text.startswith("dead for 83") for text in said)


def test_the_timeline_of_an_unfinished_run_does_not_claim_success():
    said = words_in(figures.timeline(a_kill()[:250]))
    assert said[0].startswith("worker-2 was killed: ")
    assert said[0].endswith("not done yet")


def test_the_throughput_tells_the_levels():
    figure = figures.throughput(a_kill())
    assert words_in(figure)[0].startswith("worker-2 was killed: from ")
    assert sum(text.startswith("mean ") for text in words_in(figure)) == 3


def test_the_shares_are_numbers_too():
    figure = figures.shares(a_pause())
    assert words_in(figure)[0] == "w2 did 100 % of the tasks, w1 0 %"
    assert {"0  ·  0.0 %", "40  ·  100.0 %", "fair share 50.0 %"} <= set(words_in(figure))
    assert figure.sentence.startswith("Of 40 tasks: w1 0 (0.0 %) and w2 40 (100.0 %)")


def test_the_latency_names_its_percentiles():
    figure = figures.latency(a_pause())
    assert figure.sentence == (
        "Cumulative share of 40 tasks by the time from claim to done: "
        "p50 200 ms, p90 200 ms and p99 200 ms."
    )
    assert "enqueue" in figures.latency(a_pause(), since="enqueued").sentence


def test_the_scorecard_names_the_limit():
    figure = figures.scorecard(a_pause())
    assert "within the limit of 30 s" in words_in(figure)[0]
    assert "limit 30 s →" in words_in(figure)
    assert "late results refused 1" in " ".join(words_in(figure))
    assert "noticed 6.0 s, task back in the queue 6.0 s, claimed again 9.2 s" in figure.sentence


def text_chunks(png: bytes) -> dict[str, str]:
    found, at = {}, 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        if kind == b"tEXt":
            key, _, value = body.partition(b"\0")
            found[key.decode()] = value.decode("latin-1")
        elif kind == b"iTXt":
            key, _, rest = body.partition(b"\0")
            value = rest[2:].split(b"\0", 2)[2]
            found[key.decode()] = (zlib.decompress(value) if rest[0] else value).decode()
        at += 12 + size
    return found


def test_a_saved_figure_carries_its_sentence(tmp_path):
    figure = figures.timeline(a_kill())
    figure.save(tmp_path / "timeline.png")
    png = (tmp_path / "timeline.png").read_bytes()
    assert text_chunks(png)["Description"] == figure.sentence


def test_in_a_notebook_the_sentence_is_the_alt_text():
    figure = figures.latency([])
    assert f'alt="{figure.sentence}"' in figure._repr_html_()


def test_nothing_leaks_into_matplotlib():
    before = dict(matplotlib.rcParams)
    figures.timeline(a_kill())._repr_png_()
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()


class _Spanish(gettext.NullTranslations):
    def gettext(self, message: str) -> str:
        return {
            "{worker} was killed": "{worker} murió (señal kill) ñ",
            "{what} at {at} s": "{what} a los {at} s",
            "{most} and {last}": "{most} y {last}",
        }.get(message, message)


def test_sentences_come_in_the_readers_language(monkeypatch):
    monkeypatch.setattr(i18n, "_catalogue", lambda code: _Spanish())
    figure = figures.timeline(a_kill())
    assert "worker-2 murió (señal kill) ñ a los 1.13 s y worker-2" in figure.sentence
    assert text_chunks(figure._repr_png_())["Description"] == figure.sentence
