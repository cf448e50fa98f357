# SPDX-License-Identifier: Apache-2.0
"""Trains anything that has a model, batches, a loss and an evaluation, within a budget of seconds or steps.

What is trained on what belongs to the tasks.
"""

from __future__ import annotations

from edgepose.training.loop.record import TrainingLog
from edgepose.training.loop.run import CHECKPOINT, train
from edgepose.training.loop.schedule import Schedule
from edgepose.training.loop.task import Task
from edgepose.training.loop.team import Team, current_team, start_team

__all__ = ["CHECKPOINT", "Schedule", "Task", "Team", "TrainingLog", "current_team", "start_team", "train"]
