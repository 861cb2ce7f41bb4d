"""The verbs of the reconciliation: import another bank's statement, match it with the books, decide what no rule decides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from tallystick import audit, statements
from tallystick.db import ReadTx, Tx, key_reused
from tallystick.kit import Conflict, Invalid, NotFound, TallystickError, check_text, digest
from tallystick.payments import mirrors
from tallystick.payments import reconciliation_store as store
from tallystick.payments import store as payment_store
from tallystick.payments.booking import MAX_BATCH
from tallystick.payments.model import Move, Nostro
from tallystick.payments.moving import move
from tallystick.payments.reconciliation_model import (
    ENTRY_BASE,
    OUTCOMES,
    Imported,
    Item,
    Outcome,
    Reconciliation,
    StatementHead,
    Total,
)

Form = Literal["camt053", "csv"]

MAX_LINES = 1_000_000
MAX_TOLERANCE_DAYS = 31
_MAX_SUM = 9 * 10**18
_MAX_WHY = 500
_MAX_STATEMENT_ID = 100
_CHUNK = 10_000
_NEWEST = 2**63 - 1
_NOT_PROVIDED = "NOTPROVIDED"


def read_file(data: bytes, *, form: Form, nostro: Nostro, scales: Mapping[str, int]) -> list[statements.StatementFile]:
    """The statements of a file that are of this nostro's account at the other bank.

    `scales` are the decimals of the currencies we know. A statement in CSV names neither itself nor its account: it is of this
    one, and is called by the digest of the file. Refuses with `Invalid` (`statement_malformed`, `statement_too_large`,
    `statement_of_another_account`, `currency_mismatch`).
    """
    if form == "csv":
        found = statements.read_csv(data, account=nostro.their_account, currency=nostro.asset, scale=nostro.scale)
        return [replace(found, statement_id=found.statement_id or f"csv-{hashlib.sha256(data).hexdigest()[:32]}")]
    every = statements.read_camt053(data, scale_of=scales.__getitem__)
    ours = [found for found in every if mirrors.normal(found.account) == nostro.their_account]
    if not ours:
        raise Invalid("statement_of_another_account", "no statement of the file is of this nostro's account")
    return ours


async def import_statements(
    tx: Tx,
    principal: str,
    name: str,
    files: Sequence[statements.StatementFile],
    *,
    file_digest: bytes,
    tolerance_days: int = 3,
    settle: bool = False,
    key: str | None = None,
) -> Imported:
    """Store the statements of a file for the nostro `name`, and match what is open of them with the entries that are open.

    A file is stored once, by its digest (SHA-256): given again, its statements are matched again, which finds what was posted
    since. With `settle`, outgoing payments that are `sent` and that an open line tells of, by end-to-end id and amount, become
    `settled` first, booked on the line's day. With `key`, the same call again changes nothing.

    The same books and the same file give the same matches. Refuses with `NotFound` (`unknown_nostro`), with `Conflict`
    (`statement_exists`: another file has brought a statement of this name), and with `Invalid` (`statement_too_large`: over a
    million lines, `number_out_of_range`, `currency_mismatch`, `tolerance_out_of_range`, `text_…`, `key_reused`).
    """
    if not 0 <= tolerance_days <= MAX_TOLERANCE_DAYS:
        raise Invalid("tolerance_out_of_range", f"days may be 0 to {MAX_TOLERANCE_DAYS} apart")
    nostro = await mirrors.nostro(tx, name)
    for file in files:
        _check_file(file, nostro)
    replayed = False
    if key is not None:
        request = digest(["statement_import", nostro.id, file_digest.hex(), tolerance_days, settle])
        claimed = await store.claim_import(tx, principal, key, request)
        if claimed.state == "reused":
            raise key_reused()
        replayed = claimed.state == "replay"
    await store.lock_nostro(tx, nostro.id)
    ids = await store.by_digest(tx, nostro.id, file_digest)
    settled = refused = 0
    if not replayed:
        if not ids:
            ids = [await _store(tx, principal, nostro, file, file_digest) for file in files]
        for statement_id in ids:
            done, failed = await _settle(tx, principal, nostro, statement_id) if settle else (0, 0)
            settled, refused = settled + done, refused + failed
            matched = await store.match(tx, principal, statement_id=statement_id, tolerance_days=tolerance_days)
            detail = {
                "matched": [[each.rule, each.differs, each.lines] for each in matched],
                "tolerance_days": tolerance_days,
                "settled": done,
            }
            await _record(tx, principal, "payments.reconcile", statement_id, detail)
    return Imported(tuple([await reconciliation(tx, statement_id) for statement_id in ids]), settled, refused)


async def reconciliation(tx: ReadTx, statement_id: int) -> Reconciliation:
    """The statement beside the books, as both stand now; refuses with `NotFound` (`unknown_reconciliation`)."""
    known = await head(tx, statement_id)
    totals: dict[Outcome, Total] = {outcome: Total() for outcome in OUTCOMES}
    lines_sum = 0
    for of_lines in await store.line_sums(tx, known.id):
        outcome = _outcome(of_lines.outcome)
        ours = of_lines.amount if outcome == "matched" else of_lines.entry_amount
        totals[outcome] = Total(of_lines.lines, of_lines.amount, ours)
        lines_sum += of_lines.amount
    for of_entries in await store.entry_sums(tx, known):
        outcome = _outcome(of_entries.outcome)
        so_far = totals[outcome]
        totals[outcome] = Total(so_far.count + of_entries.lines, so_far.theirs, so_far.ours + of_entries.entry_amount)
    ours_now = await store.ours(tx, known)
    return Reconciliation(known, totals, ours_now.opening, ours_now.closing, lines_sum)


async def head(tx: ReadTx, statement_id: int) -> StatementHead:
    """The statement of a reconciliation; refuses with `NotFound` (`unknown_reconciliation`)."""
    found = await store.heads(tx, ids=[statement_id], nostro_id=None, before=_NEWEST, limit=1)
    if not found:
        raise NotFound("unknown_reconciliation", f"there is no reconciliation {statement_id}")
    return found[0]


async def heads(tx: ReadTx, *, nostro: str | None = None, before: int | None = None, limit: int = 50) -> list[StatementHead]:
    """A page of the statements that were imported, newest first; of one nostro where named (`unknown_nostro`)."""
    nostro_id = None if nostro is None else (await mirrors.nostro(tx, nostro)).id
    return await store.heads(tx, ids=None, nostro_id=nostro_id, before=before or _NEWEST, limit=limit)


async def items(
    tx: ReadTx, statement_id: int, *, outcome: Outcome | None = None, after: int = 0, limit: int = 50
) -> list[Item]:
    """A page of what a reconciliation compares, after the place `after`: lines in order, then entries without a line.

    Refuses with `NotFound` (`unknown_reconciliation`).
    """
    known = await head(tx, statement_id)
    found: list[Item] = []
    if after < ENTRY_BASE and outcome != "missing_in_statement":
        found = await store.line_items(tx, known.id, outcome=outcome, after=after, limit=limit)
    if len(found) < limit and outcome in (None, "missing_in_statement", "explained"):
        seq = max(after - ENTRY_BASE, 0)
        found += await store.entry_items(tx, known, outcome=outcome, after=seq, limit=limit - len(found))
    return found


async def match_by_hand(tx: Tx, principal: str, statement_id: int, *, number: int, entry_seq: int, why: str) -> None:
    """A person says that line `number` tells of the entry `entry_seq` of the nostro account, and why. It is for good.

    Refuses with `NotFound` (`unknown_reconciliation`), with `Invalid` (`text_…`), and with `Conflict` (`not_open`) where one
    of both does not exist, or is matched or explained already.
    """
    why = _said(why)
    await head(tx, statement_id)
    differs = await store.match_by_hand(tx, principal, statement_id=statement_id, number=number, entry_seq=entry_seq, why=why)
    if differs is None:
        raise _not_open()
    detail = {"line": number, "entry": entry_seq, "differs": differs}
    await _record(tx, principal, "payments.match", statement_id, detail)


async def explain(
    tx: Tx, principal: str, statement_id: int, *, number: int | None = None, entry_seq: int | None = None, why: str
) -> None:
    """A person says why line `number`, or the entry `entry_seq`, has no counterpart or another amount. It is for good.

    Refuses with `NotFound` (`unknown_reconciliation`), with `Invalid` (`line_or_entry`: one of both is to be named; `text_…`),
    and with `Conflict` (`not_open`) where there is no such line or entry, or nothing to explain about it.
    """
    why = _said(why)
    known = await head(tx, statement_id)
    await store.lock_nostro(tx, known.nostro_id)
    if number is not None and entry_seq is None:
        done = await store.explain_line(tx, principal, statement_id=statement_id, number=number, why=why)
    elif entry_seq is not None and number is None:
        done = await store.explain_entry(tx, principal, statement_id=statement_id, entry_seq=entry_seq, why=why)
    else:
        raise Invalid("line_or_entry", "either a line or an entry is explained")
    if done is None:
        raise _not_open()
    await _record(tx, principal, "payments.explain", statement_id, {"line": number, "entry": entry_seq})


def _check_file(file: statements.StatementFile, nostro: Nostro) -> None:
    if len(file.lines) > MAX_LINES:
        raise Invalid("statement_too_large", f"a statement may have {MAX_LINES} lines")
    if file.currency != nostro.asset:
        raise Invalid("currency_mismatch", f"the statement is in {file.currency} and the nostro holds {nostro.asset}")
    if mirrors.normal(file.account) != nostro.their_account:
        raise Invalid("statement_of_another_account", "the statement is not of this nostro's account")
    check_text(file.statement_id, "the statement's id", _MAX_STATEMENT_ID)
    if not file.statement_id:
        raise Invalid("text_malformed", "a statement has an id")
    sums = (sum(abs(line.amount) for line in file.lines), abs(file.opening or 0), abs(file.closing or 0))
    if max(sums) > _MAX_SUM:
        raise Invalid("number_out_of_range", "the statement's amounts are too large")


async def _store(tx: Tx, principal: str, nostro: Nostro, file: statements.StatementFile, file_digest: bytes) -> int:
    days = [day for line in file.lines if (day := line.booked_on or line.valued_on) is not None]
    statement_id = await store.insert_statement(
        tx,
        principal,
        nostro_id=nostro.id,
        statement_id=file.statement_id,
        digest=file_digest,
        opening=file.opening,
        opening_on=min(days, default=None),
        closing=file.closing,
        closing_on=max(days, default=None),
        lines=len(file.lines),
    )
    if statement_id is None:
        raise Conflict("statement_exists", "another file has brought a statement of this name")
    for start in range(0, len(file.lines), _CHUNK):
        await store.insert_lines(tx, statement_id, [_plain(line) for line in file.lines[start : start + _CHUNK]])
    return statement_id


def _plain(line: statements.StatementLine) -> statements.StatementLine:
    return replace(line, end_to_end_id=None) if line.end_to_end_id == _NOT_PROVIDED else line


async def _settle(tx: Tx, principal: str, nostro: Nostro, statement_id: int) -> tuple[int, int]:
    """Settle the sent payments that open lines tell of: how many were, and how many the books refuse."""
    wanted = await store.to_settle(tx, nostro_id=nostro.id, statement_id=statement_id)
    # All rows are locked before the first balance is, as everywhere.
    await payment_store.lock(tx, [each.id for each in wanted])
    settled = 0
    for start in range(0, len(wanted), MAX_BATCH):
        moves = [Move(each.id, "settled", booked_on=each.booked_on) for each in wanted[start : start + MAX_BATCH]]
        answers = await move(tx, principal, moves)
        settled += sum(1 for answer in answers if not isinstance(answer, TallystickError))
    return settled, len(wanted) - settled


async def _record(tx: Tx, principal: str, verb: str, statement_id: int, detail: Mapping[str, object]) -> None:
    await audit.append(
        tx, principal=principal, verb=verb, subject_kind="reconciliation", subject_id=statement_id, detail=detail
    )


def _outcome(name: str) -> Outcome:
    return next(outcome for outcome in OUTCOMES if outcome == name)


def _said(why: str) -> str:
    why = check_text(why, "the reason", _MAX_WHY).strip()
    if not why:
        raise Invalid("text_malformed", "a reason is to be given")
    return why


def _not_open() -> Conflict:
    return Conflict("not_open", "there is no such line or entry, or it has its counterpart or its explanation already")
