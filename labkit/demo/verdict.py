"""Judge a run, from its events and from what came out."""

from dataclasses import asdict, dataclass

from labkit.i18n import _
from labkit.measure import recovery, timings
from labkit.measure.events import Event

REQUEUE_S = {"kill": 1.5, "pause": 8.0}  # kill: the death is seen; pause: the lease must run out
RECOVERY_S = 30.0
SHARE_POINTS = 10.0  # of the fair share, among those that were up, before the fault
_ENOUGH_TASKS = 60


@dataclass(frozen=True, slots=True)
class Verdict:
    """The figures of a run, as they go into the JSON file. Times in seconds; None: did not occur.

    Attributes:
        share: fraction of the tasks done, by worker, over the whole run.
        share_before: the same before the fault, which is what is judged.
        kill_to_requeue_s: from the fault to its task being back in the queue.
        kill_to_redone_s: from the fault to its task being done by another worker.
        restart_to_first_task_s: from the restart (or the waking) to the first task it did.
        wrong: results that differ from those of a single process.
        broken: the promises that were broken, in words; empty if all held.
        verdict: "ok" or "broken".
    """

    backend: str
    redis_version: str
    workers: int
    filters: list[str]
    fault: str
    tasks: int
    done: int
    lost: int
    dead: int
    wrong: int
    duplicate_effects: int
    redeliveries: int
    fenced: int
    share: dict[str, float]
    share_before: dict[str, float]
    kill_to_requeue_s: float | None
    kill_to_redone_s: float | None
    restart_to_first_task_s: float | None
    images_per_s: float
    ready_s: float
    peak_rss_mb: float
    seed: int
    broken: list[str]
    verdict: str

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def judge(
    events: list[Event],
    *,
    names: list[str],
    backend: str,
    redis_version: str,
    filters: list[str],
    fault: str,
    returned: int,
    wrong: int,
    failed: int,
    ready_s: float,
    peak_rss_mb: float,
    seed: int,
) -> Verdict:
    """Put the figures together and say which promise broke.

    Args:
        events: of the run.
        names: the workers.
        backend: "local" or "docker".
        redis_version: what served.
        filters: what was applied.
        fault: "kill", "pause" or "none".
        returned: results that the client got.
        wrong: how many of them differ from a single process's.
        failed: how many of them were failures.
        ready_s: from the start to all workers ready.
        peak_rss_mb: the most memory that one worker used.
        seed: of the choices.
    """
    bill = recovery.totals(events)
    found = [r for r in recovery.recoveries(events) if r.fault == fault]
    hit = found[0] if found else None
    ids = timings.enqueued_ids(events)
    before = _shares(events, names, hit.at_s if hit else float("inf"))
    back_s = _restart_to_first_task(events, hit.worker) if hit else None
    broken = []
    if bill.lost or returned != len(ids):
        missing = max(len(bill.lost), len(ids) - returned)
        broken.append(_("{n} tasks were lost").format(n=missing))
    if bill.dead or failed:
        broken.append(_("{n} tasks failed").format(n=max(bill.dead, failed)))
    if bill.duplicate_effects:
        broken.append(_("{n} effects happened twice").format(n=bill.duplicate_effects))
    if wrong:
        broken.append(_("{n} results differ from those of one process").format(n=wrong))
    if sum(count for _name, count in before.values()) >= _ENOUGH_TASKS:
        fair = 1 / len(names)
        for name, (share, _count) in before.items():
            if abs(share - fair) * 100 > SHARE_POINTS:
                broken.append(
                    _("{worker} took {share:.0f} % of the tasks, not about {fair:.0f} %").format(
                        worker=name, share=share * 100, fair=fair * 100
                    )
                )
    if fault != "none":
        broken += _late(fault, hit, back_s)
    return Verdict(
        backend=backend,
        redis_version=redis_version,
        workers=len(names),
        filters=filters,
        fault=fault,
        tasks=len(ids),
        done=len(ids) - len(bill.lost) - bill.dead,
        lost=len(bill.lost),
        dead=bill.dead,
        wrong=wrong,
        duplicate_effects=bill.duplicate_effects,
        redeliveries=bill.redeliveries,
        fenced=bill.fenced,
        share={name: share for name, (share, _n) in _shares(events, names, float("inf")).items()},
        share_before={name: share for name, (share, _n) in before.items()},
        kill_to_requeue_s=hit.requeued_s if hit else None,
        kill_to_redone_s=hit.redone_s if hit else None,
        restart_to_first_task_s=back_s,
        images_per_s=round(timings.images_per_s(events), 2),
        ready_s=round(ready_s, 2),
        peak_rss_mb=round(peak_rss_mb, 1),
        seed=seed,
        broken=broken,
        verdict="broken" if broken else "ok",
    )


def _shares(events: list[Event], names: list[str], until_s: float) -> dict[str, tuple[float, int]]:
    found = {share.worker: share for share in timings.shares(events, end_s=until_s)}
    return {
        name: (round(found[name].fraction, 4), found[name].done) if name in found else (0.0, 0)
        for name in names
    }


def _restart_to_first_task(events: list[Event], worker: str) -> float | None:
    mends = ("restart", "resume")
    restarts = [e for e in events if e.worker == worker and e.fields.get("fault") in mends]
    if not restarts:
        return None
    at_s = restarts[0].at_s
    done = [e.at_s for e in events if e.kind == "done" and e.worker == worker and e.at_s > at_s]
    return round(done[0] - at_s, 3) if done else None


def _late(fault: str, hit: recovery.Recovery | None, back_s: float | None) -> list[str]:
    if hit is None:
        return [_("the fault was not injected")]
    late = []
    if hit.requeued_s is not None and hit.requeued_s > REQUEUE_S[fault]:
        late.append(
            _("the task was back in the queue only after {s:.1f} s, not {limit:g} s").format(
                s=hit.requeued_s, limit=REQUEUE_S[fault]
            )
        )
    if not hit.settled or (hit.redone_s or 0) > RECOVERY_S:
        late.append(_("the task was not done again within {limit:g} s").format(limit=RECOVERY_S))
    if back_s is None or back_s > RECOVERY_S:
        late.append(
            _("{worker} did not work again within {limit:g} s").format(
                worker=hit.worker, limit=RECOVERY_S
            )
        )
    return late
