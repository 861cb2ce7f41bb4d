"""The process that runs agents."""

from tallystick.worker.worker import Worker

__all__ = ["Worker"]
