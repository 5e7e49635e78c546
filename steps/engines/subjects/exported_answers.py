"""Answers of a model's GGUF export in llama.cpp, to prompts of token ids; for evaluations."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steps.contracts.digests import file_digest
from steps.contracts.errors import ServiceError
from steps.contracts.models import ModelFolder
from steps.engines.completions.completer import Wanted
from steps.engines.completions.config import EngineConfig
from steps.engines.completions.llama_cpp import LlamaCompleter
from steps.engines.exports.folder_format import Options, Source
from steps.engines.exports.formats import FORMATS
from steps.engines.exports.gguf.llama_process import LlamaProcess, LlamaSettings
from steps.engines.lm.kept import KeptAnswers
from steps.engines.progress.progress import Progress


@contextmanager
def exported_answers(
    base: ModelFolder, tuned: ModelFolder | None, engine: EngineConfig, threads: int, folder: Path
) -> Iterator["ExportedAnswers"]:
    """The model, exported into `folder` for as long as it is asked.

    Raises: as the format's `write`.
    """
    with TemporaryDirectory(dir=folder, prefix="export-") as made:
        out, scratch = Path(made, "out"), Path(made, "scratch")
        out.mkdir()
        scratch.mkdir()
        FORMATS["gguf"].write(Source(base, tuned), out, Options(engine.dtype), scratch)
        (file,) = out.glob("*.gguf")
        answers = ExportedAnswers(file, engine, threads, scratch / "llama.log")
        try:
            yield answers
        finally:
            answers.close()


class ExportedAnswers:
    """Greedy answers. Nothing of a prompt is taken from an earlier one, so that an answer depends on its own alone."""

    def __init__(self, file: Path, engine: EngineConfig, threads: int, log: Path) -> None:
        self._file, self._engine, self._threads, self._log = file, engine, threads, log
        self.digest = file_digest(file)
        self._process: LlamaProcess | None = None
        self._context = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides over its answers beside the weights, as JSON values."""
        return {"program": "llama.cpp", "version": version("xllamacpp"), **self._engine.model_dump(mode="json")}

    def close(self) -> None:
        """End llama.cpp."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def answers(
        self, prompts: Sequence[list[int]], rooms: Sequence[int], ends: Sequence[int], kept: KeptAnswers | None
    ) -> list[tuple[list[int], bool]]:
        """Each answer's tokens, without what ended it, and whether they were kept by an earlier process.

        Raises:
            ServiceError: llama.cpp doesn't answer. IntegrityError: it can't load the file.
        """
        there = [kept.get(ids, room) if kept else None for ids, room in zip(prompts, rooms, strict=True)]
        due = [i for i, said in enumerate(there) if said is None]
        if due:
            completer = self._server(max(len(prompts[i]) + rooms[i] for i in due))
        with (
            Progress("answers", len(prompts), "prompts") as progress,
            ThreadPoolExecutor(self._engine.parallel) as pool,
        ):
            progress.advance(len(prompts) - len(due))

            def ask(i: int) -> list[int]:
                heard = _Heard(frozenset(ends))
                completer.complete(Wanted("", prompts[i], rooms[i]), heard, lambda: False)
                if kept is not None:
                    kept.add(prompts[i], rooms[i], heard.said)
                progress.advance(1)
                return heard.said

            new = dict(zip(due, pool.map(ask, due), strict=True))
        if kept is not None:
            kept.settle()
        return [(new[i], False) if said is None else (said, True) for i, said in enumerate(there)]

    def _server(self, tokens: int) -> LlamaCompleter:
        """One that has room for prompts and answers of so many tokens each."""
        if self._process is None or tokens > self._context:
            self.close()
            self._context = tokens
            settings = LlamaSettings(tokens * self._engine.parallel, self._engine.parallel, self._threads)
            self._process = LlamaProcess(self._file, settings, self._log)
        return LlamaCompleter(self._process.address, self._process.key, remembers=False)


class _Heard:
    """An answer's tokens, up to what ends it."""

    def __init__(self, ends: frozenset[int]) -> None:
        self.said: list[int] = []
        self._ends = ends

    def hear(self, token: int) -> bool:
        """One more; returns whether it is the end."""
        if token in self._ends:
            return True
        self.said.append(token)
        return False

    def hear_text(self, text: str, tokens: int) -> bool:
        """Whole answers are told by ids."""
        raise ServiceError("llama.cpp tells no token ids")
