"""The agents that come with Tallystick. They call nothing outside, so all they do commits with the end of their tasks."""

from tallystick.agents.process import process_case
from tallystick.agents.review import TradeReviewAgent
from tallystick.agents.roster import BuiltInAgent, built_in
from tallystick.agents.settlement import SettlementAgent

__all__ = ["BuiltInAgent", "SettlementAgent", "TradeReviewAgent", "built_in", "process_case"]
