"""`/v1/calendars`, `/v1/business-days` and what hangs on them: closing balances and rates of interest of accounts."""

from fastapi import APIRouter

from tallystick.http.routes.closing import calendars, days, interest

router = APIRouter()
for part in (calendars, days, interest):
    router.routes.extend(part.router.routes)
