"""The process that runs agents."""

from tallystick.worker.backend import DatabaseBackend
from tallystick.worker.loading import load
from tallystick.worker.replaying import recorded
from tallystick.worker.running import run_agents
from tallystick.worker.sweeper import Sweeper
from tallystick.worker.worker import Worker

__all__ = ["DatabaseBackend", "Sweeper", "Worker", "load", "recorded", "run_agents"]
