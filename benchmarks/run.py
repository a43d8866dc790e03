"""``make bench``: measure everything, print one table, write benchmarks/latest.json.

A part of it, or a quick look, is written to runs/bench.json instead.

Options: ``--only noop,images`` for some parts, ``--quick`` for a look, ``--peers`` to install the
other queues first, ``--no-peers`` to leave them out, ``--redis PATH`` for another server.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pictures
import recovery
import sides
import speed

from labkit.cluster.redis_server import RedisServer

Figures = dict[str, list[float]]
LATEST = sides.HERE / "latest.json"
PARTIAL = sides.ROOT / "runs" / "bench.json"
PERCENT_OFF = 3.0
SLOWED_OFF = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; ``met`` is None where nothing was promised."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


def noop(options: Any) -> tuple[list[Row], Any]:
    found = speed.noop(options)
    floor = _mid(found["R"])
    rows = [Row("no-op tasks, end to end: R, the naive floor", f"{floor:,.0f}/s")]
    goals = {"labkit, one by one": 1.3, "labkit": 6.0}
    for side, rates in found.items():
        if side != "R":
            rows.append(_ratio(f"  {side}", _mid(rates), "/s", floor, "R", goals.get(side)))
    if options.peers:
        best = max(options.peers, key=lambda name: _mid(found[name]))
        ours = _mid(found["labkit"])
        rows.append(
            _ratio("  labkit against the fastest peer", ours, "/s", _mid(found[best]), best, 15)
        )
    return rows, found


def submit(options: Any) -> tuple[list[Row], Any]:
    found = speed.submit(options)
    floor = _mid(found["R"])
    return [
        Row("submit, 500 a call, nobody takes them: R", f"{floor:,.0f}/s"),
        _ratio("  labkit", _mid(found["labkit"]), "/s", floor, "R", 1.6),
    ], found


def roundtrip(options: Any) -> tuple[list[Row], Any]:
    found = speed.round_trip(options)
    floor = _mid(found["R"])
    rows = []
    for way, taken_s in found.items():
        text = f"p50 {_mid(taken_s) * 1e3:.2f} ms, p99 {_at(taken_s, 0.99) * 1e3:.2f}"
        if way == "R":
            rows.append(Row("one task at a time, until the client knows: R", text))
        else:
            ratio = _mid(taken_s) / floor
            rows.append(Row(f"  {way}", f"{text} = {ratio:.2f} R", "<= 1.5 R", ratio <= 1.5))
    return rows, found


def images(options: Any) -> tuple[list[Row], Any]:
    found, memory_mb = pictures.images(options)
    ceiling = max((name for name in found if "ceiling" in name), key=lambda name: _mid(found[name]))
    best = _mid(found[ceiling])
    rows = [Row(f"images 1280x720: {ceiling}, no queue", f"{best:.1f}/s")]
    for side, rates in found.items():
        if "ceiling" not in side:
            goal = 0.88 if side == "labkit" else None
            rows.append(_ratio(f"  {side}", _mid(rates), "/s", best, "ceiling", goal))
    if options.peers:
        peer = max(options.peers, key=lambda name: _mid(found[name]))
        ours = _mid(found["labkit"])
        rows.append(
            _ratio("  labkit against the best peer", ours, "/s", _mid(found[peer]), peer, 1.3)
        )
    each = _mid(memory_mb)
    rows.append(
        Row("memory of a worker after images (PSS)", f"{each:.1f} MB", "<= 65 MB", each <= 65)
    )
    return rows, found | {"memory_mb": memory_mb}


def claims(options: Any) -> tuple[list[Row], Any]:
    found = speed.claim_cost(options)
    rows = []
    for size in (1, 32):
        for figure, goal in (("round trip", 1.2), ("script", 0.0), ("plain HGET", 0.0)):
            if figure == "plain HGET" and size == 1:
                continue
            costs = {backlog: _mid(us) for backlog, us in found[size][figure].items()}
            ratio = costs[max(costs)] / costs[min(costs)]
            text = ", ".join(f"{cost:.1f}" for cost in costs.values()) + f" us = x{ratio:.2f}"
            met = ratio <= goal if goal else None
            what = f"claim of {size}, {figure}" if figure != "plain HGET" else "  (a plain HGET)"
            rows.append(
                Row(
                    f"{what}, backlog {min(costs):,} to {max(costs):,}",
                    text,
                    "<= x1.2" if goal else "",
                    met,
                )
            )
    each = found["bytes"]
    rows.append(
        Row("Redis per waiting task, beyond its body", f"{each:.0f} bytes", "<= 400", each <= 400)
    )
    return rows, found


def faults(options: Any) -> tuple[list[Row], Any]:
    found: Figures = {**recovery.kills(options), "freeze": recovery.freezes(options)}
    rows = []
    for fault, goal_s in (("kill", 1.5), ("freeze", 8.0)):
        taken_s = found[fault]
        p99 = _at(taken_s, 0.99)
        text = f"p50 {_mid(taken_s):.3f} s, p99 {p99:.3f}, max {max(taken_s):.3f}"
        what = f"{fault} to requeued, {len(taken_s)} times"
        rows.append(Row(what, text, f"p99 <= {goal_s} s", p99 <= goal_s))
    return rows, found


def starts(options: Any) -> tuple[list[Row], Any]:
    found = recovery.starts(options)
    rows = []
    for what, name in (
        ("three workers ready", "ready"),
        ("restart to first task done", "first task"),
    ):
        value = _mid(found[name])
        text = f"{value:.2f} s, max {max(found[name]):.2f}"
        rows.append(Row(what, text, "<= 3 s", value <= 3))
    return rows, found


def shares(options: Any) -> tuple[list[Row], Any]:
    found = recovery.shares(options)
    rows = []
    for name, what in (("equal", "naps"), ("images", "images")):
        off = max(abs(part - 100 / 3) for run in found[name] for part in run)
        text = f"33.3 +- {off:.1f} points, {len(found[name])} runs"
        rows.append(
            Row(f"share of three equal workers, 300 {what}", text, "+- 3", off <= PERCENT_OFF)
        )
    slowed = [run[0] for run in found["slowed"]]
    text = f"{_mid(slowed):.1f} %, from {min(slowed):.1f} to {max(slowed):.1f}"
    near = all(abs(part - 20) <= SLOWED_OFF for part in slowed)
    rows.append(Row("share of one of two, slowed to a quarter", text, "20 % +- 5", near))
    return rows, found


PARTS: dict[str, Callable[[Any], tuple[list[Row], Any]]] = {
    part.__name__: part
    for part in (noop, submit, roundtrip, images, claims, faults, starts, shares)
}


def main() -> int:
    options = _options()
    if options.with_peers and not sides.PEERS_PYTHON.exists():
        _install_peers()
    options.peers = () if options.no_peers or not sides.PEERS_PYTHON.exists() else options.peers
    machine = _machine(options.redis)
    print(" | ".join(f"{name}: {value}" for name, value in machine.items()), flush=True)
    if not options.peers and not options.no_peers:
        print("Without the other queues: --peers installs them.")
    results: dict[str, Any] = {
        "machine": machine,
        "options": _plain(options),
        "rows": [],
        "raw": {},
    }
    for name in options.only:
        start_s = time.monotonic()
        rows, raw = PARTS[name](options)
        for row in rows:
            mark = {True: "met", False: "MISSED", None: ""}[row.met]
            print(f"{row.what:52} {row.value:58} {row.target:14} {mark}", flush=True)
        print(f"{'':52} ({name}: {time.monotonic() - start_s:.0f} s)", flush=True)
        results["rows"] += [asdict(row) for row in rows]
        results["raw"][name] = raw
    results["machine"]["load_after"] = os.getloadavg()[0]
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=_parts, help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="small figures, to see that it works")
    parser.add_argument("--peers", dest="with_peers", action="store_true", help="install them")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--redis", help="path of a redis-server; default: the embedded one")
    parser.add_argument("--output", type=Path, help="where to write JSON")
    parser.add_argument("--repeats", type=int, help="rounds of each comparison")
    given = parser.parse_args()
    quick = given.quick
    given.output = given.output or (PARTIAL if quick or given.only else LATEST)
    given.only = given.only or list(PARTS)
    given.peers = sides.PEERS
    given.repeats = given.repeats or (1 if quick else 5)
    given.tasks = 3_000 if quick else 30_000
    given.peer_tasks = 200 if quick else 2_000
    given.submits = 5_000 if quick else 50_000
    given.blocks, given.block = (2, 50) if quick else (10, 200)
    given.images = 84 if quick else 630
    given.backlogs = (100, 1_000, 10_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    given.claim_rounds = 3 if quick else 30
    given.kills = 5 if quick else 50
    given.freezes_at_once, given.freeze_rounds = (2, 1) if quick else (10, 2)
    given.share_runs = 1 if quick else 5
    return given


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := sorted(set(names) - set(PARTS)):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)}")
    return names


def _plain(options: Any) -> dict[str, Any]:
    return {k: v for k, v in vars(options).items() if k not in ("redis", "output", "with_peers")}


def _machine(binary: str | None) -> dict[str, Any]:
    with RedisServer(binary=binary) as server:
        version = server.version()
    return {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "redis": version,
        "load_before": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }


def _install_peers() -> None:
    print("Installing the other queues into benchmarks/.peers", flush=True)
    python = sides.PEERS_PYTHON
    subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
    lock = sides.ROOT / "requirements" / "peers.txt"
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", lock]
    subprocess.run(pip, check=True)


def _ratio(what: str, value: float, unit: str, other: float, name: str, goal: float | None) -> Row:
    shown = f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"
    ratio = value / other
    target = f">= {goal:g} {name}" if goal else ""
    return Row(what, f"{shown}{unit} = {ratio:.2f} {name}", target, ratio >= goal if goal else None)


def _mid(values: list[float]) -> float:
    return statistics.median(values)


def _at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    sys.exit(main())
