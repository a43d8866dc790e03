"""``python -m peers.worker NAME``: one worker of a peer."""

import importlib
import sys

importlib.import_module(f"peers.{sys.argv[1]}_peer").work()
