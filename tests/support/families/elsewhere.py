"""What a registered model and its folder answer where this project isn't installed; run as a program of its own.

Standard input: {"uri", "tracking", "base", "folder", "adapter", "conversations", "dtype"}. The last line of standard
output: what MLflow's model answers, and what transformers (with peft) answers by its own defaults: chat template,
generation config and end tokens of the folder, one conversation at a time.
"""

import json
import sys
from typing import Any


def main() -> None:
    """Answer twice."""
    import mlflow
    import pandas

    given = json.load(sys.stdin)
    mlflow.set_tracking_uri(given["tracking"])
    served = mlflow.pyfunc.load_model(given["uri"])
    answers = served.predict(pandas.DataFrame({"messages": given["conversations"]}))
    plain = by_transformers(given)
    assert "steps" not in sys.modules, "it needs the project"
    print(json.dumps({"served": answers, "plain": plain}))


def by_transformers(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Text (special tokens in it) and last token of each answer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, found = given["folder"], []
    dtype = getattr(torch, given["dtype"])
    if given["adapter"]:
        from peft import PeftModel
        from transformers import GenerationConfig

        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(given["base"], dtype=dtype), folder)
        config = GenerationConfig.from_pretrained(folder)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        config = model.generation_config
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for messages in given["conversations"]:
        asked = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            out = model.generate(**asked, generation_config=config, max_new_tokens=60, do_sample=False)
        answer = out[0, asked["input_ids"].shape[1] :].tolist()
        found.append({"text": tokenizer.decode(answer), "last": answer[-1]})
    return found


if __name__ == "__main__":
    main()
