"""A model in MLflow's format, asked line by line: URI. Questions as JSON on standard input, a reply each as JSON on
standard output. It runs where nothing of the project is imported.
"""

import json
import sys
from typing import Any

import mlflow
import pandas


def _main(uri: str) -> None:
    # What libraries say must not stand among the replies.
    replies, sys.stdout = sys.stdout, sys.stderr
    model = mlflow.pyfunc.load_model(uri)
    assert "steps" not in sys.modules, "it needs the project"
    for line in sys.stdin:
        asked = json.loads(line)
        replies.write(json.dumps(_answered(model, **asked)) + "\n")
        replies.flush()


def _answered(model: Any, what: str, **asked: Any) -> Any:
    if what == "predict":
        frame = pandas.DataFrame(asked["rows"])
        return list(model.predict(frame, params={"max_new_tokens": asked["room"]}))
    served = model.unwrap_python_model()
    if what == "prompt":
        return served.tokenizer(served._render(asked["row"]), add_special_tokens=False)["input_ids"]
    if what == "texts":
        return served.tokenizer(asked["texts"], add_special_tokens=False)["input_ids"]
    if what == "ends":
        return [int(i) for i in served.ends]
    return _next(served, asked["prompt"], asked["answer"])


def _next(served: Any, prompt: list[int], answer: list[int]) -> list[int]:
    import torch

    with torch.inference_mode():
        ids = torch.tensor([prompt + answer], device=served.device)
        found: list[int] = served.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].argmax(-1).tolist()
    return found


if __name__ == "__main__":
    _main(*sys.argv[1:])
