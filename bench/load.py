"""A load generator that costs little: each client keeps one connection and sends its next request when it has its answer."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import uvloop

Request = Callable[[random.Random], bytes]


@dataclass
class Result:
    """What one run saw: answers a second, their latency in milliseconds, and how many were of which status."""

    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def quantile_ms(self, share: float) -> float:
        return statistics.quantiles(self.latencies_ms, n=1000)[int(share * 1000) - 1]


def transfer_request(path: str, accounts: list[str], *, keyed: bool, amount: Callable[[int], str], token: str = "") -> Request:
    """Requests for transfers between two random accounts; with `keyed`, each has its own Idempotency-Key."""
    numbers = itertools.count()
    run = random.getrandbits(48)

    def build(chance: random.Random) -> bytes:
        debit, credit = chance.sample(accounts, 2)
        body = f'{{"from_account": "{debit}", "to_account": "{credit}", "amount": {amount(chance.randrange(1, 500))}}}'
        key = f"idempotency-key: {run:x}-{next(numbers)}\r\n" if keyed else ""
        if token:
            key += f"authorization: Bearer {token}\r\n"
        head = (
            f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{key}content-length: {len(body)}\r\n\r\n"
        )
        return (head + body).encode()

    return build


def run_load(port: int, request: Request, *, clients: int, seconds: float) -> Result:
    """Drive the server on `port` with `clients` concurrent clients."""
    return uvloop.run(_run(port, request, clients, seconds))


async def _run(port: int, request: Request, clients: int, seconds: float) -> Result:
    result = Result(seconds)
    deadline = time.perf_counter() + seconds
    await asyncio.gather(*(_client(port, request, random.Random(number), deadline, result) for number in range(clients)))
    return result


async def _client(port: int, request: Request, chance: random.Random, deadline: float, result: Result) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (begun := time.perf_counter()) < deadline:
        writer.write(request(chance))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(_content_length(head))
        result.latencies_ms.append((time.perf_counter() - begun) * 1000)
        status = int(head[9:12])
        result.statuses[status] = result.statuses.get(status, 0) + 1
    writer.close()
    await writer.wait_closed()


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.index(b"content-length:") + len(b"content-length:")
    return int(lowered[start : lowered.index(b"\r\n", start)])
