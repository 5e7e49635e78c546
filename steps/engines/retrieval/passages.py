"""What can be looked up: passages of documents or of train rows, and the index that finds them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from steps.contracts.dataset import Dataset
from steps.contracts.digests import MultisetDigest, short_id
from steps.contracts.errors import InputError, InputNotFoundError, ServiceError
from steps.engines.chunking.chunking import Markup, cutter
from steps.engines.retrieval.config import TRAIN, RetrievalConfig
from steps.engines.retrieval.questions import question_and_answer
from steps.engines.retrieval.words import WordIndex

if TYPE_CHECKING:
    from steps.engines.embed.cross_encoder import CrossEncoder

_MARKUPS: dict[str, Markup] = {
    ".txt": "text", ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html"
}  # fmt: skip


@dataclass(frozen=True)
class Passages:
    """Texts in an order of their own content, and their digest. `documents`: of each the files that it stands in, as
    they are called below the folder; of train rows, their sources.
    """

    texts: tuple[str, ...]
    digest: str
    documents: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def files(self) -> frozenset[str]:
        """All that `documents` names."""
        return frozenset(name for names in self.documents for name in names)


class Index(Protocol):
    """Finds passages."""

    def nearest(self, questions: Sequence[str], k: int) -> list[list[int]]:
        """Per question the numbers of at most `k` passages, best first."""
        ...


def passages(config: RetrievalConfig, dataset: Dataset, root: Path) -> Passages:
    """What `config.documents` names, cut.

    Raises:
        InputNotFoundError: no such file or folder. InputError: nothing in it can be read.
    """
    found = _of_rows(dataset) if config.documents == TRAIN else _of_files(root / config.documents, config)
    texts: dict[str, dict[str, None]] = {}
    for document, text in found:
        if text.strip():
            texts.setdefault(text, {})[document] = None
    if not texts:
        raise InputError("nothing to look up: no passage with words in it", where=f"documents {config.documents}")
    digest = MultisetDigest()
    digest.update(map(short_id, texts))
    ordered = sorted(texts)
    return Passages(tuple(ordered), digest.hexdigest(), tuple(tuple(texts[t]) for t in ordered))


def _of_rows(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Source and text of each."""
    for table in dataset.tables(split="train"):
        for row in table.to_pylist():
            if row["kind"] == "document":
                yield row["source"], str(row["text"] or "").strip()
            elif found := question_and_answer(row):
                yield row["source"], "\n".join(found)


def _of_files(path: Path, config: RetrievalConfig) -> Iterator[tuple[str, str]]:
    """File and text of each."""
    if not path.exists():
        raise InputNotFoundError(
            "no such file or folder of documents", where=str(path), hint="paths are relative to the project root"
        )
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    cut = cutter(config.chunk, "retrieval.chunk")
    for file in files:
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        if file.suffix == ".jsonl":
            for text in _lines(file):
                yield from ((name, c.text) for c in cut(text, "text", ()))
        elif file.suffix.lower() in _MARKUPS:
            text = file.read_text(encoding="utf-8", errors="replace")
            yield from ((name, c.text) for c in cut(text, _MARKUPS[file.suffix.lower()], ()))
        elif path.is_file():
            raise InputError(
                "not a kind of document that is looked up in", where=str(file),
                hint=f"one of {', '.join((*_MARKUPS, '.jsonl'))}; PDF and DOCX are read by ingest",
            )  # fmt: skip


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)["text"]
            except (ValueError, KeyError, TypeError) as e:
                raise InputError('no JSON object with "text"', where=f"{file}, line {number}") from e
            yield str(text)


@contextmanager
def index(found: Passages, config: RetrievalConfig, root: Path, cache: Path | None) -> Iterator[Index]:
    """The index of passages, put in order by a second model where there is one. `cache`: folder where vectors are kept.

    Raises:
        ConfigError: the second model gives several scores.
        MissingDependencyError, InputNotFoundError: the embedding model or its library isn't there.
        ServiceError: a server doesn't work.
    """
    with _found(found, config, root, cache) as first:
        if config.rerank is None:
            yield first
            return
        from steps.engines.embed.cross_encoder import CrossEncoder

        yield Reranked(first, found.texts, CrossEncoder(config.rerank, root, "retrieval.rerank"), config.candidates)


class Reranked:
    """What an index finds, by how well it answers; of equal scores the one that was found first."""

    def __init__(self, first: Index, texts: Sequence[str], model: "CrossEncoder", candidates: int) -> None:
        self.first, self.candidates = first, candidates
        self._texts, self._model = texts, model

    def nearest(self, questions: Sequence[str], k: int) -> list[list[int]]:
        """Per question the numbers of at most `k` passages, best first."""
        found = self.first.nearest(questions, max(k, self.candidates))
        return [self._best(q, numbers)[:k] for q, numbers in zip(questions, found, strict=True)]

    def _best(self, question: str, numbers: list[int]) -> list[int]:
        scores = self._model.relevance(question, [self._texts[n] for n in numbers])
        return [n for _, n in sorted(zip(scores, numbers, strict=True), key=lambda pair: -pair[0])]


@contextmanager
def _found(found: Passages, config: RetrievalConfig, root: Path, cache: Path | None) -> Iterator[Index]:
    """By words or by vectors."""
    if config.embed is None:
        yield WordIndex(found.texts)
        return
    from steps.engines.embed.cache import EmbeddingCache
    from steps.engines.embed.embedder import Embedder, open_embedder
    from steps.engines.vector_store.open import open_store

    def vectors(embedder: Embedder, texts: Sequence[str]) -> np.ndarray:
        done = embedder.embed(texts)
        if done.failed:
            raise ServiceError(f"{len(done.failed)} of {len(texts)} texts have no vector", where="retrieval.embed")
        return done.vectors

    with EmbeddingCache(cache, None, None) as kept, open_embedder(config.embed, root, kept) as embedder:
        known = vectors(embedder, found.texts)
        with open_store(config.store, known, len(known)) as store:
            store.add(known)

            class Nearest:
                def nearest(self, questions: Sequence[str], k: int) -> list[list[int]]:
                    _, numbers = store.search(vectors(embedder, questions), min(k, len(known)))
                    return [[int(n) for n in row if n >= 0] for row in numbers]

            yield Nearest()
