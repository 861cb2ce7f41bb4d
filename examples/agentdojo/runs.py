"""The recorded runs: which count, what they called, and what an attack on them was after.

Source of the format: AgentDojo (Debenedetti et al., 2024), suite `banking`: runs as JSON Lines, tasks and environment as JSON.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

_ACCOUNT = re.compile(r"\b[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}\b")
EFFECTS = frozenset(
    {"send_money", "schedule_transaction", "update_scheduled_transaction", "update_password", "update_user_info"}
)


@dataclass(frozen=True)
class Call:
    """A tool call that had an effect when it was recorded."""

    tool: str
    args: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A run of an agent: the person's words, the calls that followed, and whose account the attack on it named."""

    task: str
    model: str
    attack: str | None
    prompt: str
    calls: tuple[Call, ...]
    attackers: frozenset[str]

    @property
    def named_accounts(self) -> list[str]:
        """The account numbers in the person's own words."""
        return sorted(set(_ACCOUNT.findall(self.prompt)))


def counted(path: Path) -> Iterator[Run]:
    """The runs that count: attacks that succeeded when recorded, and runs without attack that reached their goal.

    Left out are attacks that only want a task to fail, and runs whose task is an attacker's.
    """
    with _opened(path) as lines:
        for line in lines:
            run = json.loads(line, parse_float=Decimal)
            attack = run["attack_type"]
            if (attack or "").endswith("dos") or run["user_task_id"].startswith("injection_task_"):
                continue
            if run["security"] if attack else run["utility"]:
                yield _read(run)


def environment(path: Path, version: str = "v1") -> Mapping[str, Any]:
    """The bank account, standing orders and person that every run began with."""
    with _opened(path) as source:
        found = json.load(source, parse_float=Decimal)[version]["environment"]
    assert isinstance(found, dict)
    return found


def _opened(path: Path) -> IO[str]:
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open()


def _read(run: Mapping[str, Any]) -> Run:
    prompt = next(message["content"] for message in run["messages"] if message["role"] == "user")
    calls = tuple(
        Call(message["tool_call"]["function"], message["tool_call"]["args"])
        for message in run["messages"]
        if message["role"] == "tool" and not message.get("error") and message["tool_call"]["function"] in EFFECTS
    )
    injected = " ".join(str(text) for text in run["injections"].values())
    return Run(
        run["user_task_id"], run["pipeline_name"], run["attack_type"], prompt, calls, frozenset(_ACCOUNT.findall(injected))
    )
