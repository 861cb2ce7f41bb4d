"""Shared memory: immutable facts that one agent leaves for others."""

from tallystick.memory.model import Event
from tallystick.memory.service import page, publish, recent

__all__ = ["Event", "page", "publish", "recent"]
