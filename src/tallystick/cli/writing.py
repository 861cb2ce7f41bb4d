"""The head and the body of an answer in one write: each write of a small answer is a call of the system, and a packet."""

from __future__ import annotations

import asyncio
from typing import Any

_HEAD = b"HTTP/1.1 "
_INTERIM = b"HTTP/1.1 1"


class OneWrite:
    """A transport that holds the head of an answer until more is written, the connection ends, or the loop comes round.

    Whatever else is asked of it, the transport beneath does.
    """

    __slots__ = ("_held", "_later", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: bytes | None = None
        self._later: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if self._held is None:
            if data.startswith(_HEAD) and data.endswith(b"\r\n\r\n") and not data.startswith(_INTERIM):
                self._held = data
                self._later = self._loop.call_soon(self.flush)
            else:
                self._transport.write(data)
            return
        head, self._held = self._held, None
        if self._later is not None:
            self._later.cancel()
        self._transport.writelines((head, data))

    def flush(self) -> None:
        """Write what is held, if there still is somebody to read it."""
        if self._held is not None:
            head, self._held = self._held, None
            if not self._transport.is_closing():
                self._transport.write(head)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
