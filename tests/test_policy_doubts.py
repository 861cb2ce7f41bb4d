"""What in a policy is probably a slip of the hand is told; what is meant is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tallystick import actions, agents, policy, subjects
from tallystick.cli.doubts import doubts
from tests.command_line import command
from tests.conftest import TestDatabase

ROOMS = (agents, subjects)
"""They register types of actions as well."""
DENY: dict[str, Any] = {"id": "never", "deny": True}


def _said(**when: Any) -> list[str]:
    parsed = policy.parse({"name": "p", "rules": [{**DENY, "when": when}, {"id": "all", "allow": True}]})
    return doubts(parsed.document, actions.names())


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"action": "paymnet.send"}, "rule never: action is never paymnet.send; is payment.send meant?"),
        ({"action": ["transfer", "tranfser"]}, "rule never: action is never tranfser; is transfer meant?"),
        ({"action": "polcy.*"}, "rule never: action is never polcy.*; is policy.apply meant?"),
        ({"kind": "robot"}, "rule never: kind is never robot"),
        ({"risk_tier": {"not": ["low", "hihg"]}}, "rule never: risk_tier is never hihg; is high meant?"),
        ({"roles": "superuser"}, "rule never: roles is never superuser"),
        ({"counterparty_kind": "externl"}, "rule never: counterparty_kind is never externl; is external meant?"),
        ({"acton": "transfer"}, "rule never: is action meant by acton?"),
    ],
)
def test_a_slip_of_the_hand_is_told(when: dict[str, Any], said: str) -> None:
    assert _said(**when) == [said]


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"action": ["transfer", "payment.*"], "kind": "agent", "roles": ["agent"]},
        {"amount": {"more_than": {"EUR": "1.00"}}, "behalf": {"not": None}},
        {"channel": "branch", "account": "ACC1"},
    ],
)
def test_what_can_be_meant_is_not(when: dict[str, Any]) -> None:
    assert _said(**when) == []


@pytest.mark.parametrize("name", ["default", "demo"])
def test_the_policies_that_come_with_it_leave_no_doubt(name: str) -> None:
    assert doubts(policy.packaged(name).document, actions.names()) == []


def test_policy_check_tells_of_it_and_takes_the_policy(database: TestDatabase, tmp_path: Path) -> None:
    file = tmp_path / "house.yaml"
    file.write_text("name: house\nrules:\n  - {id: never, when: {action: paymnet.send}, deny: yes}\n")
    said = command(database, "policy", "check", str(file))
    assert (said.exit_code, "rules=1" in said.stdout) == (0, True)
    assert "warning: rule never: action is never paymnet.send" in said.stderr
