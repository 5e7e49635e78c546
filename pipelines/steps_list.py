"""Every step there is, by name: what a stack may bind (configs/infra), and what tests walk over."""

from typing import Any

from pipelines.dataset import dataset_step
from pipelines.finish import finish_step
from pipelines.start import start_step
from steps.base.step import base_step
from steps.dedup.step import dedup_step
from steps.evaluate.step import evaluate_step
from steps.gate.step import gate_step
from steps.ingest.step import ingest_step
from steps.judge.step import judge_step
from steps.leakcheck.step import leakcheck_step
from steps.register.step import register_step
from steps.review.step import review_step
from steps.screen.step import screen_step
from steps.scrub.step import scrub_step
from steps.semantic.step import semantic_step
from steps.split.step import split_step
from steps.train.step import train_step

ALL_STEPS: tuple[Any, ...] = (
    start_step,
    dataset_step,
    ingest_step,
    dedup_step,
    split_step,
    scrub_step,
    screen_step,
    semantic_step,
    judge_step,
    review_step,
    leakcheck_step,
    base_step,
    train_step,
    evaluate_step,
    gate_step,
    register_step,
    finish_step,
)
