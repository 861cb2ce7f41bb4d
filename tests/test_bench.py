"""The benchmarks run; what they measure is looked at by people."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench import record_verify, work

ROOT = Path(__file__).parent.parent


@pytest.mark.faults
def test_the_benchmark_of_tasks_measures_ours_without_the_peers_installed() -> None:
    small = "--seconds 0.1 --pace-seconds 0.5 --rounds 1 --tasks 200 --history 1000 --parked 90 --processes 1 --no-tuning"
    done = subprocess.run(
        [sys.executable, "-m", "bench.work", "--only", "ours", *small.split()],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"^ratio (\w+) \d+\.\d\d$", done.stdout, re.MULTILINE)) == {
        "drain_with_10M_history_vs_empty",
        "claim_with_100k_parked_vs_none",
        "posting_vs_pgbench",
    }
    for measure in ("enqueue in bulk", "enqueue by single calls", "drain at best", "drain at batch 1", "WAL", "start, p99"):
        assert measure in done.stdout


def test_a_benchmark_whose_peer_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["bench.work", "--only", "ours", "pgqueuer"])
    with pytest.raises(SystemExit, match=r"pgqueuer.*pip install 'tallystick\[bench\]'"):
        work.main()


def test_the_benchmark_of_the_offline_verifier_measures_an_export_that_verifies() -> None:
    assert record_verify.measure(99, 1) > 0
