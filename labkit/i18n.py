"""Every message in the reader's language: English in the source, Spanish in the catalogue.

The language is ``LABKIT_LANG`` if set, else the locale's. Messages are looked up when they are
shown, so a notebook can change the language with :func:`use_language` at any time.
"""

import gettext
import os
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "es")
LOCALE_DIR = Path(__file__).parent / "locale"
_chosen: str | None = None


def language(environ: dict[str, str] | None = None) -> str:
    """The language in use: "en" or "es"."""
    if _chosen is not None:
        return _chosen
    env = os.environ if environ is None else environ
    for name in ("LABKIT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = env.get(name, "")
        if value:
            return "es" if value.lower().startswith("es") else "en"
    return "en"


def use_language(code: str | None) -> None:
    """Choose the language for this process; None goes back to the environment's.

    Raises:
        ValueError: the language has no catalogue.
    """
    global _chosen
    if code is not None and code not in LANGUAGES:
        raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, not {code!r}")
    _chosen = code


@cache
def _catalogue(code: str) -> gettext.NullTranslations:
    return gettext.translation("labkit", LOCALE_DIR, languages=[code], fallback=True)


def _(message: str) -> str:
    """Translate a message (or a template to be formatted afterwards)."""
    return _catalogue(language()).gettext(message)
