"""What the offline verifier looks at and what it finds, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

MAX_LISTED = 100
"""Of each code as many findings are listed; all are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that is wrong. `code` is stable; `place` names a file, an event or a row."""

    code: str
    place: str
    detail: str


class Row(NamedTuple):
    """What an item is a digest of: `text` of JSON or `sent` in binary, or neither, as it was erased by an event.

    Of a decision, `used` is the transaction that is said to have used it.
    """

    id: str
    text: str | None = None
    sent: bytes | None = None
    erased: str | None = None
    used: str | None = None


@dataclass(slots=True)
class Sealed:
    """An event as it was sealed, with what lies beneath and beside it, all compared with its digests.

    `told` are the decisions that it tells of, and `detail` says all that it says of them. `stand` is how the transfers and the
    action stand of which it tells, each as an export has it, or `None` where it is not there.
    """

    index: int
    event: Mapping[str, Any]
    rows: Sequence[Row]
    payload: str | None
    detail: Mapping[str, Any] = field(default_factory=dict)
    told: Sequence[Row] = ()
    stand: Sequence[Mapping[str, Any] | None] = ()


Visit = Callable[[Sealed], Iterable[Finding]]
"""Looks at each event, first those of `others.jsonl` and then the others in order, and says what is wrong with its meaning."""

States = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By kind and id, how things stand of which events tell."""


class Finish(Protocol):
    """Says what is wrong once all events were seen; see `Meaning.end`."""

    def __call__(self, states: States | None, *, from_start: bool) -> Iterable[Finding]: ...


@dataclass(slots=True)
class Verified:
    """What was verified, and everything that is wrong with it."""

    origin: str = ""
    size: int = 0
    root: bytes = b""
    first: int = 0
    last: int = -1
    events: int = 0
    items: int = 0
    payloads: int = 0
    erased: int = 0
    signed_by: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts

    @property
    def total(self) -> int:
        """How many findings there are, listed or not."""
        return sum(self.counts.values())

    def add(self, code: str, place: str, detail: str) -> None:
        """Note a finding."""
        self.counts[code] = count = self.counts.get(code, 0) + 1
        if count <= MAX_LISTED:
            self.findings.append(Finding(code, place, detail))
