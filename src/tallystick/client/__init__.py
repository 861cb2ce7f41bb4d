"""The Python client: blocking, typed, and retrying under one idempotency key. It needs httpx and nothing of the server."""

from tallystick.client.books import journal
from tallystick.client.client import Client
from tallystick.client.model import Account, Attempt, Case, Entry, Event, Hold, Placed, Posted, Released, Task, Transfer
from tallystick.client.transport import ApiError

__all__ = [
    "Account",
    "ApiError",
    "Attempt",
    "Case",
    "Client",
    "Entry",
    "Event",
    "Hold",
    "Placed",
    "Posted",
    "Released",
    "Task",
    "Transfer",
    "journal",
]
