"""The Python client: blocking, typed, and retrying under one idempotency key; and agents of the sdk that run anywhere.

It needs httpx and the sdk, and nothing of the server.
"""

from tallystick.client.backend import HttpBackend
from tallystick.client.books import journal
from tallystick.client.client import Client, transfer
from tallystick.client.model import (
    Account,
    Attempt,
    Case,
    Entry,
    Event,
    Hold,
    Placed,
    Posted,
    Released,
    Task,
    Transfer,
    TransferBatch,
)
from tallystick.client.running import run_agent, run_agents
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
    "HttpBackend",
    "Placed",
    "Posted",
    "Released",
    "Task",
    "Transfer",
    "TransferBatch",
    "journal",
    "run_agent",
    "run_agents",
    "transfer",
]
