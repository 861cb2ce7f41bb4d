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
    """An event as it stands in the record. `index` is its place in the tree, once it is sealed; `leaf` is what is sealed.

    `erased_by` is the event by which its payload was erased, where that is so.
    """

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
    erased_by: int | None
    items_kind: str | None
    refs: list[int] | None
    index: int | None
    leaf: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events are asked for; what is None does not matter. `start` is the first moment, `end` the one after the last.

    A `verb` that ends in a dot stands for all that begin with it. A thing, by `subject_kind` and `subject_id`, is what an event
    is about or one of its items. `request_id` is one of the requests that an event answers.
    """

    principal: str | None = None
    on_behalf_of: str | None = None
    subject_kind: str | None = None
    subject_id: int | None = None
    verb: str | None = None
    task_id: int | None = None
    request_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class ItemReceipt:
    """What binds one item to its event: the audit path, in the tree over the items' digests, from `place` to `root`."""

    kind: str
    id: int
    place: int
    count: int
    digest: bytes
    path: list[bytes]
    root: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What shows that an event is in the record: its leaf, the leaf's place, and the audit path to the root of `checkpoint`.

    Before a checkpoint covers it, it is pending: `checkpoint` is None and the path is empty.
    """

    event_id: int
    leaf: str
    leaf_hash: bytes
    index: int | None
    path: list[bytes]
    checkpoint: SignedCheckpoint | None
    item: ItemReceipt | None

    @property
    def state(self) -> str:
        """`sealed`, or `pending` until a signed checkpoint covers the leaf."""
        return "pending" if self.checkpoint is None else "sealed"


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
    """How far sealing is behind: leaves in the tree, events that are not in it (counted up to a million), the size that was
    signed last, and in seconds the age of the oldest event that no signature covers, and of the newest that one does."""

    size: int
    pending: int
    oldest_s: float | None
    signed: int | None
    signed_s: float | None


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
class RecordedDecision:
    """A decision that an event tells of: the digest is that of `salt` and `text`, or `digest`, as an event erased it.

    `used` is the transaction that is said to have used it.
    """

    id: int
    salt: bytes | None
    text: str | None
    erased_by: int | None
    digest: bytes | None
    used: str | None


@dataclass(frozen=True, slots=True)
class RecordedState:
    """How something stands of which events tell."""

    id: int
    state: Any


@dataclass(frozen=True, slots=True)
class RecordedThing:
    """How something stands of which an event tells by its id. `asked` are the values that its digests are made of, with null
    for one of which a part was erased.
    """

    id: int
    state: Any
    asked: Any


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
