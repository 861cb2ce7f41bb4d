"""The application: every route, around one database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from tallystick import __version__
from tallystick.db import Database
from tallystick.http import docs, health, metrics, openapi, sign_in
from tallystick.http.direct import DirectRoute
from tallystick.http.envelope import Envelope
from tallystick.http.gate import AreHeld, on_held
from tallystick.http.guides import agents, banking, fintech, production, retail
from tallystick.http.issuers import Issuer
from tallystick.http.methods import MethodNotAllowed
from tallystick.http.problems import on_http_error, on_refusal, on_validation_error
from tallystick.http.routes import (
    account_changes,
    accounts,
    approvals,
    attempts,
    authority,
    cases,
    closing,
    customers,
    erasures,
    events,
    holds,
    journals,
    payments,
    people,
    policies,
    postings,
    queues,
    reconciliations,
    record,
    schedules,
    standing_orders,
    statements,
    steps,
    tasks,
    trading,
    transfers,
    webhooks,
    workers,
)
from tallystick.http.routes import (
    actions as action_routes,
)
from tallystick.http.services import Services
from tallystick.http.settings import HttpSettings
from tallystick.http.shortcut import Handler, Shortcut
from tallystick.kit import TallystickError, end, seldom_collected

_NATIVE = (
    authority,
    transfers,
    action_routes,
    accounts,
    account_changes,
    standing_orders,
    statements,
    journals,
    postings,
    holds,
    customers,
    erasures,
    tasks,
    attempts,
    workers,
    steps,
    people,
    queues,
    schedules,
    events,
    cases,
    closing,
    payments,
    reconciliations,
    trading,
    record,
    approvals,
    webhooks,
    policies,
)
_GUIDES = (retail, fintech, banking, agents, production)


class Tallystick(FastAPI):
    """FastAPI with our own OpenAPI document, and `outermost` around all its layers."""

    outermost: Callable[[ASGIApp], ASGIApp]

    def build_middleware_stack(self) -> ASGIApp:
        return self.outermost(super().build_middleware_stack())

    def openapi(self) -> dict[str, object]:
        if self.openapi_schema is None:
            self.openapi_schema = openapi.document(super().openapi())
        return self.openapi_schema


def create_app(settings: HttpSettings, database: Database) -> FastAPI:
    """The application on `database`, which the caller opens and closes.

    While its lifespan runs, so do the group commit and the bell that wakes workers.
    """
    services = Services.of(settings, database)
    handlers: dict[int | type[Exception], Handler] = {
        TallystickError: on_refusal,
        RequestValidationError: on_validation_error,
        HTTPException: on_http_error,
        AreHeld: on_held,
    }
    app = Tallystick(
        title="Tallystick",
        summary="The control plane and system of record for AI agents in banking.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        exception_handlers=handlers,
    )
    app.state.services = services
    issuer = settings.sign_in_issuer
    app.state.sign_in = None if issuer is None else sign_in.SignIn(settings, Issuer(issuer))
    # The busiest route stands first, as routes are tried in order.
    app.router.routes.extend(transfers.busy.routes)
    for part in _NATIVE:
        app.router.routes.extend(part.router.routes)
    for room in (transfers, postings, holds, tasks, attempts):
        app.router.routes.extend(room.bulk.routes)
    for guide in _GUIDES:
        app.router.routes.extend(guide.router.routes)
    app.router.routes.extend([*health.routes(), *metrics.routes(), *docs.routes(), *record.routes(), *sign_in.routes()])
    app.add_exception_handler(405, MethodNotAllowed(app.router.routes).answer)
    envelope = partial(
        Envelope,
        max_body_bytes=settings.max_body_bytes,
        timeout_s=settings.request_timeout_s,
        answered=services.answered,
        stopping=services.stopping,
    )
    app.add_middleware(envelope)
    app.outermost = partial(
        Shortcut,
        routes=[route for route in transfers.busy.routes if isinstance(route, DirectRoute)],
        handlers=handlers,
        around=envelope,
    )
    return app


def stop_waiting(app: FastAPI) -> None:
    """The server is about to stop: answer the requests that wait for something to happen now, and those that are cancelled from
    now on with 503, to be asked again."""
    services: Services = app.state.services
    services.stopping.set()
    services.line.close()


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    tasks_of_ours = [
        asyncio.create_task(services.transfers.run(), name="group commit of transfers"),
        asyncio.create_task(services.journals.run(), name="group commit of journals"),
        asyncio.create_task(services.bell.run(), name="bell"),
        asyncio.create_task(services.line.run(), name="line of those who wait for tasks"),
        asyncio.create_task(services.presence.run(), name="who was let in and who was not"),
    ]
    try:
        with seldom_collected():
            yield
    finally:
        services.line.close()
        await end(tasks_of_ours)
