"""The books against themselves: everything that was ever posted is gone through, and whatever does not fit is named.

All of it is read in one snapshot, a piece at a time: a piece is at most 20,000 accounts, journals, holds, entries or keys, so
that an account of millions of entries is gone through in pieces too, each of which begins with the last entry of the piece
before. The database answers a piece with what is wrong in it only, so that neither side ever holds more than a piece; a piece
that does not fit into `work_mem` is sorted on disk. What is checked, and what cannot be found, stands in docs/verify.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tallystick.db import Queries, Query, ReadTx

PIECE = 20_000
LISTED = 100
_FIRST, _LAST = -(2**63), 2**63 - 1
_FETCHED = 500

Progress = Callable[[int, int], None]
"""Is told how many of how many rows are done."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where the books are wrong: `place` names a row of the table `relation`, by its key."""

    code: str
    relation: str
    place: str
    found: str
    expected: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was gone through, the findings by code, and the first of each code, at most a hundred of them."""

    journals: int
    entries: int
    accounts: int
    holds: int
    counts: Mapping[str, int]
    findings: Sequence[Finding]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def clean(self) -> bool:
        return not self.counts


@dataclass(frozen=True, slots=True)
class Reference:
    """What another room knows of the books. `query` takes `first` and `last`, numbers of that room, and returns what the books
    contradict; `edge`, of `first` and `size`, is where a piece of that size ends, and no row for the last.
    """

    query: Query[Finding]
    edge: Query[int]


@dataclass(frozen=True, slots=True)
class _Counts:
    journals: int
    entries: int
    accounts: int
    holds: int
    refusals: int
    claims: int

    @property
    def total(self) -> int:
        return self.journals + self.entries + self.accounts + self.holds + self.refusals + self.claims


@dataclass(frozen=True, slots=True)
class _EntryEdge:
    account_id: int
    seq: int


@dataclass(frozen=True, slots=True)
class _ClaimEdge:
    scope: str
    key: str


_queries = Queries(__package__, "verifying.sql")
_PREPARE = _queries.bind("prepare_verifying", str)
_PREPARE_WHOLE = _queries.bind("prepare_whole", str)
_COUNTS = _queries.bind("verified_counts", _Counts)
BY_ACCOUNT = _queries.bind("account_edge", int)
"""The `edge` of a reference that goes by account."""
_JOURNAL_EDGE = _queries.bind("journal_edge", int)
_HOLD_EDGE = _queries.bind("hold_edge", int)
_REFUSAL_EDGE = _queries.bind("refusal_edge", int)
_ENTRY_EDGE = _queries.bind("entry_edge", _EntryEdge)
_CLAIM_EDGE = _queries.bind("claim_edge", _ClaimEdge)
_ASSETS = _queries.bind("verify_assets", Finding)
_CLOSED_PERIODS = _queries.bind("verify_closed_periods", Finding)
_ACCOUNTS = _queries.bind("verify_accounts", Finding)
_ACCOUNT_CHANGES = _queries.bind("verify_account_changes", Finding)
_ENTRIES = _queries.bind("verify_entries", Finding)
_JOURNALS = _queries.bind("verify_journals", Finding)
_REVERSALS = _queries.bind("verify_reversals", Finding)
_HOLDS = _queries.bind("verify_holds", Finding)
_HOLD_CHANGES = _queries.bind("verify_hold_changes", Finding)
_REFUSALS = _queries.bind("verify_refusals", Finding)
_CLAIMS = _queries.bind("verify_claims", Finding)
_WHOLE = tuple(
    _queries.bind(name, Finding)
    for name in (
        "verify_releases",
        "verify_captures",
        "verify_refusals_were_claimed",
        "verify_trial_balance",
        "verify_sequence",
    )
)


async def verify(
    tx: ReadTx, *, references: Sequence[Reference] = (), progress: Progress | None = None, piece: int = PIECE
) -> Verified:
    """Go through all of the books, in a snapshot (`db.snapshot()`), and name every place that is wrong.

    `references` are checked too: what other rooms know of the books. Memory is bounded by `piece` rows, whatever the size of
    the books; time is in proportion to them.
    """
    await tx.single(_PREPARE)
    counts = await tx.single(_COUNTS)
    going = _Going(tx, piece, counts.total, progress)
    await going.check(_ASSETS)
    await going.check(_CLOSED_PERIODS)
    await going.through(BY_ACCOUNT, [_ACCOUNTS, _ACCOUNT_CHANGES], counts.accounts)
    await going.through_entries(counts.entries)
    await going.through(_JOURNAL_EDGE, [_JOURNALS, _REVERSALS], counts.journals)
    await going.through(_HOLD_EDGE, [_HOLDS, _HOLD_CHANGES], counts.holds)
    await going.through(_REFUSAL_EDGE, [_REFUSALS], counts.refusals)
    await going.through_claims(counts.claims)
    for reference in references:
        await going.through(reference.edge, [reference.query], 0)
    await tx.single(_PREPARE_WHOLE)
    for query in _WHOLE:
        await going.check(query)
    return Verified(
        journals=counts.journals,
        entries=counts.entries,
        accounts=counts.accounts,
        holds=counts.holds,
        counts=dict(going.counts),
        findings=going.findings,
    )


@dataclass(slots=True)
class _Going:
    """How far we are, and what was found so far."""

    tx: ReadTx
    piece: int
    total: int
    progress: Progress | None
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    async def check(self, query: Query[Finding], parameters: Mapping[str, Any] | None = None) -> None:
        # A stream, as a piece may be wrong in every row.
        async for finding in self.tx.stream(query, parameters, batch=_FETCHED):
            self.counts[finding.code] += 1
            if self.counts[finding.code] <= LISTED:
                self.findings.append(finding)

    async def through(self, edge: Query[int], queries: Sequence[Query[Finding]], rows: int) -> None:
        """The pieces of a table that is numbered; together they hold every number there can be."""
        async for first, last in self._pieces(edge):
            for query in queries:
                await self.check(query, {"first": first, "last": last})
            rows = self._advance(rows)
        self._advance(rows, to_the_end=True)

    async def through_entries(self, rows: int) -> None:
        """The pieces of the entries, which overlap by one."""
        start, from_the_first = _EntryEdge(_FIRST, _FIRST), True
        while True:
            parameters = {"account_id": start.account_id, "seq": start.seq, "size": self.piece}
            edge = await self.tx.one(_ENTRY_EDGE, parameters)
            last = edge or _EntryEdge(_LAST, _LAST)
            await self.check(
                _ENTRIES,
                {
                    "first_account": start.account_id,
                    "first_seq": start.seq,
                    "last_account": last.account_id,
                    "last_seq": last.seq,
                    "from_the_first": from_the_first,
                },
            )
            if edge is None:
                break
            rows = self._advance(rows)
            start, from_the_first = last, False
        self._advance(rows, to_the_end=True)

    async def through_claims(self, rows: int) -> None:
        """The pieces of the idempotency keys, in their order."""
        start = _ClaimEdge("", "")
        while True:
            edge = await self.tx.one(_CLAIM_EDGE, {"scope": start.scope, "key": start.key, "size": self.piece})
            await self.check(
                _CLAIMS,
                {
                    "scope": start.scope,
                    "key": start.key,
                    "last_scope": None if edge is None else edge.scope,
                    "last_key": None if edge is None else edge.key,
                },
            )
            if edge is None:
                break
            rows = self._advance(rows)
            start = edge
        self._advance(rows, to_the_end=True)

    async def _pieces(self, edge: Query[int]) -> AsyncIterator[tuple[int, int]]:
        first = _FIRST
        while True:
            last: int | None = await self.tx.one(edge, {"first": first, "size": self.piece})
            yield first, _LAST if last is None else last
            if last is None or last == _LAST:
                return
            first = last + 1

    def _advance(self, rows: int, *, to_the_end: bool = False) -> int:
        """A piece of the `rows` that were left is done, or all of them; what is left now."""
        step = rows if to_the_end else min(rows, self.piece)
        self.done += step
        if self.progress is not None:
            self.progress(self.done, self.total)
        return rows - step
