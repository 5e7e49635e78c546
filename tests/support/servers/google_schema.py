"""Holds requests against Google's published messages: run by an interpreter that has google-cloud-aiplatform.

A line of JSON on stdin is a message's name and a request's body; a line on stdout is what is wrong with it, or empty.
"""

import json
import re
import sys
from typing import Any


def fields_said(message: Any, word: str) -> set[str]:
    """Fields of which the message's documentation says this first: Required, Output only, Immutable."""
    parts = re.split(r"^ {8}(\w+) \(.*\):$", message.__doc__ or "", flags=re.M)
    return {name for name, text in zip(parts[1::2], parts[2::2], strict=True) if text.strip().startswith(f"{word}.")}


def wrong(kind: str, body: dict[str, Any], mask: str | None) -> str:
    """What Google's library says of it; "": nothing."""
    from google.cloud.aiplatform_v1.types import pipeline_job, schedule
    from google.protobuf import field_mask_pb2, json_format

    message = {"Schedule": schedule.Schedule, "PipelineJob": pipeline_job.PipelineJob}[kind]
    made = message()
    try:
        json_format.ParseDict(body, message.pb(made))
        said = {re.sub("([A-Z])", lambda m: f"_{m[1].lower()}", name) for name in body}
        given = None
        if mask is not None:
            given = field_mask_pb2.FieldMask()
            given.FromJsonString(mask)
            if not given.IsValidForDescriptor(message.pb(made).DESCRIPTOR):
                return f"updateMask {mask} names no fields"
            if set(given.paths) != said:
                return f"updateMask {mask} isn't what the body says"
    except (json_format.ParseError, ValueError) as e:
        return str(e)
    if read_only := said & fields_said(message, "Output only"):
        return f"only told, never taken: {', '.join(sorted(read_only))}"
    if mask is None and (lacking := fields_said(message, "Required") - said):
        return f"required: {', '.join(sorted(lacking))}"
    return ""


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        print(wrong(asked["kind"], asked["body"], asked.get("mask")).replace("\n", " "), flush=True)
