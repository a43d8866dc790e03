"""Every message has its Spanish, and says the same in both languages.

``python labkit/locale/update.py`` mends what fails here, but for the translating.
"""

import gettext
import importlib.util
import io
import string
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from labkit import i18n
from labkit.demo.narrator import Narrator
from labkit.errors import NoSuchWorker, QueueFull
from labkit.i18n import _, language, use_language
from labkit.measure import figures
from labkit.measure.events import Event

UPDATE = Path(i18n.__file__).parent / "locale" / "update.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("locale_update", UPDATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _texts(message: str | tuple[str, ...]) -> tuple[str, ...]:
    return (message,) if isinstance(message, str) else message


update = _load()
KNOWN = [message for message in update.catalogue() if message.id]
PAIRS = [pair for m in KNOWN for pair in zip(_texts(m.id), update.spanish(m), strict=True)]


@pytest.fixture(autouse=True)
def language_put_back() -> Iterator[None]:
    yield
    use_language(None)


def test_every_message_has_its_spanish_and_none_is_left_over():
    said, known = update.messages(), {message.id for message in KNOWN}
    assert len(said) > 200, "the extraction found next to nothing"
    assert said - known == set(), "run labkit/locale/update.py and translate these"
    assert known - said == set(), "run labkit/locale/update.py: nobody says these now"
    assert [text for text, spanish in PAIRS if not spanish.strip()] == []


def test_no_translation_is_fuzzy():
    assert [m.id for m in update.catalogue() if m.fuzzy] == []


def test_both_languages_have_the_same_values_in_them():
    assert [text for text, spanish in PAIRS if _fields(spanish) != _fields(text)] == []


def test_the_compiled_catalogue_is_fresh():
    fresh = gettext.GNUTranslations(io.BytesIO(update.compiled(update.catalogue())))
    with update.MO.open("rb") as file:
        shown = gettext.GNUTranslations(file)
    assert shown._catalog | {"": ""} == fresh._catalog | {"": ""}, "run labkit/locale/update.py"


def test_an_error_is_said_in_the_readers_language():
    use_language("es")
    assert str(NoSuchWorker("w9", [])) == (
        "Aquí no hay ningún worker llamado 'w9'.\n"
        "Los workers son: ninguno.\n"
        "Usa uno de ellos, o arranca más con scale()."
    )
    use_language("en")
    assert QueueFull(7, 5).what == "The queue is full: 7 tasks are waiting."


def test_a_figure_has_its_sentence_in_the_readers_language():
    use_language("es")
    assert figures.timeline([]).sentence == (
        "Nadie tomó ninguna tarea, así que no hay cronología que dibujar."
    )
    use_language("en")
    assert figures.timeline([]).sentence == (
        "No task was claimed, so there is no timeline to draw."
    )


def test_the_demo_tells_its_story_in_the_readers_language(monkeypatch):
    monkeypatch.setattr("labkit.demo.narrator.connect", lambda url: _NothingHappens())
    narrator = Narrator("redis://nobody", Console(file=io.StringIO()))
    try:
        killed = Event("1-0", 0.001, "fault", {"worker": "worker-2", "fault": "kill"})
        use_language("es")
        assert narrator._line(killed).endswith("worker-2 muere (SIGKILL)")
        use_language("en")
        assert narrator._line(killed).endswith("worker-2 is killed (SIGKILL)")
    finally:
        narrator.close()


def test_the_faults_of_the_demo_have_words():
    use_language("es")
    assert [_(fault) for fault in ("kill", "pause", "none")] == ["kill", "pausa", "ninguno"]


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({}, "en"),
        ({"LANG": "es_ES.UTF-8"}, "es"),
        ({"LANG": "es_AR.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LABKIT_LANG": "es"}, "es"),
        ({"LANG": "es_ES.UTF-8", "LABKIT_LANG": "EN"}, "en"),
    ],
)
def test_the_language_is_the_chosen_one_else_the_machines(environment, code):
    assert language(environment) == code


def test_a_language_without_a_catalogue_is_refused():
    with pytest.raises(ValueError, match="en, es"):
        use_language("fr")


class _NothingHappens:
    """A Redis whose stream is empty."""

    def xrevrange(self, *_args, **_options):
        return []

    def xread(self, *_args, **_options):
        return []

    def close(self):
        pass


def _fields(text: str) -> list[tuple[str | None, str | None]]:
    """Names and conversions of what is put in; the format may differ, the values may not."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError:  # braces that are only text, such as an example in JSON
        return []
    return sorted((name, conversion or "") for _text, name, _spec, conversion in parsed if name)
