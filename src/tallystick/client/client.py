"""What an agent or a service asks of the server, one method a verb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal

from tallystick.client import decode
from tallystick.client.books import Books, decimal, new_key, step
from tallystick.client.model import Account, Attempt, Case, Entry, Event, Task, Transfer, TransferBatch
from tallystick.client.transport import Transport


class Client(Books):
    """A connection to one server, as one principal.

    Every call that has an effect goes out under an idempotency key, one of the caller's or one made for the call, and is sent
    again under it when the connection is lost. Every refusal is an `ApiError` with the server's code. Not for several threads.
    """

    def __init__(self, base_url: str, api_key: str | None = None, *, timeout_s: float = 10, attempts: int = 4) -> None:
        self._transport = Transport(base_url, api_key, timeout_s, attempts)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # Work.

    def create_agent_task(
        self, task_type: str, payload: Mapping[str, Any], *, agent: str = "agent", idempotency_key: str | None = None
    ) -> Task:
        """Store a task for `agent` and queue it."""
        body = {"agent": agent, "type": task_type, "payload": payload}
        return decode.task(self._transport.post("/v1/tasks", body, key=new_key(idempotency_key)))

    def fetch_pending_tasks(self, limit: int = 10, *, agent: str | None = None, task_type: str | None = None) -> list[Task]:
        """Up to `limit` queued tasks, oldest first. To work on one, claim it."""
        parameters: dict[str, str | int | None] = {"status": "queued", "limit": limit, "agent": agent, "type": task_type}
        return [decode.task(item) for item in self._transport.get("/v1/tasks", parameters)["items"]]

    def task(self, task_id: str) -> Task:
        """The task with that id."""
        return decode.task(self._transport.get(f"/v1/tasks/{step(task_id)}"))

    def claim_tasks(
        self, agents: Sequence[str], *, types: Sequence[str] | None = None, limit: int = 1, lease_s: int = 60
    ) -> list[Attempt]:
        """Take up to `limit` queued tasks of `agents`, oldest first, for `lease_s` seconds; after that others may have them.

        A claim whose answer is lost is not sent again: its tasks come back by themselves.
        """
        body: dict[str, Any] = {"agents": list(agents), "limit": limit, "lease_s": lease_s}
        if types is not None:
            body["types"] = list(types)
        return [decode.attempt(item) for item in self._transport.post("/v1/tasks/claim", body, key=None)["items"]]

    def finish_task(self, attempt: Attempt, result: Any = None, *, idempotency_key: str | None = None) -> Task:
        """End an attempt well. Refused with `fence_lost` where somebody else has the task by now."""
        body = {"fence": attempt.fence, "state": "done", "result": result}
        return self._finish(attempt, body, idempotency_key)

    def fail_task(self, attempt: Attempt, error: str, *, idempotency_key: str | None = None) -> Task:
        """End an attempt, and the task with it, as failed; `error` says why."""
        return self._finish(attempt, {"fence": attempt.fence, "state": "failed", "error": error}, idempotency_key)

    def _finish(self, attempt: Attempt, body: Mapping[str, Any], key: str | None) -> Task:
        return decode.task(self._transport.post(f"/v1/tasks/{step(attempt.id)}/finish", body, key=new_key(key)))

    # Shared memory.

    def publish_event(self, agent: str, type: str, payload: Mapping[str, Any], *, idempotency_key: str | None = None) -> Event:
        """Leave a fact for other agents; it never changes."""
        body = {"agent": agent, "type": type, "payload": payload}
        return decode.event(self._transport.post("/v1/events", body, key=new_key(idempotency_key)))

    def read_events(self, agent: str | None = None, limit: int = 20) -> list[Event]:
        """The newest facts, of one agent where it is named, newest first."""
        page = self._transport.get("/v1/events", {"agent": agent, "limit": limit})
        return [decode.event(item) for item in page["items"]]

    # Cases.

    def open_case(
        self, customer_id: str, type: str, payload: Mapping[str, Any] | str, *, idempotency_key: str | None = None
    ) -> Case:
        """Take in a customer's request, whose payload is an object, or event, whose payload is text."""
        door = "event" if isinstance(payload, str) else "request"
        body = {"customer_id": customer_id, "type": type, "door": door, "payload": payload}
        return decode.case(self._transport.post("/v1/cases", body, key=new_key(idempotency_key)))

    def case(self, case_id: str) -> Case:
        """The case with that id."""
        return decode.case(self._transport.get(f"/v1/cases/{step(case_id)}"))

    def process_case(self, case_id: str, *, idempotency_key: str | None = None) -> Case:
        """Have its agent decide a request. One that was decided keeps its result."""
        return decode.case(self._transport.post(f"/v1/cases/{step(case_id)}/process", key=new_key(idempotency_key)))

    def set_case_status(self, case_id: str, status: str) -> Case:
        """Move an event forward. Refused with `impossible_transition` where that is a step back."""
        return decode.case(self._transport.patch(f"/v1/cases/{step(case_id)}/status", {"status": status}))

    # Money.

    def transfer(
        self,
        from_account: str,
        to_account: str,
        amount: Decimal | int | str,
        currency: str,
        *,
        settle: Literal["now", "queued"] = "now",
        description: str | None = None,
        idempotency_key: str | None = None,
    ) -> Transfer:
        """Move money. A business refusal is an answer: `status` is `failed`, and `reason` says why.

        `amount` is a decimal in `currency`; a float is refused with `TypeError`, as it is not exact. To ask again after the
        program itself has died, use a key of your own.
        """
        body = transfer(from_account, to_account, amount, currency, settle=settle, description=description)
        return decode.transfer(self._transport.post("/v1/transfers", body, key=new_key(idempotency_key)))

    def transfers(
        self,
        transfers: Sequence[Mapping[str, Any]],
        *,
        mode: Literal["independent", "atomic"] = "independent",
        idempotency_key: str | None = None,
    ) -> TransferBatch:
        """Make up to 1,000 transfers in one transaction, in order; each is written by `tallystick.client.transfer`.

        `atomic`, they are one action: one question to policy and to people, and made together or not at all.
        """
        body = {"mode": mode, "transfers": list(transfers)}
        return decode.transfers(self._transport.post("/v1/transfers/batch", body, key=new_key(idempotency_key)))

    def get_transfer(self, transfer_id: str) -> Transfer:
        """The transfer with that id, as it stands now."""
        return decode.transfer(self._transport.get(f"/v1/transfers/{step(transfer_id)}"))

    def account(self, account_id: str) -> Account:
        """The account of that name."""
        return decode.account(self._transport.get(f"/v1/accounts/{step(account_id)}"))

    def balance(self, account_id: str) -> Decimal:
        """What is posted to the account."""
        return self.account(account_id).posted

    def entries(self, account_id: str, *, order: Literal["asc", "desc"] = "desc", page_size: int = 100) -> Iterator[Entry]:
        """The account's statement, newest first or oldest first, fetched `page_size` entries at a time."""
        cursor: str | None = None
        while True:
            parameters = {"order": order, "limit": page_size, "cursor": cursor}
            page = self._transport.get(f"/v1/accounts/{step(account_id)}/entries", parameters)
            for item in page["items"]:
                yield decode.entry(item)
            cursor = page["next_cursor"]
            if cursor is None:
                return


def transfer(
    from_account: str,
    to_account: str,
    amount: Decimal | int | str,
    currency: str,
    *,
    settle: Literal["now", "queued"] = "now",
    description: str | None = None,
) -> dict[str, Any]:
    """A transfer for `Client.transfers`."""
    return {
        "from_account": from_account,
        "to_account": to_account,
        "amount": {"amount": decimal(amount), "currency": currency},
        "settle": settle,
        "description": description,
    }
