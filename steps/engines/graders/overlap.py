"""How much of a reference an answer shares, by sacrebleu: BLEU of words, chrF of characters."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF


def sentence_bleu(answer: str, reference: str) -> float:
    """BLEU of one answer, 0 to 1 (sacrebleu's 13a words, orders that the answer is too short for left out).

    A mean of it isn't BLEU of a corpus, which counts n-grams over all sentences.
    """
    return float(_bleu().sentence_score(answer, [reference]).score) / 100


def sentence_chrf(answer: str, reference: str) -> float:
    """chrF2 of one answer, 0 to 1: n-grams of up to six characters, of any script."""
    return float(_chrf().sentence_score(answer, [reference]).score) / 100


@cache
def _bleu() -> "BLEU":
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


@cache
def _chrf() -> "CHRF":
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
