"""Settings: read from the environment, and refused with a sentence when they make no sense."""

from dataclasses import fields, replace

import pytest

from labkit.errors import SettingInvalid
from labkit.settings import Settings


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_env({}) == Settings()


def test_each_field_can_be_set_and_is_handed_on_to_another_process():
    changed = {f.name: f.default * 2 for f in fields(Settings)}
    other = Settings(**changed)
    assert Settings.from_env(other.to_env()) == other
    assert Settings.from_env({"LABKIT_LEASE_S": "10", "HOME": "/"}).lease_s == 10.0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LABKIT_LEASE_S", "soon", "a number"),
        ("LABKIT_MAX_CRASHES", "2.5", "a whole number"),
        ("LABKIT_BEAT_S", "0", "greater than 0"),
        ("LABKIT_MAX_BACKLOG", "-1", "greater than 0"),
        ("LABKIT_LEASE_S", "1", "at least three beats"),
    ],
)
def test_a_value_that_makes_no_sense_is_named_with_what_was_expected(name, value, expected):
    with pytest.raises(SettingInvalid) as caught:
        Settings.from_env({name: value})
    assert name in str(caught.value)
    assert expected in str(caught.value)
    assert value in str(caught.value)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_what_is_a_float_but_no_length_of_time_is_refused(text):
    with pytest.raises(SettingInvalid):
        Settings.from_env({"LABKIT_TASK_TIMEOUT_S": text})


def test_settings_cannot_be_changed_behind_anybodys_back():
    with pytest.raises(AttributeError):
        Settings().lease_s = 1.0
    assert replace(Settings(), grace_s=1.0).grace_s == 1.0


def test_an_empty_variable_is_as_good_as_none() -> None:
    """A compose file cannot leave a variable out; it can leave it empty."""
    assert Settings.from_env({"LABKIT_MAX_CRASHES": ""}) == Settings()
