"""Break a worker in the middle of a task, wait until the others have saved it, bring it back."""

import random
import threading
import time

from labkit.cluster.cluster import Cluster
from labkit.demo.narrator import Narrator
from labkit.errors import LabkitError
from labkit.queue import keys

PATIENCE_S = 30.0  # the lesson's bound on recovery
_REST_S = 0.5  # the others alone, long enough to be seen in the plot


class Director:
    """Plays one fault in a thread, so that work goes on meanwhile."""

    def __init__(self, cluster: Cluster, narrator: Narrator, fault: str, seed: int) -> None:
        self._cluster, self._narrator, self._fault = cluster, narrator, fault
        self.victim = random.Random(seed).choice(cluster.workers())
        self.error: LabkitError | None = None
        self._thread = threading.Thread(target=self._play, name="labkit-director", daemon=True)

    def start(self) -> None:
        """Begin, unless the fault is "none"."""
        if self._fault != "none" and not self._thread.ident:
            self._thread.start()

    @property
    def over(self) -> bool:
        """Whether the worker is back, or never will be."""
        return self._fault == "none" or (bool(self._thread.ident) and not self._thread.is_alive())

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the play."""
        if self._thread.ident:
            self._thread.join(timeout_s)

    def _play(self) -> None:
        try:
            self._await_task()
            if self._fault == "kill":
                self._cluster.kill(self.victim)
            else:
                self._cluster.pause(self.victim)
            saved = self._narrator.wait_for("requeued", 1, PATIENCE_S)
            if saved:
                self._narrator.wait_for("redone", 1, PATIENCE_S)
            time.sleep(_REST_S)
            self._narrator.came_back(self.victim)
            if self._fault == "kill":
                self._cluster.restart(self.victim)
                self._cluster.wait_ready(self.victim, timeout_s=PATIENCE_S)
            else:
                self._cluster.resume(self.victim)
            self._narrator.wait_at_work(self.victim, PATIENCE_S)
        except LabkitError as error:
            self.error = error

    def _await_task(self) -> None:
        """Until the victim has just taken a task, so that the fault falls into the middle of it."""
        held = keys.held(self.victim)
        before = self._cluster.client.zrange(held, 0, 0)
        deadline_s = time.monotonic() + 5
        while time.monotonic() < deadline_s:
            now = self._cluster.client.zrange(held, 0, 0)
            if now and now != before:
                return
            time.sleep(0.001)
