"""Break each invariant of the ledger and of the work on purpose, and see that the test which holds it turns red.

    python -m tests.mutants [NAME …]

Each mutant is a copy of the sources with one change; the named tests run against it and have to fail. It ends with 1 where a
mutant survives, or where a change no longer fits the sources.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).parent.parent
POST = "ledger/repeatable/20_post.sql"
HOLDS = "ledger/repeatable/15_holds.sql"
MACHINE = "tests/test_ledger_machine.py"
PLACES = "work/repeatable/10_places.sql"
ENQUEUE = "work/repeatable/20_enqueue.sql"
CLAIM = "work/repeatable/30_claim.sql"
END = "work/repeatable/40_end.sql"
LEASES = "work/repeatable/50_leases.sql"
STEPS = "work/repeatable/60_steps.sql"
ORDER = "tests/test_work_order.py"
LIMITS = "tests/test_work_limits.py"
RETRIES = "tests/test_work_retries.py"
WAITS = "tests/test_work_steps.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One invariant, the change that breaks it, and the tests that have to notice."""

    name: str
    invariant: str
    file: str
    old: str
    new: str
    tests: str = MACHINE


MUTANTS = (
    Mutant(
        "unbalanced",
        "a journal sums to zero per asset",
        POST,
        "group by u.journal, v_asset[u.place]",
        "group by u.journal",
    ),
    Mutant("fold", "a balance is the fold of its entries", POST, "e_cr[f] := v_cr[a];", "e_cr[f] := v_cr[a] + 1;"),
    Mutant("gap", "numbers of entries have no gap", POST, "v_seq[a] := v_seq[a] + 1;", "v_seq[a] := v_seq[a] + 2;"),
    Mutant(
        "floor",
        "available is never under the floor, holds included",
        POST,
        "and v_cr[a] - v_dr[a] - v_held[a] < v_floor[a] then",
        "and v_cr[a] - v_dr[a] < v_floor[a] then",
    ),
    Mutant(
        "prefix",
        "the floor holds after every journal of a batch, not only after the last",
        POST,
        "if p_entry_amount[f] < 0 and v_cr[a]",
        "if j = n and p_entry_amount[f] < 0 and v_cr[a]",
    ),
    Mutant(
        "credit",
        "a credit is never blocked by a floor",
        POST,
        "if v_net < 0 then\n                    v_why := 'insufficient_funds';",
        "if true then\n                    v_why := 'insufficient_funds';",
        "tests/test_ledger_verbs.py",
    ),
    Mutant(
        "key",
        "the same key and body have the same answer, refusals too",
        POST,
        "if v_refused and p_key is not null",
        "if false",
        "tests/test_ledger_post.py",
    ),
    Mutant(
        "reused",
        "the same key with another body is an error",
        "db/repeatable/10_claim.sql",
        "when c.hash = u.hash and c.kind = u.kind then 'replay'",
        "when c.kind = u.kind then 'replay'",
    ),
    Mutant(
        "resolved twice",
        "a hold is resolved at most once",
        HOLDS,
        "when o.hold_id is null or u.turn > 1 then 'hold_resolved'",
        "when o.hold_id is null then 'hold_resolved'",
    ),
    Mutant(
        "captured twice",
        "a hold is captured for no more than it is",
        POST,
        "h_left[h] := nullif(h_left[h] - h_taken[j] - h_freed[j], 0);",
        "null;",
    ),
    Mutant(
        "expiry",
        "a hold whose time is over binds nothing",
        POST,
        "    if v_any_held then",
        "    if false then",
    ),
    Mutant(
        "reversed twice",
        "reversals never exceed the original",
        POST,
        "r_left[r_at[f]] := r_left[r_at[f]] - v_amount;",
        "null;",
    ),
    Mutant(
        "refusal",
        "a refusal changes nothing",
        POST,
        "v_dr[a] := v_dr[a] + v_amount;",
        "v_dr[a] := v_dr[a];",
    ),
    Mutant("guard", "a guard that does not hold refuses", POST, "then 'guard_failed' end;", "then null end;"),
    Mutant(
        "atomic",
        "in an atomic batch one refusal refuses all",
        POST,
        "    if p_atomic and (v_refused",
        "    if false and (v_refused",
    ),
    Mutant(
        "period", "nothing is posted into a closed period", POST, "elsif p_effective_at[j] < v_closed then", "elsif false then"
    ),
    Mutant(
        "durable",
        "what was acknowledged is there after a kill",
        "db/pool.py",
        '"synchronous_commit": "on"',
        '"synchronous_commit": "off"',
        "tests/test_ledger_stress.py",
    ),
    Mutant(
        "deadlock",
        "writers in any order never deadlock",
        POST,
        "order by x.account_id\n",
        "order by x.account_id * sign(random() - 0.5)\n",
        "tests/test_ledger_races.py",
    ),
    Mutant(
        "grants",
        "no role of the application changes a fact",
        "ledger/repeatable/90_grants.sql",
        "grant select on all tables in schema ledger to tallystick_app",
        "grant select, update, delete, truncate on all tables in schema ledger to tallystick_app",
        "tests/test_privileges.py",
    ),
    Mutant(
        "triggers",
        "not even the owner changes a fact",
        "db/migrations/0003_ledger.sql",
        "before update or delete or truncate",
        "before update or delete",
        "tests/test_privileges.py",
    ),
)

WORK_MUTANTS = (
    Mutant(
        "one at a time",
        "tasks under one order key run one at a time",
        PLACES,
        "exit when v_busy >= v_task.per_key;",
        "exit when false;",
        ORDER,
    ),
    Mutant(
        "in order",
        "tasks under one order key run in the order of their ids",
        PLACES,
        "             order by t.task_id\n        loop",
        "             order by t.task_id desc\n        loop",
        ORDER,
    ),
    Mutant(
        "after all",
        "a task runs after all of those before it are done",
        PLACES,
        "where not exists (select from work.dependency d where d.task_id = u.id);",
        "where true;",
        ORDER,
    ),
    Mutant(
        "cascade",
        "what was to run after one that did not end well is cancelled, and what was to run after that",
        PLACES,
        "from after_ a join work.dependency d on d.on_task = a.task_id",
        "from after_ a join work.dependency d on d.on_task = a.task_id and false",
        ORDER,
    ),
    Mutant(
        "seen by one",
        "one that ends while its dependent is stored is seen by one of the two",
        ENQUEUE,
        "perform 1 from work.run r where r.task_id = p_task for key share;",
        "perform 1 from work.run r where r.task_id = p_task;",
        ORDER,
    ),
    Mutant(
        "range",
        "a long transaction finds a range of ids that was made meanwhile",
        ENQUEUE,
        "perform pg_relation_size('work.worker_id');",
        "null;",
        "tests/test_work_enqueue.py",
    ),
    Mutant(
        "key of a task",
        "the same task under the same key is the first one",
        "work/service.py",
        'if answer.state == "replay":',
        'if answer.state == "replay" and place > 1:',
        "tests/test_work_enqueue.py",
    ),
    Mutant(
        "first come",
        "of the same priority the oldest is claimed first",
        CLAIM,
        "order by q.priority desc, q.task_id",
        "order by q.priority desc, q.task_id desc",
        "tests/test_work_enqueue.py",
    ),
    Mutant(
        "limit",
        "a limit holds under many who claim at once",
        CLAIM,
        "      order by b.kind, b.name\n        for update;",
        "      order by b.kind, b.name;",
        LIMITS,
    ),
    Mutant("pause", "what is paused begins nothing", CLAIM, "where b.paused_at is not null", "where false", LIMITS),
    Mutant(
        "fence",
        "only the attempt that holds the fence ends a task",
        END,
        "where r.task_id = g.task_id and r.fence = g.fence\n",
        "where r.task_id = g.task_id\n",
        "tests/test_work.py",
    ),
    Mutant(
        "moved row",
        "an attempt that is prolonged at this moment is not lost by it",
        END,
        "where r.ctid = any (v_places)",
        "where r.ctid = any (v_places) and r.xmin::text::bigint <= txid_current() - 2",
        "tests/test_work_pairs.py",
    ),
    Mutant(
        "given up",
        "a task has as many attempts as it may, and no more",
        END,
        "else o.attempts >= coalesce(",
        "else o.attempts > coalesce(",
        RETRIES,
    ),
    Mutant(
        "crash apart",
        "a crash is not an attempt",
        END,
        "o.attempts - (g.ended in ('crash', 'returned'))::integer",
        "o.attempts - (g.ended = 'returned')::integer",
        RETRIES,
    ),
    Mutant("backoff", "the backoff doubles", END, "q.backoff_s * 2 ^", "q.backoff_s * 1 ^", RETRIES),
    Mutant("jitter", "the backoff has jitter", END, "* (0.5 + random() / 2)", "* 0.75", RETRIES),
    Mutant(
        "lease",
        "a lease that is over stays over",
        LEASES,
        "where w.id = p_worker_id and w.lease_until > db.clock();",
        "where w.id = p_worker_id;",
        LIMITS,
    ),
    Mutant(
        "lost worker",
        "what a lost worker held is tried again",
        LEASES,
        "not exists (select from work.worker w where w.id = r.worker_id)",
        "false",
        LIMITS,
    ),
    Mutant("timeout", "an attempt takes no longer than it may", LEASES, "or r.deadline_at <= v_now", "", LIMITS),
    Mutant(
        "in hand",
        "what somebody has in hand is left by the reaper",
        LEASES,
        "               for update of r skip locked) r;",
        "               for update of r) r;",
        "tests/test_work_pairs.py",
    ),
    Mutant(
        "deadline",
        "what is not finished by its deadline fails",
        LEASES,
        "where d.deadline_at <= v_now",
        "where d.deadline_at <= v_now - interval '1 hour'",
        "tests/test_work_enqueue.py",
    ),
    Mutant(
        "another clock",
        "there is one clock, which a test can shift",
        LEASES,
        "constant timestamptz := db.clock();",
        "constant timestamptz := clock_timestamp();",
        "tests/test_work_clock.py",
    ),
    Mutant(
        "fence of steps",
        "an attempt that is over writes no step",
        STEPS,
        "where r.task_id = p_task and r.fence = p_fence for key share;",
        "where r.task_id = p_task for key share;",
        WAITS,
    ),
    Mutant(
        "held",
        "an attempt that is held is ended by nobody else",
        STEPS,
        "where r.task_id = p_task and r.fence = p_fence for update;",
        "where r.task_id = p_task and r.fence = p_fence;",
        "tests/test_work_pairs.py",
    ),
    Mutant(
        "parked uncounted",
        "a parked task goes on as the same attempt",
        STEPS,
        "v_run.attempts - 1,",
        "v_run.attempts,",
        WAITS,
    ),
    Mutant(
        "missed event",
        "an event that comes as one begins to wait for it is not missed",
        STEPS,
        "perform pg_advisory_xact_lock_shared(7331022, hashtext(p_type));",
        "null;",
        WAITS,
    ),
    Mutant(
        "poison",
        "a step that is done is not waited for",
        STEPS,
        "s.name = p_step and s.state = 'done') then",
        "s.name = p_step and s.state = 'done' and false) then",
        WAITS,
    ),
    Mutant(
        "parked cost",
        "what is parked is not read until it is due",
        STEPS,
        "where w.wake_at <= v_now order by",
        "where w.wake_at <= db.clock() order by",
        "tests/test_work_parked.py",
    ),
    Mutant(
        "keys unsorted",
        "no two calls wait for each other",
        PLACES,
        "order by k.hash\n",
        "order by random()\n",
        "tests/test_work_stress.py",
    ),
    Mutant(
        "history",
        "what is dropped is what was exported",
        "work/repeatable/80_history.sql",
        "if not p_exported @> (",
        "if false and not p_exported @> (",
        "tests/test_work_history.py",
    ),
)


def main(names: list[str]) -> int:
    console = Console()
    alive = 0
    for mutant in (*MUTANTS, *WORK_MUTANTS):
        if names and mutant.name not in names:
            continue
        verdict = _run(mutant)
        alive += verdict != "red"
        console.print(f"{verdict:>8}  {mutant.name}: {mutant.invariant} ({mutant.tests})")
    return 1 if alive else 0


def _run(mutant: Mutant) -> str:
    with tempfile.TemporaryDirectory(prefix="tallystick-mutant-") as folder:
        copy = Path(folder).resolve() / "copy"
        for part in ("src", "tests", "docs", "README.md", "pyproject.toml", "ARCHITECTURE.md", "CHANGELOG.md", "bench"):
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                copy.mkdir(exist_ok=True)
                shutil.copy(source, copy / part)
        Path(folder).chmod(0o755)
        path = copy / "src/tallystick" / mutant.file
        text = path.read_text("utf-8")
        if mutant.old not in text:
            return "unfit"
        path.write_text(text.replace(mutant.old, mutant.new), "utf-8")
        environment = os.environ | {
            "PYTHONPATH": str(copy / "src"),
            "TALLYSTICK_MODEL_STEPS": "4000",
            "TALLYSTICK_WORK_STEPS": "3000",
            "TALLYSTICK_WORK_CALLS": "400",
            "TALLYSTICK_MODEL_SHRINK": "0",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", *mutant.tests.split()]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return "alive"
        # What cannot even be set up has not failed.
        failed = done.returncode == 1 and "\nFAILED " in done.stdout
        return "red" if failed else f"broken: {done.stdout[-2000:]}{done.stderr[-500:]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
