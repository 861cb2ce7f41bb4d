"""A record with something of every kind in it, for tests that look at it or tamper with it."""

from __future__ import annotations

from tallystick import actions, audit, cases, memory, tlog, work
from tallystick.db import Database
from tallystick.identity import house
from tests.serving import fund


async def live_a_little(db: Database, rounds: int = 3) -> None:
    """Transfers, cases, events, tasks with steps, ends of every kind, by several principals."""
    await fund(db)
    for number in range(rounds):
        async with db.write() as tx:
            await actions.propose(
                tx,
                house(f"me-{number}"),
                [
                    actions.NewTransfer("ALICE", "BOB", "1.50", "CZK", settle="now", key=f"now {number}", description="rent"),
                    actions.NewTransfer("ALICE", "BOB", "2.50", "CZK", settle="queued", key=f"later {number}"),
                ],
            )
            case = await cases.open_request(
                tx, "desk", customer=f"CUST-{number}", type="loan", payload={"why": "a car", "n": number}
            )
            await cases.record_result(tx, "desk", case.id, {"approved": number % 2 == 0})
            event = await memory.publish(tx, "risk", agent="risk-agent", type="score", payload={"score": number})
            assert event.id
            first, second, third = await work.enqueue(
                tx, "me", [work.NewTask("agent", "type", {"n": number, "of": name}) for name in ("a", "b", "c")]
            )
            await work.enqueue(tx, "me", [work.NewTask("agent", "later", {}, after=[third])])
        async with db.write() as tx:
            held = {task.task_id: task for task in await work.claim_these(tx, [first, second], worker="w")}
            step = work.NewStep("score", "step", "done", b"i" * 32, 1, {"answer": 42}, None, None, 5)
            await work.record_step(tx, first, held[first].fence, step)
            await work.finish(
                tx,
                [
                    work.Finish(first, held[first].fence, "done", {"fine": True}),
                    work.Finish(second, held[second].fence, "failed", error="agent_raised: ValueError"),
                ],
                "w",
            )
            await work.cancel(tx, third, "cli:anna", reason="no longer wanted")


async def seal(sealing: Database, keys: tlog.KeyFolder) -> None:
    """Seal all there is."""
    sealer = audit.Sealer(sealing, keys)
    while await sealer.seal():
        pass
