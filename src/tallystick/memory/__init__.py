"""Shared memory: immutable facts that one agent leaves for others."""

from tallystick.memory.model import Event
from tallystick.memory.recorded import RECORDED, RECORDED_IDS
from tallystick.memory.service import page, publish, recent, wait_for

__all__ = ["RECORDED", "RECORDED_IDS", "Event", "page", "publish", "recent", "wait_for"]
