"""What is measured of preferences on held-out rows, from log-probabilities of answers: means over all rows, in float64.

A reward is beta x (log-probability of the answer, minus that by the reference model). Two equal rewards count as half
right, so that a model that is its own reference has an accuracy of 0.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

    def at(self, places: Any) -> "Scores":
        """Those of some of the answers."""
        return Scores(self.logps[places], self.tokens[places])


@dataclass(frozen=True, eq=False)
class PairScores:
    """Both answers of pairs, row by row."""

    chosen: Scores
    rejected: Scores

    def at(self, places: Any) -> "PairScores":
        """Those of some of the pairs."""
        return PairScores(self.chosen.at(places), self.rejected.at(places))


@dataclass(frozen=True, eq=False)
class LabelledScores:
    """Answers with their labels, and beside each an answer to another prompt, by which the divergence is estimated.

    Attributes:
        wanted: shape (answers,).
    """

    own: Scores
    mismatched: Scores
    wanted: npt.NDArray[np.bool_]

    def at(self, places: Any) -> "LabelledScores":
        """Those of some of the answers."""
        return LabelledScores(self.own.at(places), self.mismatched.at(places), self.wanted[places])


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


def kto_measures(
    policy: LabelledScores, reference: LabelledScores, beta: float, weights: Mapping[bool, float]
) -> dict[str, float]:
    """Loss and rewards of labelled answers, as TRL's KTOTrainer has them, with one estimate of the divergence for all.

    Ethayarajh et al. 2024 (arXiv 2402.01306), eq. 7 and 8. `weights`: of a wanted and an unwanted answer's loss. The
    accuracy is the share of pairs of a wanted and an unwanted answer, each with each, in which the wanted one has the
    larger reward. What needs answers of a kind that isn't there is left out.
    """
    rewards = beta * (policy.own.logps - reference.own.logps)
    divergence = max(0.0, float((policy.mismatched.logps - reference.mismatched.logps).mean()))
    signs = np.where(policy.wanted, 1.0, -1.0)
    losses = np.where(policy.wanted, weights[True], weights[False]) * _logistic(-signs * (rewards - beta * divergence))
    found = {"eval_loss": float(losses.mean()), "eval_kl": divergence}
    wanted, unwanted = rewards[policy.wanted], rewards[~policy.wanted]
    if len(wanted):
        found["eval_rewards/chosen"] = float(wanted.mean())
    if len(unwanted):
        found["eval_rewards/rejected"] = float(unwanted.mean())
    if len(wanted) and len(unwanted):
        found["eval_rewards/margins"] = float(wanted.mean() - unwanted.mean())
        found["eval_rewards/accuracies"] = area_under_curve(wanted, unwanted)
    return found


def _logistic(x: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0, -x)))


def area_under_curve(larger: Floats, smaller: Floats) -> float:
    """Share of pairs, each of one with each of the other, in which the first is the larger; equal ones count half."""
    ordered = np.sort(smaller)
    below, not_above = np.searchsorted(ordered, larger, "left"), np.searchsorted(ordered, larger, "right")
    return float((below + not_above).mean() / (2 * len(smaller)))


def orpo_measures(policy: PairScores, beta: float) -> dict[str, float]:
    """The likelihood of chosen answers and the log odds ratio, and the loss of both, as TRL's ORPOTrainer has it.

    Hong et al. 2024 (arXiv 2403.07691), eq. 6 and 7. The odds of an answer are those of its mean log-probability per
    token.
    """
    chosen, rejected = policy.chosen.means, policy.rejected.means
    odds = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
    likelihood = negative_log_likelihood(policy.chosen)
    return {
        "eval_loss": likelihood + beta * float(np.logaddexp(0, -odds).mean()),
        "eval_nll_loss": likelihood,
        "eval_log_odds_chosen": float(odds.mean()),
        **likelihoods(policy),
    }


def _log1mexp(x: Floats) -> Floats:
    """log(1 - exp(x)) of negative numbers, without loss of digits (Maechler 2012, "Accurately computing")."""
    near = x > -np.log(2)
    return np.where(near, np.log(-np.expm1(np.where(near, x, -1.0))), np.log1p(-np.exp(np.where(near, -1.0, x))))
