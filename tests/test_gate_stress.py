"""All kinds of actions with money at once over real connections, on few accounts and under the same limits."""

from __future__ import annotations

import asyncio
import json
import os
import random
import uuid
from collections import Counter
from datetime import date
from decimal import Decimal
from typing import Any

from tallystick import actions, ledger, payments
from tallystick.actions import EntryPayload, HoldPayload, JournalPayload, registry
from tallystick.db import Database, DatabaseSettings, Tx
from tallystick.identity import Principal, house
from tallystick.kit import TallystickError, Unavailable
from tests.conftest import TestDatabase
from tests.serving import BANK
from tests.trading_desk import BROKER, EVA, buy, do, open_desk, sell, set_rules
from tests.working import Owner

CALLERS = 8
CALLS = int(os.environ.get("TALLYSTICK_GATE_CALLS", "60"))
CLERKS = (house("one"), house("two"))
MONEY = ("ALICE", "BOB", BROKER, BANK)
OTHERS = (
    actions.Party("Jana Nova", "DE89370400440532013000", "COBADEFF"),
    actions.Party("Petr Maly", "DE02120300000000202051"),
)
COUNTED = [
    "transfer", "journal.post", "journal.reverse", "hold.place", "hold.capture", "hold.release", "account.limit",
    "payment.send", "payment.receive", "payment.move", "order.place", "order.fill", "order.cancel",
]  # fmt: skip
SUMMED = ["transfer", "hold.place", "payment.send", "order.place"]
RULES: list[dict[str, Any]] = [
    {"id": "count", "when": {"action": COUNTED}, "window": {"count": {"at_most": 10_000}, "per": "principal", "over": "24h"}},
    {"id": "sum", "when": {"action": SUMMED}, "otherwise": "deny",
     "window": {"sum": {"at_most": {"CZK": "150.00"}}, "per": "account", "over": "24h"}},
    {"id": "payee", "when": {"action": ["transfer", "payment.send", "hold.capture"]},
     "window": {"count": {"at_most": 10_000}, "per": "counterparty", "over": "24h"}},
    {"id": "asks", "when": {"action": ["hold.place", "payment.send", "journal.post", "order.place"]}, "otherwise": "hold",
     "amount": {"at_most": {"CZK": "8.00"}}, "approve": [{"role": "approver", "people": 1}], "expires": "1h"},
]  # fmt: skip


class _Caller:
    """Proposes actions at random, each in a transaction of its own that is tried once."""

    def __init__(self, db: Database, seed: int, known: dict[str, list[Any]]) -> None:
        self._db = db
        self._random = random.Random(seed)
        self._known = known
        self.answers: Counter[str] = Counter()

    async def run(self, calls: int) -> None:
        for _ in range(calls):
            verb = self._random.choice(VERBS)
            try:
                async with self._db.write() as tx:
                    made = await verb(self, tx, self._random.choice(CLERKS))
            except Unavailable as error:
                # Nothing may be worth another try here: no deadlock, and no lock that takes long.
                raise AssertionError(f"{verb.__name__}: {error.__cause__}") from error
            except TallystickError as error:
                self.answers[f"{verb.__name__} {error.code}"] += 1
            else:
                self.answers[f"{verb.__name__} done"] += 1
                for name, ids in (made or {}).items():
                    self._known[name] += ids

    async def transfer(self, tx: Tx, by: Principal) -> Any:
        settle: Any = "queued" if self._chance(4) else "now"
        new = [actions.NewTransfer(*self._two(), self._amount(), settle=settle) for _ in range(self._random.randint(1, 3))]
        made = await actions.propose(tx, by, new)
        return {"queued": [one.id for one in made if isinstance(one, actions.Transfer) and one.status == "queued"]}

    async def settle(self, tx: Tx, _: Principal) -> Any:
        await actions.settle(tx, self._known["queued"][-4:])

    async def batch(self, tx: Tx, by: Principal) -> Any:
        new = [actions.NewTransfer(*self._two(), self._amount()) for _ in range(self._random.randint(1, 3))]
        await actions.propose_batch(tx, by, new, key=str(uuid.UUID(int=self._random.getrandbits(128))))

    async def journals(self, tx: Tx, by: Principal) -> Any:
        new = [ledger.NamedJournal("fee", self._entries()) for _ in range(self._random.randint(1, 3))]
        posted = await actions.post_journals(tx, by, new)
        return {"journal": [one.journal_id for one in posted if isinstance(one, ledger.Posted) and one.journal_id]}

    async def journal_batch(self, tx: Tx, by: Principal) -> Any:
        journals = [JournalPayload("fee", tuple(EntryPayload(*one) for one in self._entries())) for _ in range(2)]
        return await self._do(tx, by, actions.PostJournals(tuple(journals), "atomic"))

    async def reverse(self, tx: Tx, by: Principal) -> Any:
        return await self._do(tx, by, actions.ReverseJournal(self._one("journal")))

    async def place(self, tx: Tx, by: Principal) -> Any:
        holds = tuple(HoldPayload(name, self._amount()) for name in self._random.sample(("ALICE", "BOB"), k=2))
        placed = await self._do(tx, by, actions.PlaceHolds(holds[: self._random.randint(1, 2)]))
        return placed and {"hold": [one.hold_id for one in placed if one.hold_id]}

    async def capture(self, tx: Tx, by: Principal) -> Any:
        return await self._do(tx, by, actions.CaptureHold(self._one("hold"), self._random.choice(MONEY), "0.50"))

    async def release(self, tx: Tx, by: Principal) -> Any:
        return await self._do(tx, by, actions.ReleaseHold(self._one("hold")))

    async def limit(self, tx: Tx, by: Principal) -> Any:
        return await self._do(tx, by, actions.ChangeLimit(self._random.choice(("ALICE", "BOB")), self._amount()))

    async def send(self, tx: Tx, by: Principal) -> Any:
        payload = actions.SendPayment("NOSTRO", self._random.choice(MONEY), self._amount(), self._random.choice(OTHERS))
        sent = await self._do(tx, by, payload)
        return sent and {"payment": [sent.payment.id]}

    async def receive(self, tx: Tx, by: Principal) -> Any:
        beneficiary = self._random.choice(("ALICE", "BOB", "NOBODY"))
        received = await self._do(tx, by, actions.ReceivePayment("NOSTRO", beneficiary, self._amount()))
        return received and {"payment": [received.payment.id]}

    async def move(self, tx: Tx, by: Principal) -> Any:
        status = self._random.choice(("sent", "sent", "settled", "rejected", "returned", "cancelled", "assigned"))
        account = self._random.choice(("ALICE", "BOB")) if status == "assigned" else None
        reason = "AC04" if status in ("rejected", "returned") else None
        return await self._do(tx, by, actions.MovePayment(self._one("payment"), status, reason, account))

    async def order(self, tx: Tx, by: Principal) -> Any:
        side = self._random.choice((buy, sell))
        placed = await self._do(tx, by, side("0.7", "5", portfolio=self._random.choice("PQ")))
        return placed and {"order": [placed.id]}

    async def fill(self, tx: Tx, by: Principal) -> Any:
        return await self._do(tx, by, actions.FillOrder(self._one("order"), "0.1", "5"))

    async def cancel(self, tx: Tx, by: Principal) -> Any:
        return await self._do(tx, by, actions.CancelOrder(self._one("order")))

    async def vote(self, tx: Tx, _: Principal) -> Any:
        action = await self._held(tx)
        if action is not None:
            await actions.vote(tx, action.approval_id or 0, EVA, "approve", seen=action.digest, reason="because")

    async def amend(self, tx: Tx, by: Principal) -> Any:
        action = await self._held(tx)
        if action is not None and "amount" in action.payload:
            await actions.amend(tx, action.id, by, {**action.payload, "amount": "9.00"})

    async def standing(self, tx: Tx, by: Principal) -> Any:
        await actions.pay_due_page(tx, date(2126, 12, 31), limit=3, by=by.name)

    async def _do(self, tx: Tx, by: Principal, payload: Any) -> Any:
        """What came of an action that was let pass; `None` where it was not."""
        entered = await actions.enter(tx, by, payload)
        if not isinstance(entered, actions.Passed):
            return None
        run = registry.of(payload).run
        assert run is not None
        result = await run(tx, by, payload)
        if isinstance(result, TallystickError):
            raise result
        return result if isinstance(payload, _MAKING) else None

    async def _held(self, tx: Tx) -> actions.Action | None:
        held = await actions.actions(tx, status="held", limit=3)
        return self._random.choice(held) if held else None

    def _one(self, of: str) -> str:
        known = self._known[of][-6:]
        return str(self._random.choice(known)) if known else "999999999"

    def _two(self) -> tuple[str, str]:
        debit, credit = self._random.sample(MONEY, k=2)
        return debit, credit

    def _entries(self) -> list[tuple[str, str]]:
        one, two, three = self._random.sample(MONEY, k=3)
        return [(one, "-3.00"), (two, "1.00"), (three, "2.00")] if self._chance(2) else [(one, "-9.00"), (two, "9.00")]

    def _amount(self) -> str:
        return str(Decimal(self._random.randint(1, 1000)) / 100)

    def _chance(self, one_in: int) -> bool:
        return self._random.randrange(one_in) == 0


_MAKING = (actions.PlaceHolds, actions.SendPayment, actions.ReceivePayment, actions.PlaceOrder)
VERBS: list[Any] = [
    _Caller.transfer, _Caller.transfer, _Caller.transfer, _Caller.transfer, _Caller.settle, _Caller.batch, _Caller.journals,
    _Caller.journal_batch, _Caller.reverse, _Caller.place, _Caller.place, _Caller.capture, _Caller.release, _Caller.limit,
    _Caller.send, _Caller.send, _Caller.receive, _Caller.move, _Caller.move, _Caller.order, _Caller.fill, _Caller.cancel,
    _Caller.vote, _Caller.vote, _Caller.amend, _Caller.standing,
]  # fmt: skip


async def test_all_actions_at_once_never_stop_each_other_and_limits_count_what_was_allowed(
    db: Database, database: TestDatabase
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    desk = await open_desk(db, shorts=True)
    async with db.write() as tx:
        await payments.register(tx, "me", name="NOSTRO", bank="B", their_account="1", currency="CZK")
    for number, (account, payee) in enumerate((("BOB", 0), ("ALICE", 1), ("ALICE", 0))):
        new = actions.CreateOrder(f"SO{number}", account, "NOSTRO", OTHERS[payee], "1.00", date(2126, 1, 1), "week")
        await do(desk, new)
    await set_rules(db, *RULES)
    wide = Database(database.app_url, DatabaseSettings(pool_max_size=CALLERS, lock_timeout_ms=10_000))
    await wide.open()
    known: dict[str, list[Any]] = {name: [] for name in ("queued", "journal", "hold", "payment", "order")}
    callers = [_Caller(wide, seed + number, known) for number in range(CALLERS)]
    try:
        await asyncio.gather(*(caller.run(CALLS) for caller in callers))
    finally:
        await wide.close()
    answers = sum((caller.answers for caller in callers), Counter[str]())
    print(answers)
    # Chance may keep one of them from all that it could be about.
    assert len({verb.__name__ for verb in VERBS} - {name.split()[0] for name in answers if name.endswith(" done")}) <= 1
    async with desk.snapshot() as tx:
        assert all(one.difference == 0 for one in await ledger.trial_balance(tx))
    with Owner(database) as owner:
        assert owner.all("select deadlocks from pg_stat_database where datname = current_database()") == [0]
        assert _counted(owner) == _allowed(owner)
        assert max(owner.all("select sum + past_sum from policy.counter where key like 'sum|%%'")) <= 15_000
        assert owner.all("select 1 from policy.decision where outcome = 'deny' limit 1") == [1]


def _counted(owner: Owner) -> dict[str, tuple[int, int]]:
    """What was added up, by rule and by what it is counted for."""
    rows = owner.all("select key, count + past_count, sum + past_sum from policy.counter where count + past_count > 0")
    return {"|".join(key.split("|")[:: len(key.split("|")) - 1]): (count, total) for key, count, total in rows}


def _allowed(owner: Owner) -> dict[str, tuple[int, int]]:
    """What the counters should say, by the decisions that are kept."""
    found: dict[str, tuple[int, int]] = {}
    for action, text in owner.all("select action, facts from policy.decision where outcome = 'allow'"):
        facts = json.loads(text)
        for rule, actions_of, name in (
            ("count", COUNTED, "principal"),
            ("sum", SUMMED, "account"),
            ("payee", ("transfer", "payment.send", "hold.capture"), "counterparty"),
        ):
            if action in actions_of and facts.get(name) is not None:
                count, total = found.get(f"{rule}|{facts[name]}", (0, 0))
                found[f"{rule}|{facts[name]}"] = (count + facts.get("count", 1), total + (facts.get("amount") or 0))
    return found
