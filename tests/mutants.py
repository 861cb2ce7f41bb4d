"""Break each invariant of the ledger on purpose, and see that the test which holds it turns red.

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


def main(names: list[str]) -> int:
    console = Console()
    alive = 0
    for mutant in MUTANTS:
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
            "TALLYSTICK_MODEL_SHRINK": "0",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", *mutant.tests.split()]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        # 1 says that tests failed; anything else, that they did not run.
        return {0: "alive", 1: "red"}.get(done.returncode, f"broken: {done.stdout[-2000:]}{done.stderr[-500:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
