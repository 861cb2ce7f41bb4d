"""`/v1/nostros` and `/v1/external-payments`: money that leaves the bank or comes in."""

from fastapi import APIRouter

from tallystick.http.routes.payments import external, nostros

router = APIRouter()
for part in (nostros, external):
    router.routes.extend(part.router.routes)
