"""Answers of any length: written while the rows come in, over one snapshot, for a few callers at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tallystick.http.envelope import EXTEND
from tallystick.http.services import Services
from tallystick.kit import Unavailable


@asynccontextmanager
async def a_place(services: Services) -> AsyncIterator[None]:
    """One of the few places for long answers; refuses with `Unavailable` (`too_many_streams`) where all are taken."""
    # Nobody waits for a place, as a slow reader may keep his for a long time.
    if services.streams.locked():
        raise Unavailable("too_many_streams", "too many long answers are being read; ask again")
    async with services.streams:
        yield


class Stream(StreamingResponse):
    """A file in pieces. `resources` (the place, the snapshot) are let go of when it was sent, or its reader has left.

    The first piece is made before this answer is, so what is refused is refused as a problem. A fault after that breaks the
    connection off: a file that came to its end is whole.
    """

    def __init__(self, chunks: AsyncIterator[bytes], resources: AsyncExitStack, *, media_type: str, filename: str) -> None:
        super().__init__(chunks, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{filename}"'})
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extend: Callable[[], None] | None = scope.get(EXTEND)
        if extend is not None:
            self.body_iterator = _with_time(self.body_iterator, extend)  # type: ignore[arg-type]
        async with self._resources:
            await super().__call__(scope, receive, send)


async def begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, the first of which is made by now."""
    first = await anext(chunks)

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return all_of_them()


async def _with_time(chunks: AsyncIterator[bytes], extend: Callable[[], None]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        extend()
        yield chunk
