"""Connections to Redis, and its failures in our words.

redis-py 8 retries by itself, ten times, and waits five seconds for an answer. That is right for
calls that may be repeated, wrong for a claim; so there are two kinds of client here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import AuthenticationError, OutOfMemoryError, ResponseError
from redis.retry import Retry

from labkit.errors import RedisUnavailable, SettingInvalid, StoreFull, WrongPassword

# Answered late is as good as not answered: a lease lasts 6 s.
ANSWER_S = 3.0


def connect(url: str, *, retries: int = 2, answer_s: float = ANSWER_S) -> redis.Redis:
    """A client whose calls are repeated on a broken connection: for idempotent calls only.

    Args:
        url: ``redis://[USER:PASSWORD@]HOST:PORT/DB`` or ``unix://PATH``.
        retries: how often a call is repeated; 0 for calls that must not be.
        answer_s: how long to wait for an answer.

    Raises:
        SettingInvalid: the URL cannot be read.
    """
    backoff = ExponentialWithJitterBackoff(cap=0.5, base=0.05) if retries else NoBackoff()
    try:
        return redis.Redis.from_url(
            url,
            protocol=2,
            retry=Retry(backoff, retries),
            socket_timeout=answer_s,
            socket_connect_timeout=min(answer_s, 2.0),
            socket_keepalive=True,
        )
    except ValueError as error:
        expected = f"redis://[USER:PASSWORD@]HOST:PORT/DB ({error})"
        raise SettingInvalid("REDIS_URL", without_password(url), expected) from None


def url_of(client: Any) -> str:
    """Where a client connects to, without its password."""
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return f"unix://{options['path']}"
    return f"redis://{options.get('host')}:{options.get('port')}/{options.get('db', 0)}"


def without_password(url: str) -> str:
    """The URL as it may be shown and logged."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


@contextmanager
def in_our_words(url: str) -> Iterator[None]:
    """Turn redis-py's exceptions into labkit's.

    Raises:
        WrongPassword: the server refused user or password.
        StoreFull: the server is out of memory.
        RedisUnavailable: it does not answer.
    """
    try:
        yield
    except AuthenticationError:
        raise WrongPassword(without_password(url)) from None
    except OutOfMemoryError as error:
        raise StoreFull(str(error)) from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise RedisUnavailable(without_password(url), str(error)) from error
    except ResponseError as error:
        if "OOM" in str(error):
            raise StoreFull(str(error)) from None
        if str(error).startswith(("NOAUTH", "WRONGPASS", "Protocol error: unauthenticated")):
            raise WrongPassword(without_password(url)) from None
        if str(error).startswith(("LOADING", "MISCONF")):
            raise RedisUnavailable(without_password(url), str(error)) from error
        raise
