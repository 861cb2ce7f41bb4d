"""What events mean, beside whether they are what was sealed: of each task one end, under a fence of its own.

A visitor of `verify_export`, which looks at each event once its leaf, items and rows were found to be what was sealed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tallystick.tlog.offline import Finding, Row, Sealed

_BAD = (ValueError, KeyError, TypeError)


class Meaning:
    """Remembers, in memory that grows with the number of tasks, which ended and under which fences."""

    def __init__(self) -> None:
        self._ended: dict[str, int] = {}
        self._fences: dict[str, str] = {}

    def __call__(self, sealed: Sealed) -> Iterator[Finding]:
        """What is wrong with the meaning of an event."""
        verb = str(sealed.event["verb"])
        items = sealed.event.get("items")
        kind = None if items is None else items.get("kind", sealed.event["subject"]["kind"])
        if verb == "ledger.post" and kind != "journal":
            yield Finding("posting_without_journals", f"event at index {sealed.index}", "posted nothing that it has digests of")
        if kind == "outcome" and not verb.endswith(".erase"):
            for row in sealed.rows:
                yield from self._outcome(sealed.index, row)

    def _outcome(self, index: int, row: Row) -> Iterator[Finding]:
        place = f"outcome {row.id}"
        if (earlier := self._ended.setdefault(row.id, index)) != index:
            yield Finding("outcome_twice", place, f"task {row.id} ended at index {earlier} and again at index {index}")
        if row.text is None:
            return
        try:
            text = json.loads(row.text)
            task, fence = text["task"], text["fence"]
            if task != row.id or not fence.isdecimal():
                raise ValueError("is of another task, or under no fence")
        except _BAD as error:
            yield Finding("outcome_without_fence", place, str(error))
            return
        if (holder := self._fences.setdefault(fence, task)) != task:
            yield Finding("fence_twice", place, f"tasks {holder} and {task} ended under the fence {fence}")
