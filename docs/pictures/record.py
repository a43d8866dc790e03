"""Record the demo for the two READMEs: what the terminal shows, and the timeline that it draws.

    .venv/bin/python docs/pictures/record.py

Writes demo.svg and timeline.png, demo.es.svg and timeline.es.png, and nothing when a promise broke.
"""

import contextlib
import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from labkit.demo.show import Options, run
from labkit.i18n import use_language

HERE = Path(__file__).resolve().parent
WIDTH = 96  # columns


def main() -> int:
    """Record once a language. Returns 1 if a promise broke."""
    for language, ending in (("en", ""), ("es", ".es")):
        use_language(language)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
            verdict = run(Options(backend="local", seed=1), console)
            if verdict.broken:
                return 1
            picture = console.export_svg(title="make demo", unique_id=f"demo-{language}")
            # Without the fonts that it would fetch: an image may not, and monospace will do.
            picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
            (HERE / f"demo{ending}.svg").write_text(picture, encoding="utf-8")
            shutil.copy("runs/latest/plots/timeline.png", HERE / f"timeline{ending}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
