"""Who may do what: `/v1/principals`, `/v1/keys`, `/v1/mandates`, `/v1/me`."""

from fastapi import APIRouter

from tallystick.http.exact import ExactRoute
from tallystick.http.routes.authority import keys, mandates, me, principals

router = APIRouter(route_class=ExactRoute)
router.routes.extend([*me.router.routes, *principals.router.routes, *keys.router.routes, *mandates.router.routes])
