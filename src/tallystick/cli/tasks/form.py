"""Tasks and what belongs to them as JSON, in the words of `/v1/tasks`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tallystick import work


def task_json(task: work.Task) -> dict[str, Any]:
    """A task as it stands."""
    return {**dataclasses.asdict(task), "id": str(task.id)}


def step_json(step: work.Step) -> dict[str, Any]:
    """One line of the record of a step."""
    told = {**dataclasses.asdict(step), "fence": str(step.fence), "input_hash": step.input_hash.hex()}
    told["try"] = told.pop("attempt")
    return told


def attempt_json(attempt: work.Attempt) -> dict[str, Any]:
    """An attempt that came to nothing."""
    return {**dataclasses.asdict(attempt), "fence": str(attempt.fence)}


def waiting_json(waiting: work.Waiting | None) -> Mapping[str, Any] | None:
    """What a task waits for."""
    if waiting is None:
        return None
    ids = {"after": [str(id) for id in waiting.after], "behind": [str(id) for id in waiting.behind]}
    return {**dataclasses.asdict(waiting), **ids}


def question_json(question: work.Question) -> dict[str, Any]:
    """What a parked task asks people."""
    return {**dataclasses.asdict(question), "task_id": str(question.task_id)}


def depth_json(depth: work.Depth, *, window_s: int) -> dict[str, Any]:
    """How it stands with one type of an agent."""
    return {**dataclasses.asdict(depth), "done_per_s": round(depth.done / window_s, 3)}


def brake_json(brake: work.Brake) -> dict[str, Any]:
    """What is paused or limited."""
    return {**dataclasses.asdict(brake), "paused": brake.paused_at is not None}


def policy_json(policy: work.Policy) -> dict[str, Any]:
    """How often and how long tasks of one type of an agent are tried."""
    return dataclasses.asdict(policy)
