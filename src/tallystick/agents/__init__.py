"""The agents that come with Tallystick, and what any agent does to the bank when its task ends.

The built-in ones call nothing outside, so all they do commits with the end of their tasks.
"""

from tallystick.agents.case_actions import DecideCase, MoveCase
from tallystick.agents.effects import Refused, authority, carry_out, park
from tallystick.agents.process import process_case
from tallystick.agents.review import TradeReviewAgent
from tallystick.agents.roster import BuiltInAgent, built_in
from tallystick.agents.settlement import SettlementAgent

__all__ = [
    "BuiltInAgent",
    "DecideCase",
    "MoveCase",
    "Refused",
    "SettlementAgent",
    "TradeReviewAgent",
    "authority",
    "built_in",
    "carry_out",
    "park",
    "process_case",
]
