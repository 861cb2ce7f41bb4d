"""What events mean, beside whether they are what was sealed: of each task one end, under a fence of its own; and of each effect
a decision that allows it, used once, or the agreement of people to it.

A visitor of `verify_export`, which looks at each event once its leaf, items and rows were found to be what was sealed.
"""

from __future__ import annotations

from collections.abc import Iterator

from tallystick.tlog.agreements import Agreements
from tallystick.tlog.decisions import ERASED, NOT_ALLOWED, UNUSED, Known, listed, loads, read
from tallystick.tlog.found import Finding, Row, Sealed, States
from tallystick.tlog.lines import BAD
from tallystick.tlog.standing import Standing

_TELLING = frozenset({"actions.decide", "actions.hold", "actions.deny", "actions.amend"})
"""Verbs whose events name decisions under which nothing is done."""


class Meaning:
    """Remembers which tasks ended and under which fences, what decisions said and what used them, and what people agreed to.

    Memory grows with the number of tasks and of questions, and by eight bytes with each decision.
    """

    def __init__(self) -> None:
        self._ended: dict[str, int] = {}
        self._fences: dict[str, str] = {}
        self._first: int | None = None
        self._known = Known()
        self._agreements = Agreements()
        self._standing = Standing(self._agreements)
        self._ahead: dict[int, list[tuple[str, int, bool]]] = {}

    def __call__(self, sealed: Sealed) -> Iterator[Finding]:
        """What is wrong with the meaning of an event."""
        event = sealed.event
        verb = str(event["verb"])
        items = event.get("items")
        kind = None if items is None else items.get("kind", event["subject"]["kind"])
        if verb == "ledger.post" and kind != "journal":
            yield Finding("posting_without_journals", f"event at index {sealed.index}", "posted nothing that it has digests of")
        if kind == "outcome" and not verb.endswith(".erase"):
            for row in sealed.rows:
                yield from self._outcome(sealed.index, row)
        if "tx" not in event:
            # Events of before transactions were sealed with them say nothing of decisions; none comes after those that do.
            if self._first is not None and sealed.index > self._first:
                yield Finding(
                    "transaction_missing", f"event at index {sealed.index}", "does not say of which transaction it is"
                )
            return
        if self._first is None or sealed.index < self._first:
            self._first = sealed.index
        is_telling = sealed.told or sealed.stand or "decisions" in sealed.detail
        if is_telling or "decision" in event or "approval" in event or kind == "journal":
            try:
                yield from self._authority(sealed, verb, is_posting=kind == "journal" and not verb.endswith(".erase"))
            except BAD as error:
                yield Finding("event_malformed", f"event at index {sealed.index}", f"is not what it should be: {error}")

    def end(self, states: States | None, *, from_start: bool) -> Iterator[Finding]:
        """What is wrong once all was seen: `from_start`, from the first event on; with `states`, up to the last one."""
        for decision, places in self._ahead.items():
            for place, _, _ in places if from_start else ():
                yield Finding("decision_unknown", place, f"was done under decision {decision}, of which no event before tells")
        if from_start:
            yield from self._agreements.unknown
            yield from self._standing.unknown
        if states is not None and self._first is not None:
            yield from self._standing.end()
            yield from self._agreements.compare(states.get("approval", {}))

    def _outcome(self, index: int, row: Row) -> Iterator[Finding]:
        place = f"outcome {row.id}"
        if (earlier := self._ended.setdefault(row.id, index)) != index:
            yield Finding("outcome_twice", place, f"task {row.id} ended at index {earlier} and again at index {index}")
        if row.text is None:
            return
        try:
            text = loads(row.text)
            task, fence = text["task"], text["fence"]
            if task != row.id or not fence.isdecimal():
                raise ValueError("is of another task, or under no fence")
        except BAD as error:
            yield Finding("outcome_without_fence", place, str(error))
            return
        if (holder := self._fences.setdefault(fence, task)) != task:
            yield Finding("fence_twice", place, f"tasks {holder} and {task} ended under the fence {fence}")

    def _authority(self, sealed: Sealed, verb: str, *, is_posting: bool) -> Iterator[Finding]:
        """What decisions and agreements an event tells of, and what it was done under."""
        event, place = sealed.event, f"event at index {sealed.index}"
        tx = int(event["tx"])
        for row in sealed.told:
            yield from self._told(row, event["tx"])
        if verb.startswith("approvals."):
            yield from self._agreements.heard(sealed)
        if verb == "transfers.propose":
            yield from self._transfers(sealed, place, tx)
        elif verb not in _TELLING:
            named = listed(sealed.detail) or ([event["decision"]] if "decision" in event else [])
            if is_posting and len(named) not in (1, len(sealed.rows)):
                yield Finding("posting_undecided", place, f"posted {len(sealed.rows)} journals under {len(named)} decisions")
            for decision in named:
                yield from self._done(int(decision), place, tx, is_used=verb != "actions.execute")
        yield from self._standing.heard(sealed)

    def _told(self, row: Row, tx: str) -> Iterator[Finding]:
        """A decision as it was kept, and what it rests on."""
        place, id = f"decision {row.id}", int(row.id)
        used = 0 if row.used is None else int(row.used)
        if not 0 <= used < 2**63:
            raise ValueError("there is no such transaction")
        if row.text is None:
            if row.erased is not None:
                self._known[id] = used or ERASED
                yield from self._catch_up(id)
            return
        try:
            head, facts, said = read(row.text)
            self._standing.decided(row.id, head["digest"])
            if facts["action"] != head["action"] or facts["principal"] != head["principal"]:
                yield Finding("decision_differs", place, "is of another action, or somebody else's, than its facts")
            if head["outcome"] != said["outcome"]:
                if head["outcome"] != "allow" or said["outcome"] != "hold" or head.get("approval") is None:
                    yield Finding(
                        "decision_differs", place, f"is kept as {head['outcome']}, and its verdict is {said['outcome']}"
                    )
                else:
                    yield from self._agreements.cover(row.id, head, said["approve"], tx)
        except BAD as error:
            yield Finding("decision_differs", place, f"is not what a decision looks like: {error}")
            return
        if head["outcome"] != "allow" and used:
            yield Finding("decision_misused", place, f"does not allow, and transaction {used} is said to have used it")
        self._known[id] = NOT_ALLOWED if head["outcome"] != "allow" else used or UNUSED
        if self._ahead:
            yield from self._catch_up(id)

    def _catch_up(self, id: int) -> Iterator[Finding]:
        """Of a task's effects some are told of shortly before their decisions."""
        for place, tx, is_used in self._ahead.pop(id, ()):
            yield from self._done(id, place, tx, is_used=is_used)

    def _done(self, id: int, place: str, tx: int, *, is_used: bool) -> Iterator[Finding]:
        """Something was done in a transaction under a decision: it allows it, and that transaction alone has used it."""
        known = self._known[id]
        if known == 0:
            self._ahead.setdefault(id, []).append((place, tx, is_used))
        elif known == NOT_ALLOWED:
            yield Finding("decision_not_allowing", place, f"was done under decision {id}, which does not allow it")
        elif known in (UNUSED, ERASED):
            if is_used:
                yield Finding("decision_unused", place, f"was done under decision {id}, which is not said to have been used")
        elif known != tx:
            yield Finding("decision_used_twice", place, f"was done under decision {id}, which transaction {known} has used")

    def _transfers(self, sealed: Sealed, place: str, tx: int) -> Iterator[Finding]:
        """Transfers in order, with the decision of each."""
        transfers = sealed.detail["transfers"]
        decisions = listed(sealed.detail)
        if len(transfers) != len(decisions):
            yield Finding("posting_undecided", place, f"tells of {len(transfers)} transfers and {len(decisions)} decisions")
            return
        posted = 0
        for (transfer, outcome), decision in zip(transfers, decisions, strict=True):
            known = self._known[int(decision)]
            if outcome == "posted":
                posted += 1
                if known != tx:
                    yield from self._done(int(decision), place, tx, is_used=True)
            elif outcome == "denied" and known not in (0, NOT_ALLOWED, ERASED):
                yield Finding("decision_differs", f"decision {decision}", f"allows transfer {transfer}, which was denied")
            elif outcome != "denied" and known == NOT_ALLOWED:
                yield Finding(
                    "decision_not_allowing", place, f"transfer {transfer} is under decision {decision}, which denies it"
                )
            elif outcome not in ("denied", "queued") and known > ERASED:
                yield Finding(
                    "decision_misused", f"decision {decision}", f"nothing came of transfer {transfer}, and it was used"
                )
        if posted != len(sealed.rows):
            yield Finding("posting_undecided", place, f"posted {len(sealed.rows)} journals for {posted} transfers")
