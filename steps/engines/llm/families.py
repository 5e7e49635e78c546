"""Which family a model belongs to, by its name: models of one family learned from each other's words."""

import re

# Names as their makers write them. A distilled model has two families, since it has two parents.
_FAMILIES = {
    "GPT": r"gpt-?[345]|gpt-?oss|chatgpt|davinci|(?<![a-z0-9])o[134](?![a-z0-9])",
    "Claude": r"claude",
    "Gemini and Gemma": r"gemini|gemma|(?<![a-z])palm-?2|(?<![a-z])bard(?![a-z])",
    "Llama": r"llama(?!index|_index|-index|\.?cpp)|vicuna",
    "Qwen": r"qwen|(?<![a-z])qwq|(?<![a-z])qvq",
    "Mistral": r"mistral|mixtral|ministral|codestral|magistral|devstral",
    "DeepSeek": r"deepseek",
    "Phi": r"(?<![a-z])phi-?[1-9]",
    "Command and Aya": r"command-?[ra](?![a-z])|(?<![a-z])aya(?![a-z])",
    "Grok": r"(?<![a-z])grok",
    "Falcon": r"falcon",
    "Yi": r"(?<![a-z])yi-(?:\d|large|lightning)",
    "GLM": r"(?<![a-z])(?:chat)?glm",
    "Kimi": r"(?<![a-z])kimi|moonshot",
    "OLMo and Tülu": r"(?<![a-z])olmo|(?<![a-z])tulu",
    "SmolLM": r"smollm",
    "Nova": r"nova-(?:micro|lite|pro|premier)",
    "Nemotron": r"nemotron",
    "Granite": r"granite",
    "InternLM": r"internlm",
    "Baichuan": r"baichuan",
    "Hunyuan": r"hunyuan",
    "ERNIE": r"(?<![a-z])ernie",
    "MiniMax": r"minimax|abab\d",
    "Jamba": r"jamba",
    "StableLM": r"stablelm",
}
_KNOWN = {family: re.compile(pattern) for family, pattern in _FAMILIES.items()}
# What stands behind a name and says nothing of whose it is: a tag, a version in a registry, a file's suffix.
_TAIL = re.compile(r"(?:[:@].*|\.gguf|\.safetensors)$")


def families_of(name: str) -> frozenset[str]:
    """Families that a model's name tells of; of an unknown one its name is its family. Of a path the last part counts,
    and the one before it.
    """
    parts = [p for p in name.removeprefix("models:/").replace("\\", "/").casefold().split("/") if p]
    for part in (*parts[-1:], *parts[-2:-1]):
        found = frozenset(family for family, known in _KNOWN.items() if known.search(part))
        if found:
            return found
    own = _TAIL.sub("", parts[-1]) if parts else ""
    return frozenset({own} if own else ())


def known_families_in(text: str) -> frozenset[str]:
    """Known families that a text names, such as that of a data set."""
    folded = text.casefold()
    return frozenset(family for family, known in _KNOWN.items() if known.search(folded))
