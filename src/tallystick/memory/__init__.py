"""Shared memory: immutable facts that one agent leaves for others."""

from tallystick.memory.model import Event
from tallystick.memory.recorded import RECORDED
from tallystick.memory.service import page, publish, recent, wait_for

__all__ = ["RECORDED", "Event", "page", "publish", "recent", "wait_for"]
