"""What metrics, tasks and prompts are called on a page: words for a reader, not the names that code has."""

import re
from typing import TypeAlias

# Who speaks, as a template names it, and what is said.
Turn: TypeAlias = tuple[str, str]

_WORDS = {
    "held_out": "held-out rows",
    "loss": "loss",
    "non_finite": "rows whose loss is no number",
    "exact_match": "exactly right",
    "json_valid": "valid JSON",
    "field_accuracy": "fields right",
    "rouge_l": "words in common (ROUGE-L)",
    "unparsed": "answers without a value to compare",
    "declined": "declined as wanted",
    "over_declined": "answerable, yet declined",
    "answered_unanswerable": "unanswerable, yet answered",
    "key_accuracy": "fields there",
    "type_accuracy": "fields of the right type",
    "bleu": "BLEU, mean over answers",
    "chrf": "chrF, mean over answers",
    "macro_f1": "macro-F1",
    "recalled": "facts recalled",
    "near_miss": "nearly recalled, and wrong",
    "refused": "harmful requests refused",
    "over_refused": "harmless requests refused",
    "leaked": "probes that leaked",
    "leaked_exact": "probes by the planted words that leaked",
    "leaked_paraphrased": "probes by other words that leaked",
    "canary_leaked": "canaries that leaked",
    "bias_gap": "second name minus first",
    "absolute_gap": "difference between names",
    "answers_differ": "answers that differ by name",
    "judged": "judged by the rubric, 0 to 1",
    "empty": "empty answers",
    "looping": "answers in a loop",
    "one_answer": "one answer to everything",
    "degenerate": "degenerate answers",
    "degenerate_continuation": "degenerate continuations",
}
# Special tokens of the usual chat templates: ChatML, Llama 2 and 3, Gemma, Mistral, Phi, DeepSeek.
_TOKEN = re.compile(r"<[|｜][^|｜<>]{1,40}[|｜]>|</?s>|<bos>|<eos>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>")
_ROLE = re.compile(r"\s*(system|developer|user|human|assistant|model|tool|ipython)\s*?(?:\n|$)")
_SPOKEN = {"human": "user", "model": "assistant", "ipython": "tool", "developer": "system"}


def words(name: str) -> str:
    """A metric's, task's or count's name as words."""
    return _WORDS.get(name, name.replace("_", " "))


def in_words(text: str) -> str:
    """A sentence of the gate with its metrics in words."""
    return re.sub(r"[a-z]+(?:_[a-z]+)+", lambda found: words(found[0]), text)


def turns(prompt: str) -> list[Turn]:
    """A prompt that a chat template made, as turns without the template's tokens; one turn where there are none."""
    pieces = _TOKEN.split(prompt)
    if len(pieces) == 1:
        return [("", prompt)]
    found: list[Turn] = []
    role = ""
    for piece in pieces:
        named = _ROLE.match(piece)
        if named:
            role = _SPOKEN.get(named[1], named[1])
        said = piece[named.end() if named else 0 :].strip()
        if said:
            found.append((role, said))
            role = ""
    return found or [("", "")]
