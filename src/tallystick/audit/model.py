"""What the record holds, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Items:
    """The things that one call changed: their kind and ids and, in the same order, the SHA-256 digests of what they are now."""

    kind: str
    ids: Sequence[int]
    digests: bytes


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What one call of a verb did: `principal` did `verb` to the thing `subject_id` of `subject_kind`.

    A call that did something to many things is one event, with the things as `items`. `detail` is a JSON object of codes, ids
    and counts; what may tell of a person is in `payload`, which is kept beside the leaf and may be erased.
    """

    principal: str
    verb: str
    subject_kind: str
    subject_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    task_id: int | None = None
    request_id: str | None = None
    on_behalf_of: str | None = None
    step: str | None = None
    decision_id: int | None = None
    approval_id: int | None = None
    trace_id: str | None = None
    payload: Mapping[str, Any] | None = None
    items: Items | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """An event as it stands in the record. `index` is its place in the tree, once it is sealed; `leaf` is what is sealed."""

    id: int
    at: datetime
    principal: str
    on_behalf_of: str | None
    verb: str
    subject_kind: str
    subject_id: int | None
    task_id: int | None
    step: str | None
    decision_id: int | None
    approval_id: int | None
    request_id: str | None
    trace_id: str | None
    detail: Any
    payload: Any
    items_kind: str | None
    refs: list[int] | None
    index: int | None
    leaf: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The name under which checkpoints are signed, and where it was opened after a restore, the last checkpoint before it."""

    n: int
    name: str
    follows: str | None


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint as it was signed and kept: the signed note says the same as `size` and `root`."""

    size: int
    origin: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True)
class Lag:
    """How far sealing is behind: leaves in the tree, events that are not in it (counted up to a million), the age of the oldest
    of these in seconds, and the size that was signed last."""

    size: int
    pending: int
    oldest_s: float | None
    signed: int | None


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event that is not in the tree yet."""

    event_id: int
    leaf: str


@dataclass(frozen=True, slots=True)
class StoredTile:
    """The hashes of a tile, as far as they stand."""

    level: int
    n: int
    hashes: bytes | None


@dataclass(frozen=True, slots=True)
class RecordedRow:
    """What an item is a digest of: SHA-256 of `salt` and `text`, or of `sent`; or nothing, as an event erased it."""

    id: int
    salt: bytes | None
    text: str | None
    sent: bytes | None
    erased_by: int | None


@dataclass(frozen=True, slots=True)
class SealedEvent:
    """An event in its place in the tree, with its items and its payload, if any."""

    index: int
    hash: bytes
    id: int
    leaf: str
    items_kind: str | None
    refs: list[int] | None
    items: bytes | None
    has_payload: bool
    salt: bytes | None
    text: str | None
    erased_by: int | None


@dataclass(frozen=True, slots=True)
class IndexRange:
    """Indexes from `first` to `last`; both are `None` where there are none."""

    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with all that it is looked up by."""

    id: int
    at: datetime
    principal: str
    on_behalf_of: str | None
    verb: str
    subject_kind: str
    subject_id: int | None
    task_id: int | None
    step: str | None
    decision_id: int | None
    approval_id: int | None
    request_id: str | None
    trace_id: str | None
    items_kind: str | None
    refs: list[int] | None
    items: bytes | None
    leaf: str
    index: int | None
    is_pending: bool


@dataclass(frozen=True, slots=True)
class Node:
    """The root of a full subtree of 256 to the power of `level` leaves."""

    level: int
    n: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Stray:
    """A row of the record that belongs to no event."""

    relation: str
    id: int
