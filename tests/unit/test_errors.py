"""Every error says what happened, why and what to do, with the values in it, in both languages."""

import inspect

import pytest

from labkit import errors
from labkit.i18n import LANGUAGES, language, use_language

EXAMPLES = [
    (errors.SettingInvalid("LABKIT_X", "soon", "a number"), ["LABKIT_X", "'soon'", "a number"]),
    (errors.InvalidParameter("blur", "size", -1, "odd"), ["blur", "size", "-1", "odd"]),
    (errors.UnknownFilter("blurr", ["blur", "edges"]), ["'blurr'", "blur, edges"]),
    (errors.ImageRefused("It is truncated."), ["truncated"]),
    (errors.ImageExpired("abc"), ["abc"]),
    (errors.QueueFull(99, 100), ["99", "100"]),
    (errors.StoreFull("OOM at 2gb"), ["OOM at 2gb"]),
    (errors.RedisUnavailable("redis://h:1/0", "refused"), ["redis://h:1/0", "refused"]),
    (errors.WrongPassword("redis://h:1/0"), ["redis://h:1/0"]),
    (errors.LeaseLost("b:7", "worker-3"), ["b:7", "worker-3"]),
    (errors.DockerUnavailable("no socket"), ["no socket"]),
    (errors.NoSuchWorker("w9", ["w1", "w2"]), ["'w9'", "w1, w2"]),
    (errors.NotReady(["w1", "w2"], 30.0, "last line"), ["w1, w2", "30", "last line"]),
]


@pytest.fixture(autouse=True, params=LANGUAGES)
def spoken(request):
    use_language(request.param)
    yield request.param
    use_language(None)


@pytest.mark.parametrize("place", range(len(EXAMPLES)), ids=lambda n: type(EXAMPLES[n][0]).__name__)
def test_an_error_says_what_why_and_what_to_do_with_its_values(place):
    error, values = EXAMPLES[place]
    assert error.what
    assert error.why
    assert error.todo
    assert str(error) == f"{error.what}\n{error.why}\n{error.todo}"
    for value in values:
        assert value in str(error)
    assert "{" not in str(error)


def test_every_error_with_words_of_its_own_is_in_the_examples():
    own = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.LabkitError) and "__init__" in vars(kind)
    }
    assert own - {"LabkitError"} == {type(error).__name__ for error, _ in EXAMPLES}


def test_the_tree_in_the_docstring_is_the_tree():
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.LabkitError):
            assert name in errors.__doc__


def test_a_lease_that_nobody_holds_now_is_told_differently():
    assert "worker-3" not in str(errors.LeaseLost("b:7", ""))


def test_the_language_is_the_one_that_was_chosen(spoken):
    assert language() == spoken
