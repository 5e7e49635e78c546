"""Documents read in another process, which ends when one takes too long or too much memory."""

import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar

from steps.contracts.errors import MissingDependencyError
from steps.engines.documents.config import DocumentConfig
from steps.engines.documents.pages import Page, Unreadable
from steps.engines.execution.threads import cores

DocumentKind: TypeAlias = Literal["pdf", "docx"]
Result = TypeVar("Result")
# Module and name of what reads each kind.
_PACKAGES: dict[DocumentKind, tuple[str, str]] = {"pdf": ("pdfminer", "pdfminer.six"), "docx": ("docx", "python-docx")}
_PER_PAGE_SECONDS = 0.5
_MB = 1 << 20
# The status that says that a process ended for want of memory.
_NO_MEMORY = 77
# Chosen: a DOCX may unpack to a hundred times its size, as other packed files may, and a small one to some MiB.
_RATIO, _FREE = 100, 8 * _MB
_MEND = "copy or download it again, or save it anew"


class DocumentReader:
    """Reads one document after the other; the process is started with the first, and anew when it had to be ended.

    `first`: no more pages of a document are read than these; None: all.
    """

    def __init__(self, config: DocumentConfig, first: int | None = None) -> None:
        self._config, self._first = config, first
        self._process: Any = None
        self._given_up = False
        self._pipe: Connection | None = None

    def pages(self, data: bytes, kind: DocumentKind, most_chars: int) -> list[Page]:
        """The pages of a document of at most `most_chars` characters.

        Raises:
            Unreadable: it can't be read, or not within the bounds.
            MissingDependencyError: the package that reads this kind isn't installed.
        """
        _need(kind)
        pipe = self._started()
        pages: list[Page] = []
        chars = 0
        try:
            pipe.send((data, kind, self._config.max_pages, self._first))
            for page in self._answers(pipe, pages):
                pages.append(page)
                chars += len(page.text)
                if chars > most_chars:
                    self.close()
                    raise Unreadable("too_long", f"more than max_line_bytes ({most_chars:,}) of text; split it")
        except (EOFError, OSError):
            raise Unreadable("too_large", self._at(pages, self._how_it_ended())) from None
        return pages

    def _answers(self, pipe: Connection, pages: list[Page]) -> Iterator[Page]:
        start = time.monotonic()
        while True:
            left = start + self._config.max_seconds + _PER_PAGE_SECONDS * len(pages) - time.monotonic()
            if left <= 0 or not pipe.poll(left):
                self.close()
                said = f"takes longer than documents.max_seconds ({self._config.max_seconds:g})"
                raise Unreadable("too_slow", self._at(pages, said))
            answer = pipe.recv()
            if answer is None:
                return
            if isinstance(answer, Page):
                yield answer
            else:
                raise answer

    def _how_it_ended(self) -> str:
        self._process.join()
        code = self._process.exitcode
        self.close()
        if code == _NO_MEMORY:
            return f"needs more than documents.max_memory_mb ({self._config.max_memory_mb:,})"
        return "the process that read it ended: out of memory?"

    @staticmethod
    def _at(pages: list[Page], what: str) -> str:
        return f"behind page {len(pages)}: {what}" if pages else what

    def _started(self) -> Connection:
        if self._pipe is None:
            # spawn: forking a process that runs threads (torch, Arrow) can hang.
            spawn = multiprocessing.get_context("spawn")
            pipe, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(theirs, self._config.max_memory_mb), daemon=True)
            process.start()
            theirs.close()
            self._process, self._pipe = process, pipe
            if self._given_up:
                process.kill()
        return self._pipe

    def kill(self) -> None:
        """End what it is doing, from any thread; `close` comes after it, and nothing else."""
        self._given_up = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process."""
        if self._pipe is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process, self._pipe = None, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class DocumentReaders:
    """As many readers as there are cores, each with a process of its own, started when there is work for it."""

    def __init__(self, config: DocumentConfig, first: int | None = None) -> None:
        self._config, self._first = config, first
        self._threads = ThreadPoolExecutor(cores(), "documents")
        self._own = threading.local()
        self._readers: list[DocumentReader] = []

    def submit(self, work: Callable[[DocumentReader], Result]) -> Future[Result]:
        """Begin a piece of work that needs a reader."""
        return self._threads.submit(self._done, work)

    def _done(self, work: Callable[[DocumentReader], Result]) -> Result:
        if not hasattr(self._own, "reader"):
            self._own.reader = DocumentReader(self._config, self._first)
            self._readers.append(self._own.reader)
        return work(self._own.reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        # What they still read ends with their processes.
        for reader in list(self._readers):
            reader.kill()
        self._threads.shutdown(wait=True)
        for reader in self._readers:
            reader.close()


def _need(kind: DocumentKind) -> None:
    module, package = _PACKAGES[kind]
    if find_spec(module) is None:
        hint = "pip install 'assay[documents]', or leave these files out"
        raise MissingDependencyError(f"{kind.upper()} files need the package {package}", hint=hint)


def _serve(pipe: Connection, memory_mb: int) -> None:
    """What the process does: answer each document with its pages, then None; or with what is wrong with it."""
    # Ctrl-C is for its parent, at whose end the pipe ends too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(memory_mb * _MB)
    try:
        _answer(pipe)
    except MemoryError:
        # Nothing more can be relied on, not even to say so.
        os._exit(_NO_MEMORY)


def _answer(pipe: Connection) -> None:
    while True:
        try:
            data, kind, most, first = pipe.recv()
        except EOFError:
            return
        try:
            for page in islice(read_document(data, kind, most), first):
                pipe.send(page)
            pipe.send(None)
        except Unreadable as e:
            pipe.send(e)


def _limit(size: int) -> None:
    """Let this process have so many bytes of memory beside those that it has."""
    # What the parent's main module imports is in them; systems without /proc have no such limit either.
    with suppress(OSError, ValueError):
        size += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def read_document(data: bytes, kind: DocumentKind, most_pages: int) -> Iterator[Page]:
    """The pages of a document, without bounds of time and memory.

    Raises:
        Unreadable: it can't be read. MemoryError: it needs more than there is.
    """
    from steps.engines.documents.docx import docx_pages
    from steps.engines.documents.pdf import pdf_pages

    try:
        yield from pdf_pages(data, most_pages) if kind == "pdf" else docx_pages(data, _FREE + _RATIO * len(data))
    except (Unreadable, MemoryError):
        raise
    except Exception as e:  # the parsers raise what they stumble over
        raise Unreadable("damaged", f"a damaged {kind.upper()} ({type(e).__name__}); {_MEND}") from e
