"""`/v1/portfolios` and `/v1/orders`: what is held of instruments, and what is ordered."""

from fastapi import APIRouter

from tallystick.http.routes.trading import orders, portfolios

router = APIRouter()
for part in (portfolios, orders):
    router.routes.extend(part.router.routes)
