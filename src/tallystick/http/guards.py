"""What is looked at before a route answers a caller who does not see everything.

What lies outside the caller's reach is answered as what does not exist, before anything else is said of the request.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request

from tallystick import actions, cases, customers, identity, ledger, payments, trading, work
from tallystick.db import ReadTx
from tallystick.http.services import Call
from tallystick.http.shapes import MAX_ID
from tallystick.kit import Forbidden, NotFound

Guard = Callable[["Asked"], Awaitable[None]]
Values = Callable[["Asked"], Iterable[Any]]
Thing = TypeVar("Thing", int, str)

_ID = re.compile(r"[1-9][0-9]{0,18}")
_MAX_LOOKED_AT = 20_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a known caller: what its address and its body name, as they came."""

    call: Call
    path: Mapping[str, Any]
    query: Mapping[str, str]
    body: Any

    @property
    def principal(self) -> identity.Principal:
        return self.call.principal


def is_narrow(principal: identity.Principal) -> bool:
    """Whether the guards are to look: there is something that the caller does not see."""
    return principal.kind == "agent" or principal.accounts is not None or principal.customers is not None


def asked_by(call: Call, request: Request, body: Any) -> Asked:
    """What the guards look at."""
    return Asked(call, request.path_params, request.query_params, body)


def reach_missing() -> Forbidden:
    """The refusal of what is about all business, to a caller that does not see all of it."""
    return Forbidden("reach_missing", "this is about all accounts and customers, and you see some of them")


# Where a request names something.


def in_path(name: str) -> Values:
    return lambda asked: [asked.path.get(name)]


def in_query(name: str) -> Values:
    return lambda asked: [asked.query[name]] if name in asked.query else []


def in_body(place: str) -> Values:
    """What stands at a place of the body, such as `journals[].entries[].account`; what is not there is left out."""
    steps = place.split(".")
    return lambda asked: _at(asked.body, steps)


def _at(value: Any, steps: list[str]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    name, many = steps[0].removesuffix("[]"), steps[0].endswith("[]")
    found = value.get(name) if isinstance(value, Mapping) else None
    for each in found if many and isinstance(found, list) else [found]:
        if each is not None:
            yield from _at(each, steps[1:])


def _ids(values: Iterable[Any]) -> list[int]:
    """Those that can be ids; the others are refused by the route."""
    found = [int(value) for value in values if isinstance(value, str) and _ID.fullmatch(value)]
    return [number for number in dict.fromkeys(found) if number <= MAX_ID][:_MAX_LOOKED_AT]


# Guards. Each is asked for callers alone that do not see everything.


def of_accounts(*places: Values) -> Guard:
    """All accounts that are named there are within reach."""

    async def guard(asked: Asked) -> None:
        for name in _texts(places, asked):
            if not identity.may_touch(asked.principal, name):
                raise _unknown_account(name)

    return guard


def of_customers(*places: Values) -> Guard:
    async def guard(asked: Asked) -> None:
        if asked.principal.customers is None:
            return
        for name in _texts(places, asked):
            if not _can_be_stored(name):
                continue
            async with asked.call.database.read() as tx:
                found = await customers.get(tx, name)
            if not identity.may_touch_customer(asked.principal, found.id):
                raise NotFound("unknown_customer", f"there is no customer {name}")

    return guard


def _texts(places: Iterable[Values], asked: Asked) -> list[str]:
    found = [value for place in places for value in place(asked) if isinstance(value, str)]
    return list(dict.fromkeys(found))[:_MAX_LOOKED_AT]


def _can_be_stored(name: str) -> bool:
    return "\x00" not in name and not any("\ud800" <= character <= "\udfff" for character in name)


async def of_everything(asked: Asked) -> None:
    """What the route tells is about all business."""
    if not identity.sees_all(asked.principal):
        raise reach_missing()


def of_transfer(place: Values) -> Guard:
    async def guard(asked: Asked) -> None:
        if asked.principal.accounts is None:
            return
        for id in _ids(place(asked)):
            async with asked.call.database.read() as tx:
                found = await actions.get(tx, id)
            if not {found.from_account, found.to_account} & asked.principal.accounts:
                raise NotFound("unknown_transfer", f"there is no transfer {id}")

    return guard


def of_journal(place: Values, *, whole: bool = False) -> Guard:
    """An entry of the journal is in an account within reach; with `whole`, each is."""

    async def guard(asked: Asked) -> None:
        if asked.principal.accounts is None:
            return
        for id in _ids(place(asked)):
            async with asked.call.database.read() as tx:
                await ledger.journal(tx, id)
                named = {leg.account for leg in await ledger.legs(tx, [id])}
            if not (named <= asked.principal.accounts if whole else named & asked.principal.accounts):
                raise NotFound("unknown_journal", f"there is no journal {id}")

    return guard


def of_hold(place: Values) -> Guard:
    async def account(tx: ReadTx, id: int) -> str:
        return (await ledger.hold(tx, id)).account

    return _of_their_account(_numbers(place), account, lambda id: NotFound("unknown_hold", f"there is no hold {id}"))


def of_payment(place: Values) -> Guard:
    async def account(tx: ReadTx, id: int) -> str | None:
        return (await payments.get(tx, id)).payment.account

    return _of_their_account(
        _numbers(place), account, lambda id: NotFound("unknown_payment", f"there is no external payment {id}")
    )


def of_portfolios(*places: Values) -> Guard:
    """The cash accounts of all portfolios that are named there are within reach."""

    async def account(tx: ReadTx, name: str) -> str:
        return (await trading.portfolio(tx, name)).account

    return _of_their_account(_names(*places), account, trading.unknown_portfolio)


def of_order(place: Values) -> Guard:
    async def account(tx: ReadTx, id: int) -> str:
        return (await trading.order(tx, id)).account

    return _of_their_account(_numbers(place), account, trading.unknown_order)


def of_standing_order(place: Values) -> Guard:
    async def account(tx: ReadTx, name: str) -> str:
        return (await customers.plan(tx, name)).account

    return _of_their_account(_names(place), account, customers.unknown_standing_order)


def _of_their_account(
    named: Callable[[Asked], list[Thing]],
    account: Callable[[ReadTx, Thing], Awaitable[str | None]],
    unknown: Callable[[Thing], NotFound],
) -> Guard:
    """Each thing that is named belongs to an account within reach."""

    async def guard(asked: Asked) -> None:
        if asked.principal.accounts is None:
            return
        for one in named(asked):
            async with asked.call.database.read() as tx:
                found = await account(tx, one)
            if found not in asked.principal.accounts:
                raise unknown(one)

    return guard


def _numbers(place: Values) -> Callable[[Asked], list[int]]:
    return lambda asked: _ids(place(asked))


def _names(*places: Values) -> Callable[[Asked], list[str]]:
    return lambda asked: [name for name in _texts(places, asked) if _can_be_stored(name)]


def of_case(place: Values) -> Guard:
    async def guard(asked: Asked) -> None:
        if asked.principal.customers is None:
            return
        for id in _ids(place(asked)):
            async with asked.call.database.read() as tx:
                found = await cases.get(tx, id)
                try:
                    customer = await customers.get(tx, found.customer)
                except NotFound:
                    customer = None
            if customer is None or customer.id not in asked.principal.customers:
                raise NotFound("unknown_case", f"there is no case {id}")

    return guard


def of_tasks(*places: Values) -> Guard:
    """All tasks that are named there are the agent's own."""

    async def guard(asked: Asked) -> None:
        if asked.principal.kind != "agent":
            await of_everything(asked)
            return
        ids = _ids(value for place in places for value in place(asked))
        if not ids:
            return
        async with asked.call.database.read() as tx:
            agents = await work.agents_of(tx, ids)
        for id in ids:
            if agents.get(id) != asked.principal.name:
                raise NotFound("unknown_task", f"there is no task {id}")

    return guard


def own_tasks(*places: Values) -> Guard:
    """What an agent does comes from tasks of its own; of others, nothing is asked."""
    of_them = of_tasks(*places)

    async def guard(asked: Asked) -> None:
        if asked.principal.kind == "agent":
            await of_them(asked)

    return guard


def own_name(*places: Values) -> Guard:
    """An agent names itself alone."""

    async def guard(asked: Asked) -> None:
        if asked.principal.kind != "agent":
            await of_everything(asked)
            return
        for name in _texts(places, asked):
            if name != asked.principal.name:
                raise Forbidden("another_agent", "an agent works on its own tasks and speaks in its own name")

    return guard


async def own_work(asked: Asked) -> None:
    """Lists of tasks, which leave out those of other agents."""
    if asked.principal.kind != "agent":
        await of_everything(asked)


async def of_timeline(asked: Asked) -> None:
    kind = asked.query.get("kind")
    if kind in _OF_TIMELINE:
        await _OF_TIMELINE[kind](asked)
    if kind not in ("case", "transfer"):
        await of_everything(asked)


_OF_TIMELINE: dict[str, Guard] = {
    "account": of_accounts(in_query("id")),
    "case": of_case(in_query("id")),
    "transfer": of_transfer(in_query("id")),
}


def _unknown_account(name: str) -> NotFound:
    return NotFound("unknown_account", f"there is no account {name}")
