"""``python -m labkit.worker``: run one worker.

Reads REDIS_URL, WORKER_ID (default: host and process number) and the LABKIT_* settings.
``--health`` asks instead whether the worker of this container beat lately; it reads the file that
LABKIT_BEAT_FILE names, so that it costs next to nothing.
"""

import logging
import os
import socket
import sys
import time
from pathlib import Path

from labkit.settings import DEFAULT_REDIS_URL, Settings


def main() -> int:
    """Run a worker, or check one. Returns the exit status."""
    beat_file = os.environ.get("LABKIT_BEAT_FILE", "")
    settings = Settings.from_env()
    if "--health" in sys.argv[1:]:
        return 0 if _beat_lately(Path(beat_file), settings) else 1
    from labkit.connection import connect
    from labkit.queue import TaskQueue
    from labkit.worker.supervisor import Supervisor

    logging.basicConfig(
        level=os.environ.get("LABKIT_LOG", "INFO"), format="%(asctime)s %(levelname)s %(message)s"
    )
    url = os.environ.get("REDIS_URL", DEFAULT_REDIS_URL)
    worker_id = os.environ.get("WORKER_ID") or f"{socket.gethostname()}-{os.getpid()}"
    queue = TaskQueue(connect(url), settings)
    logging.getLogger("labkit.worker").info("%s starts, Redis at %s", worker_id, queue.url)
    return Supervisor(queue, url, worker_id, settings, Path(beat_file) if beat_file else None).run()


def _beat_lately(path: Path, settings: Settings) -> bool:
    try:
        return time.monotonic() - float(path.read_text(encoding="utf-8")) < settings.lease_s
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    from labkit.errors import LabkitError

    try:
        sys.exit(main())
    except LabkitError as error:
        sys.exit(f"{type(error).__name__}: {error}")
