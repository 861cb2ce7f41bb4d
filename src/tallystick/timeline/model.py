"""Entries of a timeline, as values, and what each is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

Kind = Literal["case", "transfer", "task", "agent", "account"]
KINDS: tuple[Kind, ...] = get_args(Kind)

State = Literal["kept", "erased", "gone"]

_OF_STEPS = {"model": "prompt", "approval": "vote", "sleep": "wait", "event": "wait"}
_OF_ITEMS = {"journal": "posting"}
_OF_VERBS = {
    "processed": "decision",
    "tasks.answer": "vote",
    "transfers.propose": "proposal",
    "transfers.settle": "proposal",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a timeline: an event of the record, or one of the things that the event tells of.

    `what` is `prompt`, `step`, `call`, `wait`, `vote`, `decision`, `proposal`, `posting`, `task`, `outcome`, `event`, `case`,
    or `act` for anything else. `text` is what is kept readable of the thing, JSON as it was digested for the record, of a
    journal as the books have it; `state` is `erased` or `gone` (moved to an archive) where it is not kept any more, and None
    where the event has no readable part.
    """

    at: datetime
    event_id: int
    index: int | None
    verb: str
    principal: str
    on_behalf_of: str | None
    what: str
    task_id: int | None
    step: str | None
    detail: Mapping[str, Any]
    kind: str | None = None
    id: int | None = None
    text: str | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page ends: the last event that was looked at, and the last entry of an account that its postings came from."""

    event_id: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Timeline:
    """A page; `next` is where the following one begins, None at the end. A page may be short, and still have a next one."""

    entries: list[Entry]
    next: Mark | None


@dataclass(frozen=True, slots=True)
class RowText:
    """What is kept readable of a row, or that it was erased."""

    id: int
    text: str | None
    erased: bool


@dataclass(frozen=True, slots=True)
class Question:
    """The action that a transfer is or is part of, and what people were asked about it."""

    action: int
    approval: int | None


@dataclass(frozen=True, slots=True)
class EntryEvent:
    """An entry of an account, and the event that tells of its journal, where there is one."""

    seq: int
    journal_id: int
    event_id: int | None


@dataclass(frozen=True, slots=True)
class Scanned:
    """An event that was looked at, and whether it is of the agent."""

    id: int
    wanted: bool


def what_item(kind: str, row: Mapping[str, Any] | None) -> str:
    """What an item of an event is called; of a step, `row` is what it says."""
    if kind == "step":
        named = str((row or {}).get("kind", "step"))
        return _OF_STEPS.get(named, named)
    return _OF_ITEMS.get(kind, kind)


def what_event(verb: str) -> str:
    """What an event without items is called."""
    return _OF_VERBS.get(verb, "act")
