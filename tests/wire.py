"""A wire between clients and PostgreSQL that is cut at a commit: just before the server hears of it, or just before its answer
is heard; and that can go dead. It understands as much of the protocol as that takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_READY = b"Z"
_SENT = (b"S", b"Q")


async def _nothing() -> None:
    pass


@dataclass
class _Cut:
    statement: bytes
    answered: bool
    left: int
    then: Callable[[], Awaitable[None]]
    happened: asyncio.Event = field(default_factory=asyncio.Event)


class Wire:
    """Passes everything on, until a transaction comes to its commit that is to be cut. `url` is how to connect."""

    def __init__(self, url: str) -> None:
        self._to = conninfo_to_dict(url)
        self._cuts: list[_Cut] = []
        self._ends: set[_Ends] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return make_conninfo(**(self._to | {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable"}))

    def cut(
        self, statement: str, *, answered: bool, nth: int = 1, then: Callable[[], Awaitable[None]] = _nothing
    ) -> asyncio.Event:
        """Cut the `nth` transaction from now on that has `statement` in its text, at its commit, and do `then`; set when done.

        A statement outside of a transaction is cut where it stands. With `answered`, the server has committed by then.
        """
        cut = _Cut(statement.encode(), answered, nth, then)
        self._cuts.append(cut)
        return cut.happened

    def freeze(self) -> None:
        """From now on nothing comes through what is connected now, and nobody is told. New connections are fine."""
        for ends in self._ends:
            ends.is_dead = True

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for ends in list(self._ends):
            ends.close()
        while self._ends:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = f"{self._to['host']}/.s.PGSQL.{self._to['port']}"
        try:
            from_server, to_server = await asyncio.open_unix_connection(path)
        except OSError:
            writer.close()
            return
        ends = _Ends(reader, writer, from_server, to_server)
        self._ends.add(ends)
        answers = asyncio.create_task(ends.answers())
        try:
            await self._requests(ends)
        except (OSError, EOFError):
            pass
        finally:
            ends.close()
            await asyncio.gather(answers, return_exceptions=True)
            self._ends.discard(ends)

    async def _requests(self, ends: _Ends) -> None:
        (size,) = struct.unpack("!i", head := await ends.reader.readexactly(4))
        ends.to_server.write(head + await ends.reader.readexactly(size - 4))
        prepared: dict[bytes, bytes] = {}
        unit, text, since_begin = b"", b"", b""
        while True:
            kind, body = await ends.request()
            unit += _message(kind, body)
            text += b" " + _text(kind, body, prepared)
            if kind not in _SENT and kind != b"X":
                continue
            is_begin, is_commit = b"BEGIN" in text, b"COMMIT" in text
            done = since_begin + text if is_commit or not (since_begin or is_begin) else b""
            cut = self._due(done)
            if cut is not None:
                await self._cut_off(ends, cut, unit)
                return
            ends.to_server.write(unit)
            await ends.to_server.drain()
            since_begin = b"" if is_commit or b"ROLLBACK" in text else since_begin + text if since_begin or is_begin else b""
            unit, text = b"", b""

    def _due(self, done: bytes) -> _Cut | None:
        for cut in self._cuts:
            if cut.statement in done:
                cut.left -= 1
                if cut.left == 0:
                    self._cuts.remove(cut)
                    return cut
        return None

    async def _cut_off(self, ends: _Ends, cut: _Cut, unit: bytes) -> None:
        if cut.answered:
            ends.swallowed = asyncio.get_running_loop().create_future()
            ends.to_server.write(unit)
            await ends.swallowed
        await cut.then()
        ends.close()
        cut.happened.set()


class _Ends:
    """The two connections of one client."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.from_server = from_server
        self.to_server = to_server
        self.swallowed: asyncio.Future[None] | None = None
        self.is_dead = False

    async def request(self) -> tuple[bytes, bytes]:
        return await self._passing(await _read(self.reader))

    async def answers(self) -> None:
        """Pass on what the server says, until it or the client is gone."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                kind, body = await self._passing(await _read(self.from_server))
                if self.swallowed is None:
                    self.writer.write(_message(kind, body))
                    await self.writer.drain()
                elif kind == _READY and not self.swallowed.done():
                    self.swallowed.set_result(None)
        self.close()

    def close(self) -> None:
        self.writer.close()
        self.to_server.close()
        if self.swallowed is not None and not self.swallowed.done():
            self.swallowed.set_exception(EOFError())

    async def _passing(self, message: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        while self.is_dead:
            await asyncio.sleep(0.1)
            if self.writer.is_closing():
                raise EOFError
        return message


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind, size = struct.unpack("!ci", await reader.readexactly(5))
    return kind, await reader.readexactly(size - 4)


def _message(kind: bytes, body: bytes) -> bytes:
    return struct.pack("!ci", kind, len(body) + 4) + body


def _text(kind: bytes, body: bytes, prepared: dict[bytes, bytes]) -> bytes:
    """The SQL of a message, also where a statement was prepared before."""
    if kind == b"Q":
        return body
    if kind == b"P":
        name, text, _ = body.split(b"\0", 2)
        prepared[name] = text
        return text
    if kind == b"B":
        _, name, _ = body.split(b"\0", 2)
        return prepared.get(name, b"")
    return b""
