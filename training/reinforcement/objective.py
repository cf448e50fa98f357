# SPDX-License-Identifier: Apache-2.0
"""Group-relative policy optimisation, the formulas.

Where answers and rewards come from does not belong here.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["answer_means", "clipped_objective", "group_advantages", "low_variance_kl"]


def group_advantages(rewards: Tensor, *, eps: float = 1e-4) -> Tensor:
    """How much better each answer is than the others to the same question.

    Args:
        rewards: (questions, answers).
        eps: Added to the standard deviation, so that groups of equal rewards have no advantages.

    Returns:
        (questions, answers), of each question mean 0 and, nearly, standard deviation 1.

    Source: GRPO (arXiv 2402.03300), outcome supervision.
    """
    spread = rewards.std(dim=1, keepdim=True, unbiased=False)
    return (rewards - rewards.mean(dim=1, keepdim=True)) / (spread + eps)


def low_variance_kl(logs: Tensor, reference: Tensor) -> Tensor:
    """An estimate of KL(policy || reference) from tokens that the policy sampled; never negative.

    Args:
        logs: Log-probabilities of the tokens under the policy.
        reference: The same under the reference.

    Source: `r - 1 - log r` with `r = reference / policy`, the estimator of GRPO (arXiv 2402.03300).
    """
    difference = reference - logs
    return difference.exp() - 1 - difference


def clipped_objective(logs: Tensor, old: Tensor, advantages: Tensor, *, clip: float) -> tuple[Tensor, Tensor]:
    """What is maximised, token by token.

    Args:
        logs: (M,) log-probabilities under the policy, with gradients.
        old: (M,) those under the policy that sampled the tokens.
        advantages: (M,) of the answers that the tokens belong to.
        clip: How far from 1 the ratio of both may move before it stops to count.

    Returns:
        (M,) objective, and (M,) the ratio.

    Source: PPO (arXiv 1707.06347).
    """
    ratio = (logs - old).exp()
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages), ratio


def answer_means(values: Tensor, answer_of: Tensor, answers: int) -> Tensor:
    """Means over the tokens of each answer.

    Args:
        values: (M,).
        answer_of: (M,) int64, which answer a token belongs to.
        answers: How many there are, each with a token.

    Returns:
        (answers,).
    """
    sums = values.new_zeros(answers).index_add(0, answer_of, values)
    return sums / torch.bincount(answer_of, minlength=answers).clamp(min=1)
