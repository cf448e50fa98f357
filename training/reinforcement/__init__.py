# SPDX-License-Identifier: Apache-2.0
"""Reinforcement fine-tuning: answers that the model samples itself, rewarded for poses that are right.

Supervised training is in `edgepose.training.taihri`, the loop in `edgepose.training.loop`.
"""

from __future__ import annotations

from edgepose.training.reinforcement.objective import clipped_objective, group_advantages, low_variance_kl
from edgepose.training.reinforcement.rewards import Rewards, Truth, rewards_of
from edgepose.training.reinforcement.task import ReinforcementRecipe, ReinforcementTask, reinforcement_task

__all__ = [
    "ReinforcementRecipe",
    "ReinforcementTask",
    "Rewards",
    "Truth",
    "clipped_objective",
    "group_advantages",
    "low_variance_kl",
    "reinforcement_task",
    "rewards_of",
]
