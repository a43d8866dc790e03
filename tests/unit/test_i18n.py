"""Which language is spoken."""

import pytest

from labkit.i18n import _, language, use_language


@pytest.fixture(autouse=True)
def _as_before():
    use_language(None)
    yield
    use_language(None)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "es_ES.UTF-8"}, "es"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "es_ES.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LABKIT_LANG": "es"}, "es"),
        ({"LABKIT_LANG": "ES", "LC_ALL": "en"}, "es"),
        ({"LABKIT_LANG": "", "LANG": "es"}, "es"),
    ],
)
def test_labkit_lang_comes_before_the_locale_and_english_is_the_default(environment, expected):
    assert language(environment) == expected


def test_a_choice_comes_before_the_environment_and_can_be_undone():
    use_language("es")
    assert language({"LABKIT_LANG": "en"}) == "es"
    use_language(None)
    assert language({"LABKIT_LANG": "en"}) == "en"


def test_a_language_without_a_catalogue_is_refused():
    with pytest.raises(ValueError, match="'fr'"):
        use_language("fr")


def test_what_has_no_translation_stays_as_it_is():
    use_language("es")
    assert _("No catalogue has this sentence.") == "No catalogue has this sentence."
