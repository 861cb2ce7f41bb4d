"""How transfers and actions stand of which events tell: what they are of, under which decision, and what became of them.

Their rows change until they end, so that no event holds a digest of them; what one says of them stands in several events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from tallystick.tlog.agreements import Agreements
from tallystick.tlog.decisions import listed
from tallystick.tlog.found import Finding, Row, Sealed
from tallystick.tlog.lines import moved_by

Thing = Mapping[str, Any]
Value = TypeVar("Value")
TELLING = frozenset(
    {"transfers.propose", "transfers.settle", "transfers.batch", "actions.hold", "actions.execute", "actions.end"}
)
"""Verbs whose events tell of transfers and actions, with which exports hold how these stand."""

_TRANSFER = "transfer"
_BATCH = "transfer.batch"
_ENDS = frozenset({"rejected", "expired", "withdrawn"})
_RECENT = 20_000
_SAID = ("principal", "decision", "action", "task", "status", "reason", "journal")
"""What an event says of a transfer that it proposes; of one that is queued the first three."""


def things_of(event: Mapping[str, Any], detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The transfers and the action, by kind and id, of which an event tells, in the order in which an export has them."""
    if event["verb"] not in TELLING:
        return []
    things = [(_TRANSFER, str(one[0] if isinstance(one, list) else one)) for one in detail.get("transfers", ())]
    if event["subject"]["kind"] == "action":
        things.append(("action", event["subject"]["id"]))
    return things


class Standing:
    """Remembers questions that have not ended, transfers that wait, and the last thousands of what was decided and posted."""

    def __init__(self, agreements: Agreements) -> None:
        self._agreements = agreements
        self._digests: _Recent[str] = _Recent()
        self.decided = self._digests.keep
        """Take in what a decision is of, by its digest."""
        self._parts: _Recent[list[str]] = _Recent()
        self._posted: _Recent[tuple[str, str, Sequence[str]]] = _Recent()
        self._waiting: dict[str, str] = {}
        self._held: dict[str, tuple[str, Thing | None]] = {}
        self._hear: Mapping[str, Callable[[Sealed], Iterator[Finding]]] = {
            "transfers.propose": self._proposed,
            "transfers.settle": self._settled,
            "transfers.batch": self._batched,
            "actions.hold": self._held_back,
            "actions.amend": self._amended,
            "actions.execute": self._ended,
            "actions.end": self._ended,
            "actions.decide": self._decided,
            "ledger.post": self._journals,
        }
        self.unknown: list[Finding] = []
        """Of what was said to be posted elsewhere; in a range of the record that may have been told of before it."""

    def heard(self, sealed: Sealed) -> Iterable[Finding]:
        """Take in an event; how things stand otherwise than it says."""
        hear = self._hear.get(sealed.event["verb"])
        return () if hear is None else hear(sealed)

    def end(self) -> Iterator[Finding]:
        """What has ended, and no event tells of it, once all events were seen."""
        for id, status in self._waiting.items():
            yield Finding("transfer_differs", f"transfer {id}", f"status is {status!r}, its events say 'queued'")
        for id, (decision, row) in self._held.items():
            if row is None or "later" in row:
                continue
            yield from _action(id, row, {"status": "held", "decision": decision, "under": None, "reason": None})
            yield from self._content(id, row, self._agreements.digest_of(row.get("approval")))
            yield from self._own(id, row, {"status": "held", "journal": None, "reason": None})

    def _proposed(self, sealed: Sealed) -> Iterator[Finding]:
        """Transfers with what came of each: the posted ones are those of its journals, in order."""
        event, transfers, decisions = sealed.event, sealed.detail["transfers"], listed(sealed.detail)
        if not len(transfers) == len(decisions) == len(sealed.stand):
            # That is told of where decisions are looked at.
            return
        principal, task, journals = event["principal"], event.get("task"), iter(sealed.rows)
        for (id, outcome), decision, row in zip(transfers, decisions, sealed.stand, strict=True):
            journal = next(journals, None) if outcome == "posted" else None
            if row is None:
                continue
            said: tuple[str | None, ...]
            if journal is not None:
                said = (principal, decision, None, task, "posted", None, journal.id)
            elif outcome != "queued":
                said = (principal, decision, None, task, "failed", outcome, None)
            else:
                said = (principal, decision, None)
                if row["status"] != "queued" and "later" not in row:
                    self._waiting[id] = row["status"]
            if tuple(map(row.get, _SAID[: len(said)])) != said:
                yield from _transfer(id, row, dict(zip(_SAID, said, strict=False)))
            if (digest := self._digests.get(decision)) != row["digests"][0]:
                yield from self._is_of(id, row, digest)
            if journal is not None and "erased" in row:
                yield from _moves(id, row, journal)

    def _settled(self, sealed: Sealed) -> Iterator[Finding]:
        gone = set(map(str, sealed.detail.get("gone", ())))
        for (_, id), row in zip(things_of(sealed.event, sealed.detail), sealed.stand, strict=True):
            self._waiting.pop(id, None)
            if row is not None:
                said = {"status": "failed", "reason": "authority_gone"} if id in gone else {}
                yield from self._posting(id, row, sealed.event["tx"], said)

    def _batched(self, sealed: Sealed) -> Iterator[Finding]:
        """An action of many transfers, each of which is part of what was decided."""
        event = sealed.event
        action, decision = event["subject"]["id"], event["decision"]
        *transfers, row = sealed.stand
        parts = self._parts.pop(decision)
        for (id, outcome), one in zip(sealed.detail["transfers"], transfers, strict=True):
            if one is not None:
                said = {"principal": event["principal"], "decision": decision, "action": action}
                said["reason"] = None if outcome == "posted" else outcome
                yield from self._posting(id, one, event["tx"], said)
        yield from self._are_of(sealed, transfers, parts or [])
        if row is not None:
            approval = event.get("approval")
            said = {"type": _BATCH, "status": "executed", "under": decision, "reason": None, "approval": approval}
            said["count"] = str(sealed.detail["count"])
            outcomes = (outcome for _, outcome in sealed.detail["transfers"])
            refusal = next((one for one in outcomes if one not in ("posted", "batch_refused")), None)
            if refusal is not None and row["status"] == "failed":
                # An event of its own says that it failed, and why; where there is none, it is from before such actions did.
                said |= {"status": "failed", "reason": refusal}
            if approval is None:
                said["decision"] = decision
                yield from self._content(action, row, self._digests.get(decision))
            yield from _action(action, row, _about(event) | said)

    def _held_back(self, sealed: Sealed) -> Iterator[Finding]:
        event = sealed.event
        id, (row,) = event["subject"]["id"], sealed.stand
        self._held[id] = event["decision"], row
        if row is not None:
            yield from _action(id, row, _about(event) | {"type": sealed.detail["type"], "approval": event["approval"]})

    def _amended(self, sealed: Sealed) -> Iterator[Finding]:
        id = sealed.event["subject"]["id"]
        if id in self._held:
            self._held[id] = sealed.event["decision"], self._held[id][1]
        return iter(())

    def _ended(self, sealed: Sealed) -> Iterator[Finding]:
        """An action was carried out or came to its end: one that people were asked about, or one that passed at once."""
        event, detail = sealed.event, sealed.detail
        id, (row,) = event["subject"]["id"], sealed.stand
        held = self._held.pop(id, None)
        if row is None:
            return
        approval, reason = event.get("approval"), detail.get("reason")
        is_done = event["verb"] == "actions.execute"
        status = "executed" if is_done else detail.get("status", reason if approval and reason in _ENDS else "failed")
        said = _about(event) | {"type": detail["type"], "approval": approval, "status": status, "reason": reason}
        if is_done or approval is None:
            said["under"] = event["decision"]
        elif "under" in detail:
            said["under"] = detail["under"]
        if approval is None:
            said["decision"] = event["decision"]
        elif held is not None:
            said["decision"] = held[0]
        yield from _action(id, row, said)
        digest = self._digests.get(event["decision"]) if approval is None else self._agreements.digest_of(approval)
        yield from self._content(id, row, digest)
        if is_done:
            yield from self._own(id, row, None, event["tx"])
        else:
            yield from self._own(id, row, {"status": "failed", "reason": reason, "journal": None})

    def _decided(self, sealed: Sealed) -> Iterator[Finding]:
        """Decisions on a batch and its parts."""
        whole, *parts = sealed.detail.get("decisions") or [("",)]
        if _BATCH in whole:
            self._parts.keep(whole[0], [one[0] for one in parts])
        return iter(())

    def _journals(self, sealed: Sealed) -> Iterator[Finding]:
        for row in sealed.rows:
            if row.sent is not None and (found := moved_by(row.sent, _TRANSFER)) is not None:
                ref, moves = found
                self._posted.keep(ref, (sealed.event["tx"], row.id, moves))
        return iter(())

    def _posting(self, id: str, row: Thing, tx: str, said: Mapping[str, Any]) -> Iterator[Finding]:
        """A transfer stands as the books have it, which posted it in this transaction or did not."""
        posted = self._posted.pop(id)
        if posted is not None and posted[0] == tx:
            _, journal, moves = posted
            yield from _transfer(id, row, {**said, "status": "posted", "journal": journal, "reason": None, "moves": moves})
        else:
            if len(self.unknown) < _RECENT:
                self.unknown += _transfer(id, row, {"status": "failed", "journal": None})
            yield from _transfer(id, row, said)

    def _own(self, id: str, row: Thing, said: Mapping[str, Any] | None, tx: str = "") -> Iterator[Finding]:
        """The transfer of an action that is one, and that no task will propose again."""
        if row["type"] != _TRANSFER or "task" in row:
            return
        if len(row["transfers"]) != 1:
            yield Finding("row_missing", f"transfer of action {id}", f"there are {len(row['transfers'])}")
            return
        (own,) = row["transfers"]
        about = {"principal": row["principal"], "decision": row["decision"], "action": id, "task": None, **(said or {})}
        if said is None:
            yield from self._posting(own["id"], own, tx, about)
        else:
            yield from _transfer(own["id"], own, about)
        if row["digests"][1] != row["digests"][0] and "erased" not in own and "erased" not in row:
            yield Finding("transfer_differs", f"transfer {own['id']}", f"is not the one that action {id} is of")

    def _is_of(self, id: str, row: Thing, digest: str | None) -> Iterator[Finding]:
        """A transfer is what was decided, as far as neither was erased."""
        (had,) = row["digests"]
        if digest is not None and had != digest and (had is not None or "erased" not in row):
            yield Finding("transfer_differs", f"transfer {id}", "its accounts, amount or text are not what was decided")

    def _are_of(self, sealed: Sealed, transfers: Sequence[Thing | None], parts: Sequence[str]) -> Iterator[Finding]:
        """The transfers of a batch are what was decided of each. Of those that policy holds, once people have agreed, only the
        decision on the whole is kept: then the others are among them, in order.
        """
        decided = [self._digests.get(part) for part in parts]
        if len(decided) == len(transfers):
            for (id, _), row, digest in zip(sealed.detail["transfers"], transfers, decided, strict=True):
                if row is not None:
                    yield from self._is_of(id, row, digest)
        elif all(row is not None and "erased" not in row for row in transfers):
            there = (row["digests"][0] for row in transfers if row is not None)
            if not all(digest in there for digest in decided if digest is not None):
                place = f"action {sealed.event['subject']['id']}"
                yield Finding("action_differs", place, "its transfers are not what was decided")

    def _content(self, id: str, row: Thing, digest: str | None) -> Iterator[Finding]:
        """The payload of an action is what was decided or agreed to, as far as neither was erased."""
        if digest is not None and "erased" not in row and not row["digests"][0] == row["digest"] == digest:
            yield Finding("action_differs", f"action {id}", "its payload or digest is not what was decided")


class _Recent(Generic[Value]):
    """The last that was kept: between so many things and twice as many."""

    def __init__(self) -> None:
        self._new: dict[str, Value] = {}
        self._old: dict[str, Value] = {}

    def keep(self, key: str, value: Value) -> None:
        self._new[key] = value
        if len(self._new) == _RECENT:
            self._old, self._new = self._new, {}

    def get(self, key: str) -> Value | None:
        found = self._new.get(key)
        return self._old.get(key) if found is None else found

    def pop(self, key: str) -> Value | None:
        old = self._old.pop(key, None)
        return self._new.pop(key, old)


def _about(event: Mapping[str, Any]) -> dict[str, Any]:
    """Who proposed an action."""
    return {"principal": event["principal"], "for": event.get("for"), "task": event.get("task")}


def _transfer(id: str, row: Thing, said: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value in said.items():
        if row.get(name) != value:
            yield Finding("transfer_differs", f"transfer {id}", f"{name} is {row.get(name)!r}, its events say {value!r}")


def _action(id: str, row: Thing, said: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value in said.items():
        if row.get(name) != value:
            yield Finding("action_differs", f"action {id}", f"{name} is {row.get(name)!r}, its events say {value!r}")


def _moves(id: str, row: Thing, journal: Row) -> Iterator[Finding]:
    """Of a transfer whose text was erased, what its journal moved."""
    found = None if journal.sent is None else moved_by(journal.sent, _TRANSFER)
    if found is not None:
        yield from _transfer(id, row, {"moves": found[1]})
