"""What events say of decisions: which ones they tell of, and which ones they were done under."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

loads: Callable[[str | bytes], Any] = json.loads
"""Reads JSON, fast where that is to be had."""
with suppress(ImportError):
    from orjson import loads as _fast_loads

    loads = _fast_loads

NOT_ALLOWED, UNUSED, ERASED = 1, 2, 3
"""What may be known of a decision that no transaction has used; the numbers of transactions are larger."""

_NOTHING: Mapping[str, Any] = {}


def detail_of(event: Mapping[str, Any], payload: str | None) -> Mapping[str, Any]:
    """What an event says of decisions in its detail, and of those for which there is no room there, in its payload."""
    detail: Mapping[str, Any] = event.get("detail") or _NOTHING
    if payload is None or not ("decisions" in detail or "decided" in detail or "transfers" in detail or "beside" in detail):
        return detail
    return {**detail, **loads(payload)}


def told_by(event: Mapping[str, Any], detail: Mapping[str, Any]) -> list[str]:
    """The decisions, by their ids in order, of which `decided` in an event's detail is the digest."""
    if "decided" not in detail or "tx" not in event:
        return []
    return listed(detail) or [event["decision"]]


def listed(detail: Mapping[str, Any]) -> list[str]:
    """The decisions that a detail lists."""
    return [one if isinstance(one, str) else one[0] for one in detail.get("decisions", ())]


class Known:
    """What is known of decisions, by id: in eight bytes each, as ids lie close together."""

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}

    def __getitem__(self, id: int) -> int:
        """The transaction that has used it, or one of the numbers above; 0 where nothing is known."""
        page = self._pages.get(id >> 10)
        return 0 if page is None else page[id & 1023]

    def __setitem__(self, id: int, what: int) -> None:
        page = self._pages.get(id >> 10)
        if page is None:
            page = self._pages[id >> 10] = array("Q", bytes(8 * 1024))
        page[id & 1023] = what


def read(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """The three lines of a decision: what it is of, the facts and the verdict."""
    head, facts, verdict = text.split("\n")
    return loads(head), loads(facts), loads(verdict)


def roles_of(approve: Sequence[Sequence[Any]]) -> list[tuple[str, int]]:
    """Of which role how many people are asked."""
    return [(str(role), int(count)) for role, count in approve]
