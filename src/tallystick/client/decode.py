"""From the server's JSON to values. Fields that this client does not know are left aside: a newer server may send more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from tallystick.client.model import (
    Account,
    Attempt,
    Case,
    Entry,
    Event,
    Hold,
    Placed,
    Posted,
    Released,
    Task,
    Transfer,
    TransferBatch,
)

Value = TypeVar("Value")
_TIMES = frozenset(
    {"created_at", "changed_at", "settled_at", "deadline_at", "effective_at", "posted_at", "placed_at", "expires_at"}
)
_AMOUNTS = frozenset({"posted", "held", "available", "amount", "balance_after", "captured", "remaining", "overdraft_limit"})


def account(answer: Mapping[str, Any]) -> Account:
    return _value(Account, answer)


def entry(answer: Mapping[str, Any]) -> Entry:
    return _value(Entry, answer)


def transfer(answer: Mapping[str, Any]) -> Transfer:
    return _value(Transfer, {**answer, **answer["amount"]})


def transfers(answer: Mapping[str, Any]) -> TransferBatch:
    made = tuple(transfer(one) for one in answer.get("results", ()))
    return TransferBatch(answer["action_id"], answer.get("approval_id"), made)


def posted(answer: Mapping[str, Any]) -> Posted:
    return _value(Posted, answer)


def placed(answer: Mapping[str, Any]) -> Placed:
    return _value(Placed, answer)


def released(answer: Mapping[str, Any]) -> Released:
    return _value(Released, answer)


def hold(answer: Mapping[str, Any]) -> Hold:
    parts = {name: answer[name]["amount"] for name in ("amount", "captured", "remaining")}
    return _value(Hold, {**answer, **parts, "currency": answer["amount"]["currency"]})


def task(answer: Mapping[str, Any]) -> Task:
    return _value(Task, answer)


def attempt(answer: Mapping[str, Any]) -> Attempt:
    return _value(Attempt, answer)


def event(answer: Mapping[str, Any]) -> Event:
    return _value(Event, answer)


def case(answer: Mapping[str, Any]) -> Case:
    return _value(Case, answer)


def _value(kind: Callable[..., Value], answer: Mapping[str, Any]) -> Value:
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: _field(name, answer[name]) for name in names})


def _field(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _TIMES:
        return datetime.fromisoformat(value)
    return Decimal(value) if name in _AMOUNTS else value
