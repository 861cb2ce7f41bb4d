"""`/healthz`: the process lives. `/readyz`: it can do its work, because the database answers and has the schema it knows."""

from __future__ import annotations

import asyncio
import functools

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tallystick.db import Database, head_revision, schema_revision
from tallystick.http.exact import Json
from tallystick.http.problems import REQUEST_ID, problem
from tallystick.http.services import Services
from tallystick.kit import Unavailable

_WAIT_S = 2.0
# The program's own revision does not change while it runs, and finding it reads files.
_own_revision = functools.cache(head_revision)


def routes() -> list[BaseRoute]:
    """Both, open to everybody."""
    return [Route("/healthz", _alive), Route("/readyz", _ready)]


async def _alive(_: Request) -> Response:
    return Json({"status": "ok"})


async def _ready(request: Request) -> Response:
    services: Services = request.app.state.services
    reason = await _why_not(services.database)
    if reason is None:
        return Json({"status": "ready"})
    code, detail = reason
    return problem(503, code, detail, request_id=request.scope.get(REQUEST_ID))


async def _why_not(database: Database) -> tuple[str, str] | None:
    """The code and the words of what is missing; `None` where nothing is."""
    try:
        async with asyncio.timeout(_WAIT_S):
            await database.ping(_WAIT_S)
            async with database.read() as tx:
                revision = await schema_revision(tx)
    except TimeoutError:
        return "database_unavailable", f"the database did not answer within {_WAIT_S:g} s"
    except Unavailable as away:
        return away.code, away.detail
    if revision != _own_revision():
        return "not_migrated", f"the database is at revision {revision or 'none'}, this program needs {_own_revision()}"
    return None
