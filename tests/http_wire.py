"""A wire between HTTP clients and a server that loses answers, and that can be down for a while."""

from __future__ import annotations

import asyncio
from collections import Counter


class HttpWire:
    """Passes requests on, but loses the answers that `lose` names; while it `is_down`, it hangs up on everybody."""

    def __init__(self, base: str) -> None:
        host, port = base.removeprefix("http://").split(":")
        self._to = (host, int(port))
        self._lost: Counter[str] = Counter()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._is_down = False
        self.lost = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def lose(self, end_of_path: str, times: int = 1) -> None:
        """Lose the next answers to POSTs whose path ends so: the server has done what was asked by then."""
        self._lost[end_of_path] += times

    def down(self) -> None:
        """Hang up on everybody, from now on."""
        self._is_down = True
        for writer in self._writers:
            writer.close()

    def up(self) -> None:
        """Be there again."""
        self._is_down = False

    async def __aenter__(self) -> HttpWire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.down()
        while self._writers:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_down:
            writer.close()
            return
        self._writers.add(writer)
        from_server, to_server = await asyncio.open_connection(*self._to)
        self._writers.add(to_server)
        try:
            while not self._is_down:
                request = await _message(reader)
                to_server.write(request)
                await to_server.drain()
                # A caller who leaves while the server thinks is to be noticed by the server.
                answering = asyncio.ensure_future(_message(from_server))
                leaving = asyncio.ensure_future(reader.read(1))
                await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    answering.cancel()
                    return
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
                if self._is_lost(request):
                    self.lost += 1
                    return
                writer.write(answering.result())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for each in (writer, to_server):
                each.close()
                self._writers.discard(each)

    def _is_lost(self, request: bytes) -> bool:
        method, path, _ = request.split(b"\r\n", 1)[0].decode().split(" ")
        for end in [end for end, left in self._lost.items() if left and method == "POST" and path.endswith(end)]:
            self._lost[end] -= 1
            return True
        return False


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One whole HTTP message with a content-length or no body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + (await reader.readexactly(int(lengths[0])) if lengths else b"")
