"""ledger.post: what is posted, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

from tallystick import ledger
from tallystick.db import Database


async def _open(db: Database, *specs: ledger.AccountSpec) -> list[int]:
    async with db.write() as tx:
        return [opened.id for opened in await ledger.open_accounts(tx, specs)]


async def test_a_transfer_moves_money_and_each_entry_carries_the_balance_it_left(db: Database) -> None:
    bank, alice = await _open(db, ledger.AccountSpec("bank", "CZK", "internal", None), ledger.AccountSpec("alice", "CZK"))
    async with db.write() as tx:
        (posted,) = await ledger.post(
            tx, [ledger.Journal("opening", ledger.transfer(debit=bank, credit=alice, amount=1250), "me")]
        )
        account = await ledger.account(tx, "alice")
        (entry,) = await ledger.entries(tx, alice)
    assert posted.refusal is None
    assert (account.posted, account.available, account.seq) == (1250, 1250, 1)
    assert (entry.amount, entry.balance_after, entry.journal_id) == (1250, 1250, posted.journal_id)


async def test_a_journal_beyond_the_floor_is_refused_and_its_neighbours_are_posted(db: Database) -> None:
    bank, alice = await _open(db, ledger.AccountSpec("bank", "CZK", "internal", None), ledger.AccountSpec("alice", "CZK"))
    async with db.write() as tx:
        answers = await ledger.post(
            tx,
            [
                ledger.Journal("t", ledger.transfer(debit=bank, credit=alice, amount=100), "me"),
                ledger.Journal("t", ledger.transfer(debit=alice, credit=bank, amount=101), "me"),
                ledger.Journal("t", ledger.transfer(debit=alice, credit=bank, amount=100), "me"),
            ],
        )
        account = await ledger.account(tx, "alice")
    assert [answer.refusal for answer in answers] == [None, "insufficient_funds", None]
    assert (account.posted, account.seq) == (0, 2)


async def test_the_same_key_and_request_answer_the_same_and_post_once(db: Database) -> None:
    bank, alice = await _open(db, ledger.AccountSpec("bank", "CZK", "internal", None), ledger.AccountSpec("alice", "CZK"))
    good = ledger.Journal("t", ledger.transfer(debit=bank, credit=alice, amount=5), "me", key="k1")
    bad = ledger.Journal("t", ledger.transfer(debit=alice, credit=bank, amount=500), "me", key="k2")
    other = ledger.Journal("t", ledger.transfer(debit=bank, credit=alice, amount=6), "me", key="k1")
    async with db.write() as tx:
        first = await ledger.post(tx, [good, bad])
    async with db.write() as tx:
        second = await ledger.post(tx, [good, bad, other, good])
        account = await ledger.account(tx, "alice")
    assert [(a.journal_id, a.refusal, a.replayed) for a in second[:2]] == [(a.journal_id, a.refusal, True) for a in first]
    assert (second[2].refusal, second[2].journal_id) == ("key_reused", None)
    assert second[3].journal_id == first[0].journal_id
    assert account.posted == 5


async def test_a_key_twice_in_one_batch_posts_once(db: Database) -> None:
    bank, alice = await _open(db, ledger.AccountSpec("bank", "CZK", "internal", None), ledger.AccountSpec("alice", "CZK"))
    journal = ledger.Journal("t", ledger.transfer(debit=bank, credit=alice, amount=5), "me", key="k1")
    async with db.write() as tx:
        first, second = await ledger.post(tx, [journal, journal])
        account = await ledger.account(tx, "alice")
    assert (first.replayed, second.replayed, second.journal_id) == (False, True, first.journal_id)
    assert account.posted == 5
