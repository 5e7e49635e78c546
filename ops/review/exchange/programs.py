"""The files that Argilla and Label Studio read, and those that they write, without either of them.

Argilla 2: records.json is what `dataset.records.from_json` reads and `dataset.records.to_json` writes (a list of
objects with id, fields, metadata, suggestions, responses); settings.json is what `rg.Settings.from_json` reads. Label
Studio: tasks.json with predictions, config.xml as the labelling interface; its exports JSON (tasks with annotations)
and JSON-MIN (an object per annotation) are read.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from materializers.visible import visible
from ops.review.editing import as_json
from ops.review.exchange.votes import CHOICES, Vote
from ops.review.queue import SetAside
from ops.review.row_view import judged
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.storage import write_whole
from steps.engines.rows.segments import segments

PROGRAMS = ("argilla", "label-studio")
_GUIDELINES = (
    "accept: the row goes on as it is. edit: it goes on as `content` says, which must stay a row of its form."
    " drop: it goes. rating, if you like: 1 useless to 5 faultless."
)
_DECISION, _RATING, _CONTENT, _WHY = "decision", "rating", "content", "why"
_IDS = ("run", "record_id", "content_id")
_CONFIG = """\
<View>
  <Header value="$reason"/>
  <Text name="row" value="$text"/>
  <Choices name="decision" toName="row" choice="single" required="true" showInLine="true">
    <Choice value="accept"/><Choice value="edit"/><Choice value="drop"/>
  </Choices>
  <Rating name="rating" toName="row" maxRating="5"/>
  <Header value="Content as JSON, to be changed for edit"/>
  <TextArea name="content" toName="row" rows="8" maxSubmissions="1" editable="true"/>
  <TextArea name="why" toName="row" rows="1" maxSubmissions="1"/>
</View>
"""


def write_for(program: str, run: str, items: Sequence[SetAside], folder: Path) -> list[Path]:
    """The files for one of the programs, in `folder`."""
    files = (_argilla if program == "argilla" else _label_studio)(run, items)
    for name, text in files.items():
        write_whole(folder / name, text)
    return [folder / name for name in files]


def _argilla(run: str, items: Sequence[SetAside]) -> dict[str, str]:
    records = [
        {
            "id": item.row["record_id"],
            "fields": {"text": _text(item)},
            "metadata": _about(run, item),
            "suggestions": {_CONTENT: {"value": as_json(item.row), "score": None, "agent": f"assay {item.stage}"}},
            "responses": {},
            "vectors": {},
        }
        for item in items
    ]
    questions = [
        _property(_DECISION, {"type": "label_selection", "options": [{"text": c, "value": c} for c in CHOICES],
                              "visible_options": len(CHOICES)}, required=True),
        _property(_RATING, {"type": "rating", "options": [{"value": n} for n in range(1, 6)]}, required=False),
        _property(_CONTENT, {"type": "text", "use_markdown": False}, required=False),
        _property(_WHY, {"type": "text", "use_markdown": False}, required=False),
    ]  # fmt: skip
    settings = {
        "guidelines": _GUIDELINES,
        "questions": questions,
        "fields": [_property("text", {"type": "text", "use_markdown": False}, required=True)],
        "vectors": [],
        "metadata": [
            {"name": name, "title": name, "settings": {"type": "terms", "values": None}, "visible_for_annotators": True}
            for name in ("stage", "reason")
        ],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }
    return {"records.json": _json(records), "settings.json": _json(settings)}


def _property(name: str, settings: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    return {
        "name": name, "title": name, "description": None, "required": required, "type": settings["type"],
        "settings": settings,
    }  # fmt: skip


def _label_studio(run: str, items: Sequence[SetAside]) -> dict[str, str]:
    tasks: list[dict[str, Any]] = [
        {
            "data": {**_about(run, item), "text": _text(item)},
            "predictions": [
                {
                    "model_version": f"assay {item.stage}",
                    "result": [
                        {"from_name": _CONTENT, "to_name": "row", "type": "textarea",
                         "value": {"text": [as_json(item.row)]}},
                    ],
                }
            ],
        }
        for item in items
    ]  # fmt: skip
    return {"tasks.json": _json(tasks), "config.xml": _CONFIG}


def _about(run: str, item: SetAside) -> dict[str, str]:
    ids = {"run": run, "record_id": item.row["record_id"], "content_id": item.row["content_id"]}
    return {**ids, "stage": item.stage, "reason": visible(item.reason or "no reason in the ledger")}


def _text(item: SetAside) -> str:
    """All that the row says, made harmless, and what it says of its answer."""
    parts = [f"[{s.path}]\n{visible(s.text)}" for s in segments({**item.row, "meta": "{}"})]
    return "\n\n".join([*([judged(item.row)] if judged(item.row) else []), *parts])


def _json(value: Any) -> str:
    return json.dumps(value, indent=1)


def read_votes(path: Path) -> list[Vote]:
    """What annotators said, in an export of either program.

    Raises:
        InputNotFoundError: no such file. InputError: it is none of these exports, or an answer in it isn't one.
    """
    if not path.is_file():
        raise InputNotFoundError("no such file", where=str(path))
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as e:
        raise InputError("not JSON", where=str(path), hint="export as JSON") from e
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError("not a list of records or tasks", where=str(path))
    votes: list[Vote] = []
    mistakes: list[str] = []
    for number, item in enumerate(value, 1):
        try:
            votes += _votes(item, f"item {number}")
        except InputError as e:
            mistakes.append(f"item {number}: {e.what}")
    if mistakes:
        raise InputError("nothing was written: " + "; ".join(mistakes[:10]), where=str(path))
    return votes


def _votes(item: Mapping[str, Any], place: str) -> Iterator[Vote]:
    if isinstance(item.get("fields"), dict) and "responses" in item:
        yield from _of_argilla(item, place)
    elif isinstance(item.get("data"), dict) and isinstance(item.get("annotations"), list):
        yield from _of_label_studio(item, place)
    elif "record_id" in item and ("annotator" in item or "annotation_id" in item):
        given = {name: _first(item.get(name)) for name in (_DECISION, _RATING, _CONTENT, _WHY)}
        yield _vote(item, given, item.get("annotator"), str(item.get("updated_at") or ""), place)
    else:
        raise InputError("neither a record of Argilla nor a task of Label Studio (exports JSON and JSON-MIN)")


def _of_argilla(record: Mapping[str, Any], place: str) -> Iterator[Vote]:
    """Responses are by question, each with who gave it; what was discarded or isn't submitted yet is left out."""
    answers: dict[str, dict[str, Any]] = {}
    responses = record["responses"]
    if not isinstance(responses, dict):
        raise InputError("responses isn't an object of answers by question")
    for question, given in responses.items():
        for answer in given if isinstance(given, list) else ():
            if not isinstance(answer, dict):
                raise InputError(f"an answer to {question} isn't an object")
            if answer.get("status") in (None, "submitted"):
                answers.setdefault(str(answer.get("user_id")), {})[question] = answer.get("value")
    metadata = record.get("metadata")
    ids = {**(metadata if isinstance(metadata, dict) else {})}
    ids.setdefault("record_id", record.get("id"))
    for user, given in answers.items():
        yield _vote(ids, given, user, "", place)


def _of_label_studio(task: Mapping[str, Any], place: str) -> Iterator[Vote]:
    for annotation in task["annotations"]:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            raise InputError("an annotation without a result")
        if annotation.get("was_cancelled"):
            continue
        given: dict[str, Any] = {}
        for result in annotation["result"]:
            value = result.get("value") if isinstance(result, dict) else None
            if isinstance(value, dict):
                given[str(result.get("from_name"))] = _first(
                    next((value[k] for k in ("choices", "rating", "text") if k in value), None)
                )
        who = annotation.get("completed_by")
        who = (who.get("email") or who.get("id")) if isinstance(who, dict) else who
        yield _vote(task["data"], given, who, str(annotation.get("updated_at") or ""), place)


def _first(value: Any) -> Any:
    """Of a choice or a text area, which may hold several: the one that there is."""
    if isinstance(value, dict) and "choices" in value:
        value = value["choices"]
    if isinstance(value, list):
        if len(value) > 1:
            raise InputError("an answer holds several values where one is meant")
        return value[0] if value else None
    return value


def _vote(ids: Mapping[str, Any], given: Mapping[str, Any], who: Any, when: str, place: str) -> Vote:
    if not all(isinstance(ids.get(name), str) for name in _IDS):
        raise InputError("without the run, record_id and content_id that it was exported with")
    choice, rating = given.get(_DECISION), given.get(_RATING)
    if choice is not None and choice not in CHOICES:
        raise InputError(f"decision is one of {', '.join(CHOICES)}")
    if rating is not None and (isinstance(rating, bool) or rating not in (1, 2, 3, 4, 5)):
        raise InputError("rating is 1 to 5")
    content = _parsed(given.get(_CONTENT)) if choice == "edit" else None
    why = given.get(_WHY)
    run, record_id, content_id = (ids[name] for name in _IDS)
    by = visible(str(who if who is not None else "unnamed")).replace("\n", " ")[:200]
    said = visible(why).replace("\n", " ")[:500] if isinstance(why, str) else ""
    return Vote(run, record_id, content_id, by, choice or "", content, said, rating, when, place)


def _parsed(text: Any) -> Any:
    if not isinstance(text, str):
        raise InputError("an edit without content")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise InputError("the content of an edit isn't JSON") from e
