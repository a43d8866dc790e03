"""Addresses as they may be shown, and the failures of Redis in our words."""

import pytest
import redis
from redis.exceptions import AuthenticationError, OutOfMemoryError, ResponseError

from labkit.connection import connect, in_our_words, url_of, without_password
from labkit.errors import LabkitError, RedisUnavailable, SettingInvalid, StoreFull, WrongPassword

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        (f"redis://:{SECRET}@h:1/0", "redis://:***@h:1/0"),
        (f"redis://me:{SECRET}@h:1/0", "redis://me:***@h:1/0"),
        (f"rediss://me:{SECRET}@[::1]:1/0", "rediss://me:***@[::1]:1/0"),
        (f"redis://:{SECRET}%40@h:1/0", "redis://:***@h:1/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_a_password_is_never_shown(url, shown):
    assert without_password(url) == shown
    client = connect(url)
    assert SECRET not in url_of(client)
    client.close()


def test_the_address_of_a_client_is_where_it_connects_to():
    client = connect("redis://:x@localhost:7/3")
    assert url_of(client) == "redis://localhost:7/3"
    client.close()


@pytest.mark.parametrize("url", ["localhost:6379", "http://h", f"h://:{SECRET}@h", ""])
def test_an_address_that_cannot_be_read_is_refused_with_an_example(url):
    with pytest.raises(SettingInvalid, match="REDIS_URL") as caught:
        connect(url)
    assert "redis://[USER:PASSWORD@]HOST:PORT/DB" in str(caught.value)
    assert SECRET not in str(caught.value)


WORDS = [
    (AuthenticationError("invalid username-password pair"), WrongPassword),
    (ResponseError("NOAUTH Authentication required."), WrongPassword),
    (ResponseError("WRONGPASS invalid"), WrongPassword),
    (ResponseError("Protocol error: unauthenticated multibulk length"), WrongPassword),
    (OutOfMemoryError("command not allowed"), StoreFull),
    (ResponseError("OOM command not allowed"), StoreFull),
    (redis.ConnectionError("refused"), RedisUnavailable),
    (redis.TimeoutError("no answer"), RedisUnavailable),
    (redis.exceptions.BusyLoadingError("loading"), RedisUnavailable),
    (ResponseError("LOADING dataset"), RedisUnavailable),
    (ResponseError("MISCONF disk full"), RedisUnavailable),
]


@pytest.mark.parametrize(("theirs", "ours"), WORDS, ids=[str(error) for error, _ in WORDS])
def test_a_failure_of_redis_is_one_of_ours_and_does_not_show_the_password(theirs, ours):
    with pytest.raises(LabkitError) as caught, in_our_words(f"redis://:{SECRET}@h:1/0"):
        raise theirs
    assert type(caught.value) is ours
    assert SECRET not in str(caught.value)


def test_a_mistake_of_our_own_is_not_dressed_up():
    with pytest.raises(ResponseError, match="WRONGTYPE"), in_our_words("redis://h"):
        raise ResponseError("WRONGTYPE")
