"""`/v1/journals`: post journals, one by one or in batches, and take them back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, ledger
from tallystick.db import Tx, key_reused
from tallystick.http.bodies import JournalsBody, OneJournalBody, ReversalBody
from tallystick.http.exact import BulkRoute, ExactRoute, Json
from tallystick.http.gate import perform, settled
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import PathId, RequiredKey
from tallystick.kit import TallystickError, plain

Thing = TypeVar("Thing")
router = APIRouter(route_class=ExactRoute, tags=["journals"])
bulk = APIRouter(route_class=BulkRoute, tags=["journals"])
_EXAMPLE: JsonDict = {
    "id": "77",
    "status": "posted",
    "reason": None,
    "posted_at": "2026-04-21T12:34:56.789012Z",
    "dry_run": False,
}


class PostedAnswer(BaseModel):
    """What became of a journal: `posted`, or `refused` by the books with the `reason`. Of a rehearsal there is no id."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str | None
    status: Literal["posted", "refused"]
    reason: str | None
    posted_at: datetime | None
    dry_run: bool


class PostedBatch(BaseModel):
    """What became of each journal, in order."""

    results: list[PostedAnswer]


@router.post("/v1/journals", status_code=201, response_model=PostedAnswer)
async def post_journal(body: OneJournalBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Post a journal. A refusal of the books is an answer, remembered under the key."""
    named, by = body.named(idempotency_key), call.principal
    if not body.dry_run:
        return Json(answer_of(settled(await call.services.journals.submit(call.principal, idempotency_key, named)), False), 201)

    async def rehearse(tx: Tx) -> ledger.Posted:
        journals = all_read(await ledger.read_journals(tx, by.name, [named], on_behalf_of=by.on_behalf_of))
        (posted,) = await ledger.post_on_record(tx, journals, dry_run=True)
        return posted

    payload = actions.PostJournals((actions.JournalPayload.of(named),))
    return Json(answer_of(await perform(call, payload, rehearse, key=idempotency_key, dry_run=True), True), 201)


@bulk.post("/v1/journals/batch", status_code=201, response_model=PostedBatch)
async def post_journals(body: JournalsBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Post up to 8,192 journals in one transaction. One that cannot be read refuses the call; each has its own answer."""
    by = call.principal

    async def post(tx: Tx) -> list[ledger.Posted]:
        named = [journal.named(None) for journal in body.journals]
        journals = all_read(await ledger.read_journals(tx, by.name, named, on_behalf_of=by.on_behalf_of))

        async def carry_out(keyed: Sequence[ledger.Journal]) -> list[ledger.Posted]:
            return await ledger.post_on_record(tx, keyed, mode=body.mode, dry_run=body.dry_run)

        return await ledger.once_per_batch(tx, journals, carry_out, key=idempotency_key, mode=body.mode, dry_run=body.dry_run)

    payload = actions.PostJournals(tuple(actions.JournalPayload.of(one.named(None)) for one in body.journals), body.mode)
    answers = await perform(call, payload, post, key=idempotency_key, dry_run=body.dry_run)
    return Json({"results": [answer_of(answer, body.dry_run) for answer in answers]}, 201)


@router.post("/v1/journals/{journal_id}/reversals", status_code=201, response_model=PostedAnswer)
async def reverse_journal(journal_id: PathId, body: ReversalBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Take a journal back, wholly or in part, by another journal; in sum, once. The original stays as it is."""
    named = ledger.NamedReversal(
        journal_id,
        amount=None if body.amount is None else body.amount.amount,
        currency=None if body.amount is None else body.amount.currency,
        entries=None if body.entries is None else [(entry.account, entry.amount) for entry in body.entries],
        key=idempotency_key,
        effective_at=body.effective_at,
        **body.told(),
    )
    by = call.principal

    async def reverse(tx: Tx) -> ledger.Posted:
        reversal = await ledger.read_reversal(tx, by.name, named, on_behalf_of=by.on_behalf_of)
        return await ledger.reverse_on_record(tx, reversal, dry_run=body.dry_run)

    payload = actions.ReverseJournal(
        str(journal_id),
        None if named.amount is None else plain(named.amount),
        named.currency,
        None if named.entries is None else tuple(actions.EntryPayload(name, plain(amount)) for name, amount in named.entries),
        named.effective_at,
        dict(named.meta) or None,
    )
    return Json(answer_of(await perform(call, payload, reverse, key=idempotency_key, dry_run=body.dry_run), body.dry_run), 201)


def all_read(read: Sequence[Thing | TallystickError]) -> list[Thing]:
    """What was read, where all of it could be; raises the first refusal, which in a batch says whose it is."""
    things: list[Thing] = []
    for place, one in enumerate(read):
        if isinstance(one, TallystickError):
            raise one if len(read) == 1 else one.of_number(place)
        things.append(one)
    return things


def answer_of(posted: ledger.Posted, dry_run: bool) -> dict[str, Any]:
    """The JSON of what became of a journal. Raises `key_reused`, which is no answer but an error of the caller."""
    if posted.refusal == "key_reused":
        raise key_reused()
    return {
        "id": None if posted.journal_id is None else str(posted.journal_id),
        "status": "posted" if posted.refusal is None else "refused",
        "reason": posted.refusal,
        "posted_at": posted.posted_at,
        "dry_run": dry_run,
    }
