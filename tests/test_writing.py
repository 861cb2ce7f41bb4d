"""The head of an answer goes out with its body, and never later than the loop comes round."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from tallystick.cli.writing import OneWrite

HEAD, BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"{}"


class Wire(asyncio.Transport):
    """A transport that says what was written to it, each write by itself."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.writes: list[bytes] = []
        self.gone = False

    def is_closing(self) -> bool:
        return self.gone

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.writes.append(b"".join(list_of_data))

    def close(self) -> None:
        self.writes.append(b"closed")


async def test_a_head_and_its_body_are_one_write() -> None:
    wire = Wire()
    transport = OneWrite(wire)
    for _ in range(2):
        transport.write(HEAD)
        transport.write(BODY)
        await asyncio.sleep(0)
    assert wire.writes == [HEAD + BODY, HEAD + BODY]


async def test_a_head_whose_body_comes_later_does_not_wait_for_it() -> None:
    wire = Wire()
    transport = OneWrite(wire)
    transport.write(HEAD)
    assert wire.writes == []
    await asyncio.sleep(0)
    assert wire.writes == [HEAD]
    transport.write(BODY)
    transport.write(BODY)
    assert wire.writes == [HEAD, BODY, BODY]


@pytest.mark.parametrize(("end", "after"), [(OneWrite.close, [b"closed"]), (OneWrite.flush, [])])
async def test_a_head_without_a_body_is_written_before_the_connection_ends(
    end: Callable[[OneWrite], None], after: list[bytes]
) -> None:
    wire = Wire()
    transport = OneWrite(wire)
    transport.write(HEAD)
    end(transport)
    await asyncio.sleep(0)
    assert wire.writes == [HEAD, *after]


async def test_nothing_is_written_to_one_who_has_left() -> None:
    wire = Wire()
    transport = OneWrite(wire)
    transport.write(HEAD)
    wire.gone = True
    await asyncio.sleep(0)
    assert wire.writes == []


async def test_what_is_no_head_and_what_only_asks_for_the_body_is_not_held() -> None:
    wire = Wire()
    transport = OneWrite(wire)
    for data in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 body", b"\r\n\r\n"):
        transport.write(data)
        assert wire.writes.pop() == data


async def test_all_else_is_for_the_transport_beneath() -> None:
    wire = Wire()
    assert OneWrite(wire).get_extra_info("peername") == ("127.0.0.1", 1)
