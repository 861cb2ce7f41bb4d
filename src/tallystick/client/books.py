"""What is asked of the books: journals, reversals, holds, and what accounts may do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

from tallystick.client import decode
from tallystick.client.model import Hold, Placed, Posted, Released
from tallystick.client.transport import Transport

Number = Decimal | int | str


class Books:
    """The part of the client that works on the books. A refusal of the books is an answer: `refused`, with the `reason`."""

    _transport: Transport

    def post_journal(
        self,
        kind: str,
        entries: Sequence[tuple[str, Number]],
        *,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **about: Any,
    ) -> Posted:
        """Post a journal: `(account, amount)` each, above zero for what the account is given, below zero for what is taken.

        `about` are the other fields of the request: `effective_at`, `ref_id`, `task_id`, `meta`, `guards`.
        """
        body = {**journal(kind, entries, **about), "dry_run": dry_run}
        return decode.posted(self._transport.post("/v1/journals", body, key=new_key(idempotency_key)))

    def post_journals(
        self,
        journals: Sequence[Mapping[str, Any]],
        *,
        mode: Literal["independent", "atomic"] = "independent",
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> list[Posted]:
        """Post up to 8,192 journals, each made by `journal`, in one transaction; what became of each, in order."""
        body = {"mode": mode, "dry_run": dry_run, "journals": list(journals)}
        answer = self._transport.post("/v1/journals/batch", body, key=new_key(idempotency_key))
        return [decode.posted(item) for item in answer["results"]]

    def reverse_journal(
        self,
        journal_id: str,
        amount: Number | None = None,
        currency: str | None = None,
        *,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Posted:
        """Take a journal back: all of it, or an amount."""
        body: dict[str, Any] = {"dry_run": dry_run}
        if amount is not None:
            body["amount"] = {"amount": decimal(amount), "currency": currency}
        path = f"/v1/journals/{step(journal_id)}/reversals"
        return decode.posted(self._transport.post(path, body, key=new_key(idempotency_key)))

    def place_hold(
        self,
        account_id: str,
        amount: Number,
        currency: str,
        *,
        expires_in_s: int | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **about: Any,
    ) -> Placed:
        """Set money aside. `about` are the other fields of the request."""
        money = {"amount": decimal(amount), "currency": currency}
        body = {**about, "account": account_id, "amount": money, "expires_in_s": expires_in_s, "dry_run": dry_run}
        return decode.placed(self._transport.post("/v1/holds", body, key=new_key(idempotency_key)))

    def capture_hold(
        self,
        hold_id: str,
        to_account: str,
        amount: Number,
        currency: str,
        *,
        final: bool = False,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Posted:
        """Take what was set aside, or a part of it; with `final`, what then remains is freed."""
        money = {"amount": decimal(amount), "currency": currency}
        body = {"to_account": to_account, "amount": money, "final": final, "dry_run": dry_run}
        path = f"/v1/holds/{step(hold_id)}/captures"
        return decode.posted(self._transport.post(path, body, key=new_key(idempotency_key)))

    def release_hold(self, hold_id: str, *, dry_run: bool = False, idempotency_key: str | None = None) -> Released:
        """Give back what remains of a hold."""
        path = f"/v1/holds/{step(hold_id)}/release"
        return decode.released(self._transport.post(path, {"dry_run": dry_run}, key=new_key(idempotency_key)))

    def hold(self, hold_id: str) -> Hold:
        """The hold with that id, as it stands now."""
        return decode.hold(self._transport.get(f"/v1/holds/{step(hold_id)}"))

    def holds(self, account_id: str | None = None, *, only_open: bool = False, page_size: int = 100) -> Iterator[Hold]:
        """Holds, newest first, fetched `page_size` at a time."""
        cursor: str | None = None
        while True:
            parameters: dict[str, str | int | None] = {
                "account_id": account_id, "open": "true" if only_open else None, "limit": page_size, "cursor": cursor,
            }  # fmt: skip
            page = self._transport.get("/v1/holds", parameters)
            yield from (decode.hold(item) for item in page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def freeze_account(self, account_id: str, *, idempotency_key: str | None = None) -> None:
        """Stop an account: it neither gives nor takes."""
        self._transport.post(f"/v1/accounts/{step(account_id)}/freeze", key=new_key(idempotency_key))

    def unfreeze_account(self, account_id: str, *, idempotency_key: str | None = None) -> None:
        """Let a frozen account give and take again."""
        self._transport.post(f"/v1/accounts/{step(account_id)}/unfreeze", key=new_key(idempotency_key))

    def close_account(self, account_id: str, *, idempotency_key: str | None = None) -> None:
        """Close an account that holds nothing, for good."""
        self._transport.post(f"/v1/accounts/{step(account_id)}/close", key=new_key(idempotency_key))

    def set_overdraft_limit(self, account_id: str, limit: Number | None) -> None:
        """Set how far an account may be overdrawn; `None` is without end, for the bank's own accounts."""
        body = {"overdraft_limit": None if limit is None else decimal(limit)}
        self._transport.put(f"/v1/accounts/{step(account_id)}/limit", body)


def journal(kind: str, entries: Sequence[tuple[str, Number]], **about: Any) -> dict[str, Any]:
    """A journal for `Client.post_journals`; see `Client.post_journal`."""
    return {**about, "kind": kind, "entries": [{"account": name, "amount": decimal(amount)} for name, amount in entries]}


def decimal(amount: Number) -> str:
    """An amount as the server reads it; a float is refused with `TypeError`, as it is not exact."""
    if isinstance(amount, float) or not isinstance(amount, Decimal | int | str):
        raise TypeError("an amount is a Decimal, an int or a string")
    return format(amount, "f") if isinstance(amount, Decimal) else str(amount)


def new_key(given: str | None) -> str:
    """The caller's key, or one for this call alone, which is kept through every attempt."""
    return given if given is not None else str(uuid.uuid4())


def step(name: str) -> str:
    """A name as one step of a path, whatever characters it has."""
    return quote(name, safe="")
