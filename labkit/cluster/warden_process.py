"""``python -m labkit.cluster.warden_process``: holds processes, links and throttles for its owner.

Commands come as JSON lines on stdin, answers and news go out on stdout. When stdin ends, for
whatever reason, everything it holds is killed: so nothing outlives a notebook whose kernel died.
It is a process of its own because the owner may be a notebook cell that computes for minutes, and
a heartbeat must not wait for that.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from typing import Any

_LOOK_S = 1.0
_SLOT_S = 0.05  # a throttled process runs for a share of each slot


class Link:
    """A cable between a worker and Redis that can be cut.

    Cut, it swallows silently what both sides send, like a pulled plug: no reset, no refusal.
    """

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._whole = asyncio.Event()
        self._whole.set()
        self._cut_pipes: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def open(self) -> None:
        """Listen on a free port."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Pull the plug."""
        self._whole.clear()

    def heal(self) -> None:
        """Connections that lived through the cut are broken: both ends have given them up."""
        self._whole.set()
        for writer in list(self._cut_pipes):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to, limit=1 << 20)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._cut_pipes.add(writer)
        try:
            while data := await reader.read(1 << 18):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._cut_pipes.discard(writer)
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()


class Warden:
    """Holds what it was told to start."""

    def __init__(self) -> None:
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._links: dict[str, Link] = {}
        self._shares: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Obey until stdin ends."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        self._spawn(self._await_orphanage(reader))
        try:
            while line := await reader.readline():
                command = json.loads(line)
                try:
                    answer = await getattr(self, "do_" + command.pop("do"))(**command["with"])
                    say(answer=command["id"], value=answer)
                except Exception as error:
                    say(answer=command["id"], error=f"{type(error).__name__}: {error}")
        finally:
            for name in self._processes:
                await self.do_signal(name, signal.SIGKILL)
            os._exit(0)  # at once: there is nothing to tidy, and nobody to tell

    async def _await_orphanage(self, commands: asyncio.StreamReader) -> None:
        """A forked child of the owner may hold the pipe open after it; the parent tells as well."""
        owner = os.getppid()
        while os.getppid() == owner:
            await asyncio.sleep(_LOOK_S)
        commands.feed_eof()

    async def do_start(self, name: str, argv: list[str], env: dict[str, str], log: str) -> int:
        """Start it, in a group of its own."""
        with open(log, "ab") as output:  # noqa: PTH123 - a file number is what is wanted
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self._processes[name] = process
        self._spawn(self._await_end(name, process))
        return process.pid

    async def _await_end(self, name: str, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind in its group
        if self._processes.get(name) is process:
            del self._processes[name]
        self._shares.pop(name, None)
        say(exited=name, pid=process.pid, status=status)

    async def do_signal(self, name: str, number: int, group: bool = True) -> bool:
        """Signal it and its children."""
        process = self._processes.get(name)
        if process is None or process.returncode is not None:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.killpg if group else os.kill)(process.pid, number)
        return True

    async def do_throttle(self, name: str, share: float) -> None:
        """Let it run for a share of the time."""
        fresh = name not in self._shares
        self._shares[name] = share
        if fresh and share < 1:
            self._spawn(self._throttle(name))

    async def _throttle(self, name: str) -> None:
        while (share := self._shares.get(name, 1.0)) < 1:
            await self.do_signal(name, signal.SIGSTOP)
            await asyncio.sleep(_SLOT_S * (1 - share))
            await self.do_signal(name, signal.SIGCONT)
            await asyncio.sleep(_SLOT_S * share)
        self._shares.pop(name, None)

    async def do_link(self, name: str, host: str, port: int) -> int:
        """A port that leads to Redis."""
        if name not in self._links:
            link = Link(host, port)
            await link.open()
            self._links[name] = link
        return self._links[name].port

    async def do_cut(self, name: str) -> None:
        """Cut its link."""
        self._links[name].cut()

    async def do_heal(self, name: str) -> None:
        """Mend its link."""
        self._links[name].heal()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def say(**news: Any) -> None:
    """Tell the owner; a closed pipe means that it is gone, which stdin will tell as well."""
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(news) + "\n")
        sys.stdout.flush()


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # its owner's end is what ends it
    asyncio.run(Warden().run())
