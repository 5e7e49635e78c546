"""What is measured of preferences on held-out rows, from log-probabilities of answers: means over all rows, in float64.

A reward is beta x (log-probability of the answer, minus that by the reference model). Two equal rewards count as half
right, so that a model that is its own reference has an accuracy of 0.5.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.train.objectives.preference import PairLoss

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """Answers under a model.

    Attributes:
        logps: sum of the log-probabilities (nats) of an answer's tokens, shape (answers,).
        tokens: how many those are, shape (answers,).
    """

    logps: Floats
    tokens: Floats

    @property
    def means(self) -> Floats:
        """Mean log-probability per token."""
        return self.logps / np.maximum(self.tokens, 1)


@dataclass(frozen=True, eq=False)
class PairScores:
    """Both answers of pairs, row by row."""

    chosen: Scores
    rejected: Scores


def pair_losses(
    policy: PairScores, reference: PairScores, loss: PairLoss, beta: float, label_smoothing: float
) -> Floats:
    """Loss of each pair, as TRL's DPOTrainer has it; shape (pairs,).

    sigmoid: Rafailov et al. 2023 (arXiv 2305.18290), eq. 7; with label_smoothing that of robust DPO (Chowdhury et al.
    2024, arXiv 2403.00409), whose mean is that of the right labels where that share of pairs is the wrong way round.
    ipo: Azar et al. 2023 (arXiv 2310.12036), eq. 17, per token. hinge: SLiC (arXiv 2305.10425).
    """
    chosen = policy.chosen.logps - reference.chosen.logps
    rejected = policy.rejected.logps - reference.rejected.logps
    if loss == "ipo":
        gap = chosen / policy.chosen.tokens - rejected / policy.rejected.tokens
        return np.asarray((gap - 1 / (2 * beta)) ** 2)
    margins = beta * (chosen - rejected)
    if loss == "hinge":
        return np.maximum(0.0, 1 - margins)
    as_given, turned = np.logaddexp(0, -margins), np.logaddexp(0, margins)
    clean = (1 - label_smoothing) * as_given - label_smoothing * turned
    return np.asarray(clean / (1 - 2 * label_smoothing))


def pair_measures(policy: PairScores, reference: PairScores, beta: float) -> dict[str, float]:
    """Rewards, their margins and how often the chosen answer has the larger one; and how likely the answers are."""
    chosen = beta * (policy.chosen.logps - reference.chosen.logps)
    rejected = beta * (policy.rejected.logps - reference.rejected.logps)
    return {
        "eval_rewards/accuracies": share_larger(chosen, rejected),
        "eval_rewards/margins": float((chosen - rejected).mean()),
        "eval_rewards/chosen": float(chosen.mean()),
        "eval_rewards/rejected": float(rejected.mean()),
        **likelihoods(policy),
    }


def likelihoods(policy: PairScores) -> dict[str, float]:
    """Mean log-probability of a whole answer, and how often the chosen one is the likelier per token."""
    return {
        "eval_logps/chosen": float(policy.chosen.logps.mean()),
        "eval_logps/rejected": float(policy.rejected.logps.mean()),
        "eval_logps/accuracies": share_larger(policy.chosen.means, policy.rejected.means),
    }


def share_larger(one: Floats, other: Floats) -> float:
    """Share of places at which the first is larger; equal ones count half."""
    return float(((one > other) + 0.5 * (one == other)).mean())


def negative_log_likelihood(scores: Scores) -> float:
    """Nats per token, over all tokens."""
    return float(-scores.logps.sum() / scores.tokens.sum())
