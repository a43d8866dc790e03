"""The Docker engine in our words: connect, label what we start, and remove it by its label."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import docker
import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.types import LogConfig

from labkit.cluster import owner
from labkit.errors import ClusterError, DockerUnavailable
from labkit.i18n import _

SESSION_LABEL = "labkit"  # on all we start; the compose file writes labkit=compose
WORKER_LABEL = "labkit.worker"
OWNER_LABEL = "labkit.owner"  # only what has an owner is ever swept

# What a container may do: its work, and nothing else. tests/integration/test_containers.py asserts
# each line on running containers.
HARDENED: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/tmp": "size=64m,mode=1777"},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "pids_limit": 128,
    "init": True,  # PID 1 that passes signals on and reaps children
    "log_config": LogConfig(type="json-file", config={"max-size": "5m", "max-file": "2"}),
}


def limit_memory(size: str) -> dict[str, Any]:
    """A container that wants more is killed; it never swaps."""
    return {"mem_limit": size, "memswap_limit": size}


def connect() -> docker.DockerClient:
    """A client of the engine that the ``docker`` command would talk to.

    Raises:
        DockerUnavailable: none answers.
    """
    try:
        context = None if "DOCKER_HOST" in os.environ else ContextAPI.get_current_context()
        if context is None or context.Name == "default" or not context.Host:
            client = docker.from_env()
        else:
            client = docker.DockerClient(base_url=context.Host, tls=context.TLSConfig or False)
    except (DockerException, requests.RequestException, OSError) as error:
        raise DockerUnavailable(str(error)) from None
    try:
        client.ping()
    except (DockerException, requests.RequestException, OSError) as error:
        client.close()
        raise DockerUnavailable(str(error)) from None
    return client


@contextlib.contextmanager
def in_our_words() -> Iterator[None]:
    """Turn the SDK's exceptions into labkit's.

    Raises:
        DockerUnavailable: the engine does not answer any more.
        ClusterError: it refuses, or an image is missing.
    """
    try:
        yield
    except ImageNotFound as error:
        raise ClusterError(
            _("Docker does not have the image that was asked for."),
            str(error.explanation),
            _("Run `make images` once, then try again."),
        ) from None
    except APIError as error:
        raise ClusterError(_("Docker refused."), str(error.explanation or error)) from error
    except (DockerException, requests.RequestException) as error:
        raise DockerUnavailable(str(error)) from error


def labels(session: str, **more: str) -> dict[str, str]:
    """What to write on everything that a session starts."""
    return {SESSION_LABEL: session, OWNER_LABEL: owner.me(), **more}


def remove(client: docker.DockerClient, session: str) -> int:
    """Remove what carries a session's label. Returns how much there was: 0 when all is gone."""
    mine = {"label": f"{SESSION_LABEL}={session}"}
    api = client.api
    containers = [found["Id"] for found in api.containers(all=True, filters=mine)]
    take_away = partial(_away, api.remove_container, v=True, force=True)
    with ThreadPoolExecutor(max(len(containers), 1)) as pool:  # each waits for a process to end
        list(pool.map(take_away, containers))
    networks = [found["Id"] for found in api.networks(filters=mine)]
    for name in networks:
        _away(api.remove_network, name)
    volumes = [found["Name"] for found in api.volumes(filters=mine)["Volumes"] or []]
    for name in volumes:
        _away(api.remove_volume, name)
    return len(containers) + len(networks) + len(volumes)


def sweep(client: docker.DockerClient) -> None:
    """Remove what sessions left whose owner is dead."""
    owned = {"label": OWNER_LABEL}
    api = client.api
    found = [
        *api.containers(all=True, filters=owned),
        *api.networks(filters=owned),
        *(api.volumes(filters=owned)["Volumes"] or []),
    ]
    sessions = {one["Labels"].get(SESSION_LABEL, ""): one["Labels"][OWNER_LABEL] for one in found}
    for session, whose in sessions.items():
        if session and owner.is_dead(whose):
            remove(client, session)


def printed(container: Container, lines: int) -> list[str]:
    """The end of what a container has printed; nothing if it has been removed."""
    with may_be_gone():
        return container.logs(tail=lines).decode(errors="replace").splitlines(keepends=True)
    return []


@contextlib.contextmanager
def may_be_gone() -> Iterator[None]:
    """Whoever else ends or removes a thing meanwhile is welcome."""
    try:
        yield
    except APIError as error:
        if error.status_code not in (403, 404, 409):  # still in use, gone, or on its way out
            raise


def _away(call: Callable[..., object], name: str, **options: bool) -> None:
    with may_be_gone():
        call(name, **options)
