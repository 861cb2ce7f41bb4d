"""`/metrics`: how this process and the sealing of the record are doing, as Prometheus reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tallystick import __version__, audit
from tallystick.db import Database, PoolUse
from tallystick.http import access
from tallystick.http.services import Services
from tallystick.kit import Unavailable

_WAIT_S = 2.0


def routes() -> list[BaseRoute]:
    """For those who look after the bank; see `access.METRICS`."""
    return [Route("/metrics", _metrics)]


async def _metrics(request: Request) -> Response:
    services: Services = request.app.state.services
    access.METRICS.check_role(await services.gatekeeper.principal(request.scope))
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_State(services.answered, services.database.use(), await _lag(services.database)))
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), headers={"content-type": content_type})


async def _lag(database: Database) -> audit.Lag | None:
    """How far sealing is behind; `None` where the database does not say so in time, which is told then."""
    try:
        async with asyncio.timeout(_WAIT_S), database.read() as tx:
            return await audit.lag(tx)
    except (TimeoutError, Unavailable):
        return None


class _State(Collector):
    """What is known at one moment."""

    def __init__(self, answered: Mapping[int, int], pool: PoolUse, lag: audit.Lag | None) -> None:
        self._answered = answered
        self._pool = pool
        self._lag = lag

    def collect(self) -> Iterator[Metric]:
        version = GaugeMetricFamily("tallystick_build_info", "The version that runs.", labels=["version"])
        version.add_metric([__version__], 1)
        yield version
        answers = CounterMetricFamily(
            "tallystick_http_responses", "Answers of this process, by their status.", labels=["status"]
        )
        for status in sorted(self._answered):
            answers.add_metric([str(status)], self._answered[status])
        yield answers
        yield _gauge(
            "tallystick_database_up", "1 where the database has answered this question, else 0.", self._lag is not None
        )
        yield _gauge("tallystick_database_connections", "Connections in the pool of this process.", self._pool.size)
        yield _gauge("tallystick_database_connections_idle", "Those of them that nobody uses.", self._pool.idle)
        yield _gauge("tallystick_database_connections_wanted", "Callers that wait for one.", self._pool.waiting)
        if self._lag is not None:
            yield from _of_record(self._lag)


def _of_record(lag: audit.Lag) -> Iterator[Metric]:
    yield _gauge("tallystick_record_leaves", "Events in the tree of the record.", lag.size)
    yield _gauge("tallystick_record_signed_leaves", "Events that the newest checkpoint covers.", lag.signed or 0)
    yield _gauge("tallystick_record_unsealed_events", "Events that wait for the tree, counted up to a million.", lag.pending)
    yield _gauge(
        "tallystick_record_oldest_unsealed_seconds",
        "Age of the oldest event that no checkpoint covers; 0 where there is none.",
        lag.oldest_s or 0,
    )
    if lag.signed_s is not None:
        yield _gauge(
            "tallystick_record_newest_sealed_seconds",
            "Age of the newest event that a checkpoint covers: what nobody can change unseen is as old.",
            lag.signed_s,
        )


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(name, says, value=value)
