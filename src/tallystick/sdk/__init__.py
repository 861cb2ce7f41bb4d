"""What an agent's author writes with, and the runner that runs it. It imports nothing else of Tallystick.

    agent = Agent("risk-agent", version="2026-11-20")

    @agent.task("fraud.screen", max_attempts=5, timeout_s=30)
    async def screen(task: Task[TransferRef]) -> Verdict:
        score = await task.step("score", score_of, task.payload)
        ...

Where tasks are kept is behind `Backend`; a worker has one beside the database, the client one over HTTP.
"""

from tallystick.sdk.agent import Agent, TaskType
from tallystick.sdk.backend import (
    TIMED_OUT,
    Attempt,
    Backend,
    Completion,
    Done,
    Effect,
    End,
    Enqueue,
    Failed,
    Lost,
    Publish,
    Queue,
    Returned,
    StepKind,
    StepRecord,
    StepState,
    Transfer,
    Wait,
    WaitKind,
)
from tallystick.sdk.calls import NOT_DONE
from tallystick.sdk.effects import Effects
from tallystick.sdk.errors import (
    AttemptOver,
    BackendAway,
    EffectRefused,
    FenceLost,
    Finished,
    FinishMisused,
    InDoubt,
    NotDone,
    NotJson,
    Parked,
    RetryLater,
    StepChanged,
    StepMisused,
    TaskFailed,
)
from tallystick.sdk.models import ModelReply
from tallystick.sdk.replaying import Difference, Recorded, RecordedStep, replay
from tallystick.sdk.runner import Runner, Stuck
from tallystick.sdk.sync_task import SyncTask
from tallystick.sdk.task import Approval, Task

__all__ = [
    "NOT_DONE",
    "TIMED_OUT",
    "Agent",
    "Approval",
    "Attempt",
    "AttemptOver",
    "Backend",
    "BackendAway",
    "Completion",
    "Difference",
    "Done",
    "Effect",
    "EffectRefused",
    "Effects",
    "End",
    "Enqueue",
    "Failed",
    "FenceLost",
    "FinishMisused",
    "Finished",
    "InDoubt",
    "Lost",
    "ModelReply",
    "NotDone",
    "NotJson",
    "Parked",
    "Publish",
    "Queue",
    "Recorded",
    "RecordedStep",
    "RetryLater",
    "Returned",
    "Runner",
    "StepChanged",
    "StepKind",
    "StepMisused",
    "StepRecord",
    "StepState",
    "Stuck",
    "SyncTask",
    "Task",
    "TaskFailed",
    "TaskType",
    "Transfer",
    "Wait",
    "WaitKind",
    "replay",
]
