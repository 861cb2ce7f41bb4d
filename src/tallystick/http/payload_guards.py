"""What an action that is proposed by its name is about: its objects are guarded as those of the type's own routes are.

The gate looks at them again, but only after the type has read its facts, and on the way a type may say something of an object
that the caller is not to know of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallystick import actions, identity
from tallystick.http.guards import (
    Asked,
    Guard,
    in_body,
    in_path,
    of_accounts,
    of_case,
    of_customers,
    of_hold,
    of_journal,
    of_order,
    of_payment,
    of_portfolios,
    of_standing_order,
)
from tallystick.kit import NotFound

_ENTRIES = (in_body("payload.journals[].entries[].account"), in_body("payload.journals[].guards[].account"))
# Any type, a plug-in's too, names an account or a customer by these words; one type names an account that is not there yet.
_ACCOUNT, _CUSTOMER = of_accounts(in_body("payload.account")), of_customers(in_body("payload.customer"))
_OPENS = "account.open"
_HOLD, _ORDER, _CASE = of_hold(in_body("payload.hold")), of_order(in_body("payload.order")), of_case(in_body("payload.case"))
_OF_TYPE: Mapping[str, Guard] = {
    "case.process": _CASE,
    "case.status": _CASE,
    "hold.capture": _HOLD,
    "hold.place": of_accounts(in_body("payload.holds[].account")),
    "hold.release": _HOLD,
    "journal.post": of_accounts(*_ENTRIES),
    "journal.reverse": of_journal(in_body("payload.journal"), whole=True),
    "order.cancel": _ORDER,
    "order.fill": _ORDER,
    "order.place": of_portfolios(in_body("payload.portfolio")),
    "payment.receive": of_accounts(in_body("payload.beneficiary")),
    "payment.move": of_payment(in_body("payload.payment")),
    "standing_order.change": of_standing_order(in_body("payload.name")),
}


async def of_payload(asked: Asked) -> None:
    """What a proposed action is about is within reach."""
    await _look(asked, asked.body.get("type") if isinstance(asked.body, Mapping) else None)


async def of_amended(asked: Asked) -> None:
    """So is what a held one of the caller's own is to be about instead; of another's, the route says that there is none."""
    id = next(iter(in_path("action_id")(asked)))
    if not isinstance(id, str) or not id.isascii() or not id.isdigit() or len(id) > 18:
        return
    async with asked.call.database.read() as tx:
        try:
            found = await actions.action(tx, int(id))
        except NotFound:
            return
    if found.principal == asked.principal.name:
        await _look(asked, found.type)


async def _look(asked: Asked, type: Any) -> None:
    if type != _OPENS:
        await _ACCOUNT(asked)
    await _CUSTOMER(asked)
    if isinstance(type, str) and type in _OF_TYPE:
        await _OF_TYPE[type](asked)
    elif type == "subject.erase" and asked.principal.customers is not None:
        await _of_subject(asked)


async def _of_subject(asked: Asked) -> None:
    """A customer by number; who is known by cases alone is nobody's but of those who see all customers."""
    for subject in in_body("payload.subject")(asked):
        known = isinstance(subject, str) and subject.isascii() and subject.isdigit() and len(subject) <= 18
        if not known or not identity.may_touch_customer(asked.principal, int(subject)):
            raise NotFound("unknown_customer", f"there is no customer {subject}")
