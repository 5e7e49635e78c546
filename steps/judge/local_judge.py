"""The backend that asks a model on this machine, by the probabilities of its ratings: nothing is generated.

The rubric's keys and values are computed once, each row with the questions about it takes one forward pass.
What was computed is kept in the stage's durable folder as it comes, by weights, rubric, number format and row.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from steps.contracts.code import code_digest
from steps.contracts.context import StageContext
from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError
from steps.contracts.models import ModelFolder, registered_model
from steps.contracts.reports import Table
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.vectors import Done, NoVector, Vector
from steps.engines.rubric.asking import RATINGS, asking_digest, empty_row, orders, probe_rows, question, row_text
from steps.engines.rubric.case import Case
from steps.engines.rubric.rubric import RatedKind, Rubric, rated_as
from steps.judge.config import JudgeConfig
from steps.judge.local_config import LocalJudgeConfig
from steps.judge.ratings import Rating, prior_table, ratings_of
from steps.judge.verdict import JudgeVerdict, rated_verdict, unasked

if TYPE_CHECKING:
    from steps.engines.lm.choice_prompt import ChoicePrompts
    from steps.engines.lm.load import LoadedModel
    from steps.engines.lm.next_token import NextToken

_WHERE = "judge.local"


class LocalJudge:
    """Loads its model when the first row is new. A context manager."""

    rated = True

    def __init__(self, config: JudgeConfig, local: LocalJudgeConfig, rubric: Rubric, ctx: StageContext) -> None:
        self.config, self.local, self.rubric = config, local, rubric
        self.criteria = rubric.all_criteria
        self._base, self._tuned = found_model(local, ctx)
        self.dtype, self.device = _dtype_and_device(local)
        told = {kind: asking_digest(rubric, kind, config.instructions) for kind in rubric.rows}
        weights = (self._tuned or self._base).info.digest
        libraries = [version(p) for p in ("torch", "transformers", "tokenizers")]
        code = [code_digest(f"steps.engines.lm.{m}") for m in ("next_token", "choice_prompt")]
        self._spaces = {k: value_digest([weights, self.dtype, digest, libraries, code]) for k, digest in told.items()}
        self.digest = value_digest([*self._spaces.values(), config.min_rating_mass, config.empty_row_prior])
        self._asked: dict[RatedKind, tuple[ChoicePrompts, NextToken]] = {}
        self._priors: dict[RatedKind, dict[str, Rating] | None] = {}
        self._loaded: LoadedModel | None = None
        self._limit = 0
        self._opened = ExitStack()
        self._cache = self._opened.enter_context(EmbeddingCache(ctx.cache or ctx.folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._opened.close()
        if self._loaded is not None:
            from steps.engines.lm.memory import release

            self._asked.clear()
            self._loaded = None
            release()

    def verdicts(self, cases: Sequence[Case]) -> list[JudgeVerdict]:
        """One verdict per case, in order.

        Raises:
            ConfigError: the model can't be asked so: its template refuses, or a rating isn't one token of it.
        """
        found: dict[int, JudgeVerdict] = {}
        for kind in self.rubric.rows:
            places = [i for i, case in enumerate(cases) if self._asks(case) and rated_as(case.kind) == kind]
            found |= dict(zip(places, self._of_kind(kind, [cases[i] for i in places]), strict=True))
        return [found[i] if i in found else unasked(self.rubric, case, self.digest) for i, case in enumerate(cases)]

    def _asks(self, case: Case) -> bool:
        return case.has_answer and bool(self.rubric.criteria_of(case.kind))

    def _of_kind(self, kind: RatedKind, cases: Sequence[Case]) -> list[JudgeVerdict]:
        if not cases:
            return []
        vectors = self._probabilities(kind, [row_text(case) for case in cases])
        prior = self._prior(kind)
        return [self._verdict(kind, vector, prior) for vector in vectors]

    def _verdict(self, kind: RatedKind, found: Vector | NoVector, prior: dict[str, Rating] | None) -> JudgeVerdict:
        said: dict[str, Any] = {"backend": "local", "prompt_digest": self._spaces[kind], "model": self.local.model}
        if not isinstance(found, Vector):
            return JudgeVerdict(**said, error=found, error_detail=f"the model reads {self._limit} tokens")
        ratings = ratings_of(self.rubric.criteria_of(kind), found.values.tolist())
        without = prior if self.config.empty_row_prior == "taken_out" else None
        return rated_verdict(ratings, self.config.min_rating_mass, without, **said)

    def _prior(self, kind: RatedKind) -> dict[str, Rating] | None:
        """What the model makes of a row that says nothing; None: nothing that can be read."""
        if kind not in self._priors:
            found = self._probabilities(kind, [empty_row(kind)])[0]
            known = isinstance(found, Vector) and bool(np.isfinite(found.values).all())
            self._priors[kind] = ratings_of(self.rubric.criteria_of(kind), found.values.tolist()) if known else None  # type: ignore[union-attr]
        return self._priors[kind]

    def _probabilities(self, kind: RatedKind, texts: list[str]) -> list[Vector | NoVector]:
        """Of each text all probabilities in one row, shape (criteria * ratings,); too_long and odd_tokens: why not."""
        space = self._cache.open("judge_probabilities.sqlite", self._spaces[kind])
        return space.resolve(texts, lambda new, done: self._compute(kind, new, done))

    def _compute(self, kind: RatedKind, texts: Sequence[str], done: Done) -> None:
        from steps.engines.lm.memory import memory_explained
        from steps.engines.lm.threads import torch_threads

        hint = "lower judge.local.batch_tokens, or take a smaller model"
        what = f"judging on {self.device} in {self.dtype}"
        with torch_threads(self.local.num_threads), memory_explained(what, _WHERE, hint):
            prompts, scorer = self._asking(kind)
            short = [i for i, text in enumerate(texts) if len(text) <= self.config.max_chars]
            middles = dict(zip(short, prompts.middles([texts[i] for i in short]), strict=True))
            room = self._limit - len(prompts.prefix) - max(map(len, prompts.tails))
            whole = {i: m for i, m in middles.items() if m is not None and len(m) <= room}
            for i in range(len(texts)):
                if i not in whole:
                    done([i], ["odd_tokens" if middles.get(i, ()) is None else "too_long"])
            places = list(whole)
            scorer.probabilities(
                list(whole.values()),
                lambda at, p: done([places[i] for i in at], [Vector(v) for v in p.reshape(len(p), -1)]),
            )

    def _asking(self, kind: RatedKind) -> "tuple[ChoicePrompts, NextToken]":
        if kind not in self._asked:
            from steps.engines.lm.choice_prompt import choice_prompts
            from steps.engines.lm.next_token import NextToken

            loaded = self._model()
            criteria = self.rubric.criteria_of(kind)
            prompts = choice_prompts(
                loaded.tokenizer, orders(self.rubric, kind, self.config.instructions), [question(c) for c in criteria],
                RATINGS, probe_rows(kind), f"{_WHERE}.model {self.local.model}",
            )  # fmt: skip
            scorer = NextToken(
                loaded, prompts.prefix, prompts.tails, prompts.choices, batch_tokens=self.local.batch_tokens
            )
            self._asked[kind] = prompts, scorer
        return self._asked[kind]

    def _model(self) -> "LoadedModel":
        if self._loaded is None:
            from steps.engines.lm.context import context_length
            from steps.engines.lm.load import core_of, load

            self._loaded = load(self._base, self._tuned, dtype=self.dtype, device=self.device)
            config = core_of(self._loaded.model).config.to_dict()
            self._limit = context_length(config) or int(self._loaded.tokenizer.model_max_length)
        return self._loaded

    def known(self, cases: Sequence[Case]) -> list[bool]:
        """What is kept of a verdict is all of it."""
        return [False] * len(cases)

    def share_of(self, case: Case, shares: int) -> int | None:
        """Any: nothing is paid."""
        return None

    def pass_over(self, rows: int) -> None:
        """Nothing to say: whoever asks shows how far it is."""

    def counts(self) -> dict[str, Counter[str]]:
        """Rows that the model read, and those that were known on this machine."""
        spaces = [self._cache.open("judge_probabilities.sqlite", s) for s in self._spaces.values()]
        return {"rows": sum((s.counts for s in spaces), Counter[str]())}

    def tables(self) -> tuple[Table, ...]:
        """What the model makes of a row that says nothing."""
        return prior_table(self._priors)

    def notes(self) -> tuple[str, ...]:
        """Which model judged, and how."""
        by = f"rubric {self.rubric.name} {self.rubric.version}"
        how = f"the probabilities of its ratings, in {self.dtype} on {self.device}"
        notes = [f"Judged by {self.local.model} with {by}, by {how}: a score is the expected rating."]
        if self.config.empty_row_prior == "taken_out":
            notes.append("Its liking for numbers, as it shows in an empty row, is taken out of the scores.")
        return tuple(notes)

    def warnings(self) -> tuple[str, ...]:
        """None: nothing stands between the config and the model."""
        return ()


def found_model(local: LocalJudgeConfig, ctx: StageContext) -> tuple[ModelFolder, ModelFolder | None]:
    """The weights to load, and what lies over them: of a folder below `ctx.root`, of the hub at the commit that the
    run began with, or a registered model.

    Raises:
        InputNotFoundError: there is no such model. ServiceError: the hub can't be reached.
        ConfigError: a registered model is named outside of a run.
    """
    from steps.engines.lm.hub import download, resolve_revision
    from steps.engines.lm.references import hub_reference, local_folder, local_reference

    if registered_model(local.model):
        if local.model not in ctx.models:
            raise ConfigError(
                f"{local.model} is looked up by runs only", where=f"{_WHERE}.model",
                hint="use `assay run`, or name the folder of its weights",
            )  # fmt: skip
        over, model = ctx.models[local.model]
        return (model, None) if model.info.kind == "full" else (over, model)
    if (folder := local_folder(local.model, ctx.root, others=", or models:/NAME/3")) is not None:
        return local_reference(folder), None
    commit = (ctx.inputs or {}).get(local.model) or resolve_revision(local.model, local.revision)
    return hub_reference(local.model, commit, download(local.model, commit)), None


def _dtype_and_device(local: LocalJudgeConfig) -> tuple[str, str]:
    """Number format and device as torch names them. auto: bfloat16 where the processor multiplies it itself."""
    from steps.engines.lm.device import has_bf16, multiplies_bfloat16, resolve_device

    device = resolve_device(local.device, _WHERE)
    if local.dtype != "auto":
        return local.dtype, device
    fast = has_bf16() if device.startswith("cuda") else multiplies_bfloat16(device)
    return "bfloat16" if fast else "float32", device
