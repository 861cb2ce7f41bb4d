"""Cases: pieces of banking business of a customer, that come in by two doors and have a lifecycle."""

from tallystick.cases.model import EVENT_STATUSES, Case
from tallystick.cases.recorded import RECORDED, RECORDED_IDS
from tallystick.cases.service import (
    get,
    lock,
    open_event,
    open_request,
    page,
    pending_events,
    record_result,
    set_status,
)

__all__ = [
    "EVENT_STATUSES",
    "RECORDED",
    "RECORDED_IDS",
    "Case",
    "get",
    "lock",
    "open_event",
    "open_request",
    "page",
    "pending_events",
    "record_result",
    "set_status",
]
