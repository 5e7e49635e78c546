"""The training data that a window is held against: a sample of it, in two halves that share no row.

One half says where bins and clusters lie, the other one is compared. If one did both, it would lie in its own bins
better than any new rows can, and a window that differs in nothing would be told from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steps.contracts.arrays import Vectors
from steps.contracts.dataset import Dataset
from steps.contracts.records import Row
from steps.engines.embed.vectorise import Vectorise
from steps.engines.graders.values import NOTHING, parse_json
from steps.monitor.config import MonitorConfig
from steps.monitor.statistics import bins_of
from steps.monitor.texts import Counter, Said, trained
from steps.monitor.topics import Topics, find_topics

_COLUMNS = ["record_id", "content_id", "kind", "messages", "chosen", "rejected", "tools", "text", "label", "split"]
# Deciles, as PSI is used.
_BINS = 10
# Answers of a task are JSON where so large a share of the training answers is: chosen, a few may be declined.
_JSON_SHARE = 0.9


@dataclass(frozen=True)
class Training:
    """The sample.

    Attributes:
        compared: the half that a window is held against.
        vectors: of it, shape (n, d).
        asked_edges, answered_edges: inner edges of the bins of lengths.
        topics: clusters of the other half.
        answers_json: whether its answers are JSON objects.
    """

    compared: tuple[Said, ...]
    vectors: Vectors
    asked_edges: tuple[float, ...]
    answered_edges: tuple[float, ...]
    topics: Topics
    answers_json: bool


def sample_training(dataset: Dataset, most: int) -> tuple[tuple[Said, ...], tuple[Said, ...]]:
    """Both halves of up to `most` train rows that ask and answer something, chosen by hash of their content."""
    found: dict[str, Said] = {}
    for chunk in dataset.chunks(_COLUMNS):
        for row in chunk.table.to_pylist():
            if _is_asked(row):
                found[row["content_id"]] = trained(row)
        if len(found) > 4 * most:
            found = dict(sorted(found.items())[:most])
    chosen = sorted(found.items())[:most]
    # The last digits of an id, which didn't choose it.
    halves = [tuple(said for content, said in chosen if int(content[-2:], 16) % 2 == half) for half in (0, 1)]
    return halves[0], halves[1]


def _is_asked(row: Row) -> bool:
    return row["kind"] != "document" and row["split"] in (None, "train") and row.get("label") is not False


def look_at(halves: tuple[Sequence[Said], Sequence[Said]], config: MonitorConfig, count: Counter,
            vectorise: Vectorise) -> Training:  # fmt: skip
    """Bins and clusters of the first half, vectors of the second; neither may be empty."""
    fitted, compared = halves
    topics = find_topics(vectorise([s.about for s in fitted]), config.topics, config.seed)
    edges = (tuple(bins_of([count(t) for t in texts], _BINS)) for texts in
             ([s.asked for s in fitted], [s.answered or "" for s in fitted]))  # fmt: skip
    asked, answered = edges
    return Training(
        tuple(compared), vectorise([s.about for s in compared]), asked, answered, topics,
        share_of(compared, is_object) >= _JSON_SHARE,
    )  # fmt: skip


def share_of(rows: Sequence[Said], has: Callable[[str], bool]) -> float:
    """Share of the answers of which it is so."""
    return sum(has(s.answered or "") for s in rows) / len(rows)


def is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    value = parse_json(text)
    return value is not NOTHING and isinstance(value, dict)
