"""Settings of the evaluate stage."""

from typing import Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from steps.contracts.pinned import is_url, unpinned
from steps.contracts.reports import Frozen
from steps.engines.completions.config import EngineConfig
from steps.engines.embed.config import EmbedConfig
from steps.engines.graders.declines import DECLINE_PATTERNS, compiled_or_refused, quiet
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.shapes import BATCH_TOKENS
from steps.engines.retrieval.config import TRAIN
from steps.engines.rubric.reading import rubric_files
from steps.evaluate.harness.config import HarnessConfig
from steps.evaluate.subject_config import SubjectConfig

MetricName: TypeAlias = Literal[
    "loss", "exact_match", "contains", "numeric", "json_valid", "field_accuracy", "key_accuracy", "type_accuracy",
    "rouge_l", "bleu", "chrf", "preference_accuracy",
]  # fmt: skip
# The step that asks whose answers are preferred, beside those that evaluate a subject.
PAIRS_STEP = "evaluate_pairs_step"
Extractor: TypeAlias = Literal["none", "json", "final_number", "regex"]


class GradingConfig(Frozen):
    """How answers are graded."""

    metrics: tuple[MetricName, ...] | Literal["auto"] = Field(
        "auto",
        description="auto: json_valid, exact_match and field_accuracy when every reference is a JSON object;"
        ' exact_match when all end in "#### number" or have at most three words; else rouge_l. Loss and perplexity'
        " always, but of control questions.",
    )
    extractor: Extractor | Literal["auto"] = Field(
        "auto",
        description="What exact_match compares: none: the whole answer; json: its value; final_number: what follows"
        ' the last "####" (GSM8K); regex: the last match\'s first group; auto follows the references as metrics does.',
    )
    extract_pattern: str | None = Field(None, description="RE2 pattern with one group; only with extractor: regex.")
    tolerance: float = Field(
        0.0, ge=0, description="Of numeric: how far a number may be from the wanted one, as a share of that."
    )
    ignore_case: bool = Field(
        False,
        description="Fold case as well; text is always compared after Unicode NFC, runs of white space as one space,"
        " ends trimmed.",
    )
    json_schema: str | None = Field(
        None,
        description="JSON Schema file (draft 2020-12 unless it says otherwise), relative to the project root, for"
        " json_valid; null: valid means that the answer parses as an object.",
    )

    @field_validator("extract_pattern")
    @classmethod
    def _pattern_compiles(cls, value: str | None) -> str | None:
        return value if value is None else compiled_or_refused(value)

    @model_validator(mode="after")
    def _graded(self) -> Self:
        if (self.extractor == "regex") != (self.extract_pattern is not None):
            raise ValueError("extractor: regex and extract_pattern belong together: set both or neither")
        if self.extract_pattern is not None and _groups(self.extract_pattern) != 1:
            raise ValueError("extract_pattern needs exactly one group: what it captures is compared")
        if self.metrics != "auto" and not self.metrics:
            raise ValueError("metrics is empty: name at least one, or use auto")
        if self.json_schema is not None and self.metrics != "auto" and "json_valid" not in self.metrics:
            raise ValueError("json_schema is set, but json_valid is not among the metrics")
        return self


class ControlConfig(GradingConfig):
    """One control task, read from a file: what must not get worse while the held-out task gets better."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$",
        description="Name of the task in reports; held_out is taken by the test split.",
    )
    kind: Literal["perplexity", "questions", "unanswerable"] = Field(
        description="perplexity: general text, to see forgetting. questions: with answers, of what the model knew"
        " before, or of facts that only the training text holds; graded as said here. unanswerable: questions that must"
        " be declined."
    )
    path: str = Field(
        description='File relative to the project root. perplexity: .jsonl with "text", or .txt with blank lines'
        ' between texts. questions: .jsonl of {"question": ..., "answer": ...} or {"messages": [...]}. unanswerable:'
        ' .jsonl of {"messages": [...]} whose last turn is the assistant\'s decline.'
    )
    max_rows: int | None = Field(500, ge=1, description="Rows at most, chosen by hash of their content; null: all.")

    @field_validator("name")
    @classmethod
    def _not_taken(cls, name: str) -> str:
        if name == "held_out":
            raise ValueError("the name held_out belongs to the dataset's test split; choose another one")
        return name

    @model_validator(mode="after")
    def _graded_questions(self) -> Self:
        said = [n for n, field in GradingConfig.model_fields.items() if getattr(self, n) != field.default]
        if self.kind != "questions" and said:
            raise ValueError(f"{', '.join(said)}: only kind: questions is graded so, this is {self.kind}")
        return self


class GradingJudge(Prices):
    """A model behind an OpenAI-compatible server that grades answers by the rubric."""

    endpoint: Endpoint = Field(description="Where it is served, and how it is asked.")
    allow_raw_egress: bool = Field(
        False, description="Let questions and answers, which nobody scrubbed, go to an endpoint on another machine."
    )


class WinRateConfig(Frozen):
    """Whose answers the judge prefers, two at a time and in both orders: of held-out rows, control questions, and
    suites' kinds domain and qa.
    """

    # Chosen: with 100 pairs the 95 % interval of a rate is up to 20 points wide.
    max_rows: int | None = Field(
        100, ge=1, description="Rows per task at most, chosen by hash; each costs two requests per pair of subjects."
    )
    rubric: str = Field("preference", description="A rubric that compares two answers, by name or path.")
    instructions: str = Field("", max_length=4000, description="What matters in these rows, added to the rubric.")


class GradingEmbedder(EmbedConfig):
    """An embedding model that says how near two answers are."""

    allow_raw_egress: bool = Field(
        False, description="Let answers, which nobody scrubbed, go to an endpoint on another machine."
    )


class EvaluateConfig(GradingConfig):
    """How subjects are measured; all by these same settings."""

    # Chosen: with 1,000 rows the 95 % interval of a share is at most about 6 points wide.
    max_rows: int | None = Field(
        1_000, ge=1, description="Held-out rows at most, chosen by hash of their content; null: all of the split."
    )
    subjects: tuple[SubjectConfig, ...] = Field(
        (),
        description="Who is evaluated besides base, champion and the trained models: the same, asked better.",
    )
    controls: tuple[ControlConfig, ...] = Field((), description="Further tasks, each read from a file.")
    suites: tuple[str, ...] = Field(
        (),
        description="Suites of tasks: YAML files relative to the project root, or URLs with their SHA-256"
        " (https://host/suite.yaml#sha256=...).",
    )
    lm_eval: HarnessConfig | None = Field(
        None, description="Tasks of lm-evaluation-harness, with its own prompts and graders (extra lm-eval)."
    )
    similarity: GradingEmbedder | None = Field(
        None, description="The embedding model of the grader similarity, where a suite asks for it."
    )
    judge: GradingJudge | None = Field(
        None, description="The model that the grader judge asks, where a suite asks for it."
    )
    win_rate: WinRateConfig | None = Field(
        None,
        description="Compare each subject's answers with those of the gate's reference and of the champion, by"
        " `judge`; null: nobody is asked.",
    )
    decline_patterns: tuple[str, ...] = Field(
        DECLINE_PATTERNS,
        description="An answer declines when one of these RE2 patterns is found in it (case ignored), or when it"
        " equals the reference.",
    )
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens per answer; null: four times its own reference, plus 64, rounded up to a power of two, but"
        " at most 1.25 times the task's longest reference, plus 8.",
    )
    max_length: int | None = Field(
        None,
        ge=8,
        description="Tokens per text for loss and prompt plus answer; null: the model's own context length.",
    )
    # Chosen: with 64 rows, none of which degenerates, the 95 % interval of the share ends below 6 %.
    degeneration_rows: int = Field(
        64,
        ge=1,
        description="Held-out rows that are answered in 64 tokens to see whether the model degenerates, where no metric"
        " needs answers, and documents that are gone on with for the same reason; chosen by hash.",
    )
    decoding: DecodingConfig = Field(
        default_factory=DecodingConfig,
        description="Answers are greedy: what is done besides. A model's own generation_config.json decides over"
        " nothing but where answers end.",
    )
    engine: EngineConfig | None = Field(
        None,
        description="What answers instead of transformers, for all subjects; losses are transformers' all the same.",
    )
    batch_size: int = Field(16, ge=1, description="Prompts or texts per forward pass at most.")
    batch_tokens: int = Field(
        BATCH_TOKENS,
        ge=1,
        description="Tokens per forward pass at most, with padding and room for the answers; what is longer is alone.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Numbers compare across machines only at equal precision; float32 is exact enough to be"
        " repeatable.",
    )
    device: str = Field("auto", description="auto: cuda where there is one, else cpu; or a torch device.")
    num_threads: int = Field(
        1,
        ge=1,
        description="torch threads: sums of floats depend on their number, so it is part of the configuration.",
    )

    def files(self) -> tuple[str, ...]:
        """Files that the config names; those that these name in turn are found in them."""
        harness = self.lm_eval.files if self.lm_eval else ()
        schemas = (c.json_schema for c in (self, *self.controls) if c.json_schema)
        rubric = rubric_files(self.win_rate.rubric) if self.win_rate else ()
        return tuple(dict.fromkeys((*(c.path for c in self.controls), *schemas, *self.suites, *harness, *rubric)))

    def of_task(self, name: str) -> Self:
        """The settings with those by which a task's answers are graded."""
        control = next((c for c in self.controls if c.name == name and c.kind == "questions"), None)
        if control is None:
            return self
        return self.model_copy(update={field: getattr(control, field) for field in GradingConfig.model_fields})

    def documents(self) -> tuple[str, ...]:
        """Files and folders that passages are looked up in."""
        looked_up = (s.retrieval.documents for s in self.subjects if s.retrieval)
        return tuple(dict.fromkeys(d for d in looked_up if d != TRAIN))

    @property
    def embedders(self) -> tuple[EmbedConfig, ...]:
        """What turns passages and answers into vectors."""
        found = [s.retrieval.embed for s in self.subjects if s.retrieval and s.retrieval.embed]
        return (*found, *((self.similarity,) if self.similarity else ()))

    def models(self) -> tuple[tuple[str, str | None], ...]:
        """Models of embeddings and of passages' order, on this machine or on the hub: name and revision."""
        second = [s.retrieval.rerank for s in self.subjects if s.retrieval and s.retrieval.rerank]
        return (*((e.model, e.revision) for e in self.embedders if e.model is not None),
                *((r.model, r.revision) for r in second))  # fmt: skip

    @field_validator("suites")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if is_url(name) and unpinned(name)[1] is None:
                raise ValueError(f"{name}: a suite's URL ends in #sha256= and 64 digits: other bytes are refused")
        if len(set(value)) < len(value):
            raise ValueError("a suite is named twice")
        return value

    @field_validator("decline_patterns")
    @classmethod
    def _compile(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(compiled_or_refused, value))

    @model_validator(mode="after")
    def _engines_do_as_asked(self) -> Self:
        exported = [
            n for n, e in (("engine", self.engine), *((f"subjects: {s.name}", s.engine) for s in self.subjects)) if e
        ]
        if exported and self.decoding != DecodingConfig():
            raise ValueError(f"{exported[0]}: an engine answers greedily and nothing else, decoding asks for more")
        if self.engine is not None and self.lm_eval is not None:
            raise ValueError("engine: the tasks of lm_eval are asked by transformers; name a subject with the engine")
        return self

    @property
    def of_one(self) -> Self:
        """What decides over a single subject's evaluation: it is no other one because there are more of them."""
        return self.model_copy(update={"subjects": (), "win_rate": None})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.win_rate is not None and self.judge is None:
            raise ValueError("win_rate asks a judge: name one, judge.endpoint")
        called = [s.name for s in self.subjects]
        if len(set(called)) < len(called):
            raise ValueError(
                f"two subjects share a name: {', '.join(sorted(n for n in called if called.count(n) > 1))}"
            )
        names = [c.name for c in self.controls]
        if len(set(names)) < len(names):
            raise ValueError(
                f"two controls share a name: {', '.join(sorted({n for n in names if names.count(n) > 1}))}"
            )
        return self


def _groups(pattern: str) -> int:
    import re2

    return int(re2.compile(pattern, quiet()).groups)
