"""Listening: the socket is ours before anything else starts, and Ctrl-C ends all of it in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn
from fastapi import FastAPI

from tallystick import http
from tallystick.cli.protocol import BoundedProtocol
from tallystick.kit import Invalid, Unavailable, end

GRACE_S = 10


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens on the address.

    Refuses with `Unavailable` (`address_in_use`) where another has it, with `Invalid` (`address_unknown`) where it is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # From here on callers are queued, so an address that was printed can be called.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise Invalid("address_unknown", f"{host} is no address of this machine: {error.strerror}") from None
        raise Unavailable("address_in_use", f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def check_loopback(host: str) -> None:
    """Refuse with `Invalid` (`open_beyond_loopback`) an address that others can reach."""
    try:
        loopback = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise Invalid("open_beyond_loopback", f"without keys the server listens on loopback only, not on {host}")


def address(listener: socket.socket) -> str:
    """The address of the socket, as a browser takes it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Uvicorn, with its signals left to whoever runs it: here more than a web server has to be stopped.

    `leaving` is called when it begins to stop, so that requests which wait for something end at once. Those that it cancels,
    as their time is over, have their answer when `shutdown` ends.
    """

    def __init__(self, config: uvicorn.Config, leaving: Callable[[], None]) -> None:
        super().__init__(config)
        self._leaving = leaving

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving()
        await super().shutdown(sockets)
        await end(list(self.server_state.tasks))


def server_for(app: FastAPI, *, access_log: bool = False, grace_s: int = GRACE_S) -> Server:
    """A server for the application; requests in hand at a stop are given `grace_s`, and who waits then is told to ask again."""
    return Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http=BoundedProtocol,
            ws="none",
            lifespan="on",
            log_level="warning" if not access_log else "info",
            access_log=access_log,
            timeout_graceful_shutdown=grace_s,
            limit_concurrency=2000,
            server_header=False,
        ),
        partial(http.stop_waiting, app),
    )


@contextlib.contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT or SIGTERM; at a second one, end at once."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            # At once means without a word from what is in hand; the embedded server's keeper notices by itself.
            os._exit(128 + number)
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def serve_until(stop: asyncio.Event, server: Server, listener: socket.socket) -> None:
    """Serve until `stop` is set, then finish what is in hand."""
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving
    stop.set()
