"""Answers to fixed prompts while a model is trained: greedy, and without a trace in what comes after."""

from collections.abc import Sequence
from typing import Any

import torch

from steps.engines.lm.generate import Generated, generate
from steps.engines.lm.load import LoadedModel


def samples(trainer: Any, tokenizer: Any, prompts: Sequence[str], tokens: int) -> list[Generated]:
    """One answer per rendered prompt by the trainer's model as it is now.

    No random number is drawn, and generators, mode and weights are afterwards what they were: training goes on bit by
    bit as if nobody had asked.
    """
    model, device = trainer.model, str(trainer.args.device)
    gpus = [torch.cuda.current_device()] if device.startswith("cuda") else []
    was_training = model.training
    model.eval()
    try:
        with torch.random.fork_rng(devices=gpus), trainer.compute_loss_context_manager():
            return generate(
                LoadedModel(model, tokenizer, device), list(prompts), max_new_tokens=tokens, batch_size=len(prompts)
            )
    finally:
        model.train(was_training)


def rendered(tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    """Each as a user's message in the model's chat template; as it is, where the model has none."""
    from steps.contracts.records import make_row, message
    from steps.engines.template.render import bos_text, chat_messages, chat_template

    if not prompts:
        return []
    if not tokenizer.chat_template:
        return [bos_text(tokenizer) + prompt for prompt in prompts]
    chat = chat_template(tokenizer)
    rows = [
        make_row(kind="conversation", source="sample", locator=str(i), raw=b"", messages=[message("user", prompt)])
        for i, prompt in enumerate(prompts)
    ]
    return [chat.render(chat_messages(row, chat), None, prompt=True) for row in rows]
