"""Principals and keys, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: an `agent`, a `person` or a `service`."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `secret` is shown once and kept nowhere."""

    id: int
    principal: str
    prefix: str
    secret: str


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of a key; `prefix` is its beginning, for people to tell keys apart."""

    id: int
    principal: str
    prefix: str
    created_at: datetime
    revoked_at: datetime | None
