"""Settings of the screen stage: quality rules, unsafe content, poisoned content."""

from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from steps.contracts.records import Split
from steps.contracts.reports import Frozen
from steps.engines.embed.config import EmbedConfig
from steps.engines.embed.text_classifier import ClassifierModel
from steps.engines.rowwise.undecided import UndecidedPolicy
from steps.engines.text.parts import Part

Action: TypeAlias = Literal["drop", "quarantine", "flag", "off"]
Preset: TypeAlias = Literal["gopher_quality", "c4", "fineweb"]
Severity: TypeAlias = Literal["high", "medium", "low"]
# What a model may do with a row.
ModelAction: TypeAlias = Literal["drop", "quarantine", "flag"]
ALL_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Repetition(Frozen):
    """Bounds of Rae et al. 2021 (Gopher, arXiv 2112.11446), Table A1; a text above one of them is repetitive.

    Fractions of a text; each concerns documents, and answers in conversations.
    """

    # The paper's documents have 50 words or more. Short answers repeat themselves by nature: of 7,473 worked solutions
    # of GSM8K (train), the paper's bounds take 95 when they hold from 100 words on. Hence 300 words, chosen.
    min_words: int = Field(100, ge=1, description="documents with fewer words aren't held against the paper's bounds")
    min_answer_words: int = Field(300, ge=1, description="the same for answers in conversations")
    # Chosen, ours: what loops. The most repetitive of those solutions from 50 words on has .44.
    loop_min_words: int = Field(50, ge=1, description="any text from so many words on is checked for a loop")
    loop: float = Field(0.60, ge=0, le=1, description="characters in 5-grams of words that occurred before")
    duplicate_lines: float = Field(0.30, ge=0, le=1, description="lines seen before, of all lines")
    duplicate_paragraphs: float = Field(0.30, ge=0, le=1, description="paragraphs seen before, of all paragraphs")
    duplicate_line_characters: float = Field(0.20, ge=0, le=1, description="characters in lines seen before")
    duplicate_paragraph_characters: float = Field(0.20, ge=0, le=1, description="characters in paragraphs seen before")
    top_ngram_characters: dict[int, float] = Field(
        default_factory=lambda: {2: 0.20, 3: 0.18, 4: 0.16},
        description="by n: characters of all occurrences of the most frequent n-gram of words",
    )
    duplicate_ngram_characters: dict[int, float] = Field(
        default_factory=lambda: {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10},
        description="by n: characters in n-grams of words that occurred before",
    )


class GopherQuality(Frozen):
    """Quality rules of Rae et al. 2021 (Gopher, arXiv 2112.11446), section A1.1."""

    min_words: int = Field(50, ge=0, description="words per text, at least")
    max_words: int = Field(100_000, ge=1, description="words per text, at most")
    min_word_length: float = Field(3, ge=0, description="mean, characters")
    max_word_length: float = Field(10, ge=0, description="mean, characters")
    symbols_per_word: float = Field(0.1, ge=0, description="hash signs, and ellipses, at most")
    bullet_lines: float = Field(0.9, ge=0, le=1, description="share of lines that start with a bullet, at most")
    ellipsis_lines: float = Field(0.3, ge=0, le=1, description="share of lines that end with an ellipsis, at most")
    alphabetic_words: float = Field(0.8, ge=0, le=1, description="share of words with a letter, at least")
    stop_words: int = Field(2, ge=0, le=8, description="different ones of the, be, to, of, and, that, have, with")


class C4(Frozen):
    """Page rules of Raffel et al. 2020 (JMLR 21:140), section 2.2; its first preprint had 5 sentences and 3 words."""

    min_sentences: int = Field(3, ge=0, description="in the lines that C4 would keep")
    min_line_words: int = Field(5, ge=0, description="a line with fewer words isn't kept")
    # Not in the paper: _MAX_WORD_LENGTH in c4_utils.py of TensorFlow Datasets, the code that made C4.
    max_word_length: int = Field(1_000, ge=1, description="characters; a line with a longer word isn't kept")


class FineWeb(Frozen):
    """The three filters of Penedo et al. 2024 (FineWeb, arXiv 2406.17557), section 3.6.

    Its code (datatrove) has .01 for duplicated lines where the paper has .1; the paper's number stands here.
    """

    punctuated_lines: float = Field(0.12, ge=0, le=1, description="share of lines ending in punctuation; so few go")
    duplicate_line_characters: float = Field(0.1, ge=0, le=1, description="in lines seen before; so many go")
    short_lines: float = Field(0.67, ge=0, le=1, description="share of short lines; so many go")
    short_line_characters: int = Field(30, ge=1, description="a line with fewer is short")


class RulesConfig(Frozen):
    """Quality rules. They never touch splits that aren't named; rows without a split count as train."""

    action: Action = Field("drop", description="for rows that break a rule")
    splits: tuple[Split, ...] = Field(("train",), description="splits that the rules apply to")
    min_characters: int = Field(1, ge=0, description="of the whole row")
    max_characters: int | None = Field(None, ge=1, description="of the whole row; None: no bound")
    min_tokens: int | None = Field(None, ge=0, description="of the whole row; None: no bound")
    max_tokens: int | None = Field(None, ge=1, description="of the whole row; None: no bound")
    min_answer_characters: int = Field(1, ge=0, description="of the last assistant turn, and of chosen and rejected")
    tokenizer: str | None = Field(None, description="hub id or folder; None: words and single symbols are tokens")
    repetition: Repetition | None = Field(default_factory=Repetition, description="None: not measured")
    required: tuple[str, ...] = Field((), description="RE2 patterns, each of which must match somewhere in a row")
    forbidden: tuple[str, ...] = Field((), description="RE2 patterns, none of which may match")
    keep_keywords: tuple[str, ...] = Field((), description="words of which a row must hold at least one")
    drop_keywords: tuple[str, ...] = Field((), description="words of which a row may hold none")

    presets: tuple[Preset, ...] = Field((), description="published rule sets for web pages, for documents only")
    gopher_quality: GopherQuality = Field(default_factory=GopherQuality, description="numbers of that preset")
    c4: C4 = Field(default_factory=C4, description="numbers of that preset")
    fineweb: FineWeb = Field(default_factory=FineWeb, description="numbers of that preset")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        for unit in ("characters", "tokens"):
            low, high = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if low is not None and high is not None and low > high:
                raise ValueError(f"min_{unit} ({low}) is above max_{unit} ({high}): every row would go")
        both = sorted({k.casefold() for k in self.keep_keywords} & {k.casefold() for k in self.drop_keywords})
        if both:
            raise ValueError(f"{both[0]!r} stands in keep_keywords and in drop_keywords")
        return self


class UnsafeConfig(Frozen):
    """Profanity and slurs, by severity. A word that is only talked about (see `mentions`) is treated more mildly."""

    slur: Action = Field("drop", description="words that attack a group of people")
    strong: Action = Field("quarantine", description="strong profanity and obscenity")
    mild: Action = Field("flag", description="mild profanity, and words with harmless meanings beside a bad one")
    splits: tuple[Split, ...] = Field(ALL_SPLITS, description="splits that are screened")
    rejected: bool = Field(False, description="screen rejected and unwanted answers too: they show what not to say")
    terms: dict[str, Literal["slur", "strong", "mild"]] = Field(
        default_factory=dict, description="more words, or another severity for a known one"
    )
    allow: tuple[str, ...] = Field((), description="words of the built-in lists that are never hits")


class PoisonedConfig(Frozen):
    """Text that attacks whoever reads it: prompts, browsers, databases."""

    prompt_injection: Action = Field("quarantine", description="for rows that give a model orders")
    control_tokens: Action = Field("quarantine", description="chat-template tokens and hidden characters in texts")
    script_injection: Action = Field("quarantine", description="for rows with code for a browser or shell")
    sql_injection: Action = Field("quarantine", description="for rows with attacks on a database")
    splits: tuple[Split, ...] = Field(ALL_SPLITS, description="splits that are screened")
    allow: tuple[str, ...] = Field((), description="built-in rules that are off, by name: script_injection.data_uri")


class LanguageConfig(Frozen):
    """Keep rows in these languages. Runs last, on rows that nothing else takes out."""

    keep: tuple[str, ...] = Field(("en",), min_length=1, description="ISO 639 codes, as py3langid names them")
    action: Action = Field("drop", description="for rows in other languages")
    undecided: Literal["keep", "quarantine", "drop"] = Field(
        "keep", description="for texts that are too short, or in no language with enough probability"
    )
    splits: tuple[Split, ...] = Field(("train",), description="rows without a split count as train")
    part: Literal["row", "answer"] = Field("row", description="what is looked at; documents: always the text")
    # Chosen; `make bench-screen` shows what it makes of right and wrong labels.
    min_probability: float = Field(0.5, ge=0, le=1, description="of a language, or of the kept ones together")
    # Chosen: about four words.
    min_letters: int = Field(20, ge=0, description="texts with fewer are undecided")
    # Chosen: the time grows with it, and a paragraph decides.
    max_characters: int = Field(1_000, ge=1, description="only the first ones are looked at")


class ClassifierConfig(ClassifierModel):
    """A transformers text-classification model: toxicity, prompt injection, educational quality ...

    It sees the rows that rules and patterns leave, in the order of the config; a dropped row isn't shown to the next.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="its name in reasons: classifier.NAME")
    part: Part = Field("all", description="what of a row is read: everything, the prompt, or the answers")
    when: Literal["above", "below"] = Field("above", description="which side of a threshold is the bad one")
    thresholds: dict[ModelAction, float] = Field(
        min_length=1, description="action and score: above: from this score on; below: under it; the strongest counts"
    )
    splits: tuple[Split, ...] = Field(("train",), description="splits that it sees; rows without a split are train")
    undecided: UndecidedPolicy = Field("keep", description="what happens to a row whose score isn't a number")


class TopicConfig(Frozen):
    """A topic by examples: a row is as near to it as to its nearest example."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="its name in `keep`, `drop` and reasons")
    examples: tuple[str, ...] = Field((), description="texts on the topic")
    file: str | None = Field(None, description="a text file with one example per line")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.file and not any(e.strip() for e in self.examples):
            raise ValueError(f"topic {self.name!r} has no examples: give `examples` or `file`")
        return self


class TopicsConfig(Frozen):
    """Keep or drop rows by topic, by similarity of meaning."""

    embed: EmbedConfig = Field(description="the model that turns texts into vectors")
    topics: tuple[TopicConfig, ...] = Field((), description="topics by examples; with `clusters` they name clusters")
    clusters: int | None = Field(
        None, ge=2, description="divide the rows into so many clusters (k-means) and decide per cluster; None: per row"
    )
    keep: tuple[str, ...] = Field((), description="names whose rows stay; all others go")
    drop: tuple[str, ...] = Field((), description="names whose rows go; all others stay")
    # Chosen; it depends on the model. Short questions on one topic have about 0.4 with all-MiniLM-L6-v2.
    threshold: float = Field(0.4, ge=-1.0, le=1.0, description="cosine from which a row (or cluster) is on a topic")
    action: ModelAction = Field("drop", description="for rows that `keep` or `drop` sends away")
    part: Part = Field("all", description="what of a row is read: everything, the prompt, or the answers")
    splits: tuple[Split, ...] = Field(("train",), description="splits that are looked at")
    undecided: UndecidedPolicy = Field("keep", description="what happens to a row that could not be embedded")
    seed: int = Field(1, ge=0, lt=2**31, description="seed of the clusters")
    allow_raw_egress: bool = Field(
        False, description="let rows that were not scrubbed go to an endpoint on another machine"
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        if bool(self.keep) == bool(self.drop):
            raise ValueError("set either `keep` or `drop`")
        known = [t.name for t in self.topics]
        if len(set(known)) < len(known):
            raise ValueError("two topics have one name")
        unknown = [n for n in (*self.keep, *self.drop) if n not in known and not n.startswith("medoid:")]
        if unknown:
            raise ValueError(f"no topic is called {unknown[0]!r}")
        if self.clusters is None and any(n.startswith("medoid:") for n in (*self.keep, *self.drop)):
            raise ValueError("medoid:... names a cluster: set `clusters`")
        return self


class ScreenConfig(Frozen):
    """Rules, unsafe content, poisoned content and language; None switches a part off."""

    rules: RulesConfig | None = Field(default_factory=RulesConfig, description="quality rules; null: none")
    unsafe: UnsafeConfig | None = Field(
        default_factory=UnsafeConfig, description="unsafe content; null: not looked for"
    )
    poisoned: PoisonedConfig | None = Field(
        default_factory=PoisonedConfig, description="poisoned content; null: not looked for"
    )
    language: LanguageConfig | None = Field(None, description="None: rows in any language pass")
    mentions: Literal["flag", "off", "same"] = Field(
        "flag",
        description="hits in quotation marks, in code, or in a sentence about them: flag, ignore, or treat as others",
    )

    classifiers: tuple[ClassifierConfig, ...] = Field((), description="models that see what the patterns leave")
    topics: TopicsConfig | None = Field(None, description="keep or drop by topic; None: not looked at")

    @model_validator(mode="after")
    def _something(self) -> Self:
        parts = (self.rules, self.unsafe, self.poisoned, self.language, self.topics)
        if all(part is None for part in parts) and not self.classifiers:
            raise ValueError(
                "rules, unsafe, poisoned, language, classifiers and topics are all off: leave the stage out instead"
            )
        names = [c.name for c in self.classifiers]
        if len(set(names)) < len(names):
            raise ValueError("two classifiers have one name")
        return self

    @property
    def asks_models(self) -> bool:
        """Whether models look at rows, and not only rules and patterns."""
        return bool(self.classifiers or self.topics)

    def models(self) -> tuple[tuple[str, str | None], ...]:
        """Models that rows are shown to, on this machine or on the hub: name and revision."""
        named = [(c.model, c.revision) for c in self.classifiers]
        if self.topics is not None and self.topics.embed.model is not None:
            named.append((self.topics.embed.model, self.topics.embed.revision))
        return tuple(named)

    def files(self) -> tuple[str, ...]:
        """Files that the config names."""
        return tuple(t.file for t in self.topics.topics if t.file) if self.topics is not None else ()
