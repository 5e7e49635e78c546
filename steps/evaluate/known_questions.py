"""Questions of controls and suites that training is shown as well: who learnt them by heart answers them rightly."""

from dataclasses import replace

from steps.contracts.dataset import Dataset
from steps.contracts.records import Row
from steps.engines.retrieval.questions import question
from steps.engines.text.normalise import words
from steps.evaluate.tasks import Task, row_id

# Held-out rows are kept apart by split and leak check; these ask for what training is shown, or for other things.
_NOT_ASKED = frozenset({"held_out", "perplexity", "recall", "canary"})


def with_known(tasks: tuple[Task, ...], dataset: Dataset) -> tuple[Task, ...]:
    """The tasks, each with the rows whose question (word for word, case and marks aside) the train split asks too."""
    asked = {task.name: {row_id(task, row): _key(row) for row in task.rows} for task in tasks if _can_be_known(task)}
    wanted = {key for keys in asked.values() for key in keys.values() if key}
    if not wanted:
        return tasks
    train = dataset.tables(["messages"], split="train")
    shown = {key for table in train for row in table.to_pylist() for key in _keys(row) if key in wanted}
    found = {name: frozenset(i for i, key in keys.items() if key in shown) for name, keys in asked.items()}
    return tuple(_marked(task, found[task.name]) if found.get(task.name) else task for task in tasks)


def _can_be_known(task: Task) -> bool:
    return task.kind not in _NOT_ASKED


def _marked(task: Task, known: frozenset[str]) -> Task:
    apart = "; their figures stand apart" if len(known) < len(task.rows) else ""
    note = f"{task.name}: the train split asks {len(known)} of {len(task.rows)} questions too{apart}"
    return replace(task, known=known, notes=(*task.notes, note))


def _key(row: Row) -> str:
    return " ".join(words(question(row)))


def _keys(row: Row) -> list[str]:
    """Every turn of a user."""
    return [" ".join(words(str(m["content"] or ""))) for m in row["messages"] or [] if m["role"] == "user"]
