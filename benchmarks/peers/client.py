"""``python -m peers.client NAME noop|images COUNT``: the client of one peer; prints seconds."""

import importlib
import json
import os
import sys
import time
from pathlib import Path

from peers import common


def main(name: str, what: str, count: int) -> None:
    peer = importlib.import_module(f"peers.{name}_peer")
    ready = Path(os.environ["READY"])
    deadline_s = time.monotonic() + 60
    while len(list(ready.iterdir())) < 3:
        assert time.monotonic() < deadline_s, "its workers did not start"
        peer.greet(6)
    if what == "noop":
        peer.noops(60)
        start_s = time.perf_counter()
        peer.noops(count)
        taken_s = time.perf_counter() - start_s
    else:
        photos = [path.read_bytes() for path in sorted(ready.parent.glob("*.jpg"))]
        inputs = [photos[n % len(photos)] for n in range(count)]
        expected = {data: common.filter_image(data) for data in set(inputs)}
        peer.images(inputs[:30])
        start_s = time.perf_counter()
        results = peer.images(inputs)
        taken_s = time.perf_counter() - start_s
        assert [expected[data] for data in inputs] == results, "an image differs"
    print(json.dumps({"seconds": taken_s}), flush=True)
    os._exit(0)  # some leave threads behind


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
