"""Patterns of text that attacks whoever reads it: prompt injections, scripts, SQL injection.

All are our own. They look for the shape of an attack, not for a topic: `DROP TABLE` alone is homework,
`'; DROP TABLE users; --` is an injection. A `weak` pattern has common harmless uses; its hits are only flagged.
"""

from dataclasses import dataclass
from typing import Literal

from steps.engines.scan.patterns import Pattern

Category = Literal["prompt_injection", "control_tokens", "script_injection", "sql_injection"]


@dataclass(frozen=True)
class Rule:
    """One poison pattern. `anywhere`: quoting it doesn't make it harmless (a tokenizer reads it all the same)."""

    category: Category
    pattern: Pattern
    weak: bool = False
    anywhere: bool = False


_OBJECT = r"(?:instructions?|prompts?|directions?|directives?|guidelines?|rules|commands?|programming)"
_OLD = r"(?:previous|prior|above|earlier|preceding|foregoing|initial|original|system|existing|safety|hidden)"
_JS = r"(?:alert|prompt|confirm|eval|fetch|atob|import|document\s*\.|window\s*\.|location\s*[.=]|new\s+image)"

# "Don't ignore the rules above" is advice: what turns the order round stands before it, where RE2 can't look.
_NOT_TURNED = r"(?<!n['’]t )(?<!not )(?<!never )(?<!not to )(?<!n['’]t to )(?<!never to )"
_OVERRIDE = (
    rf"\b(?:ignore|disregard|forget|override|overrule|bypass)\s+(?:\w+\s+){{0,3}}{_OLD}\s+(?:\w+\s+){{0,2}}{_OBJECT}\b"
)
_OVERRIDE_ALL = rf"\b(?:ignore|disregard|forget)\s+(?:all|any|everything)\s+(?:of\s+)?(?:your|the)\s+{_OBJECT}\b"
_YOURS = rf"\b(?:ignore|disregard|forget|override|overrule|bypass)\s+your\s+(?:\w+\s+)?{_OBJECT}\b"
_TURNABLE = [
    Pattern("prompt_injection.override", _OVERRIDE, confirm=_NOT_TURNED + _OVERRIDE),
    Pattern("prompt_injection.override_all", _OVERRIDE_ALL, confirm=_NOT_TURNED + _OVERRIDE_ALL),
    # "It is easy to forget your instructions": with `your`, an infinitive is seldom an order.
    Pattern("prompt_injection.override_yours", _YOURS, confirm=_NOT_TURNED + "(?<!to )" + _YOURS),
]
_PROMPT = {
    "do_not_follow": rf"\b(?:do\s+not|don['’]t)\s+(?:follow|obey)\s+(?:(?:any|all|the|your|these|those)\s+){{0,2}}"
    rf"(?:{_OLD}\s+{_OBJECT}|{_OBJECT}\s+(?:above|before|given\s+(?:above|before|earlier)))\b",
    "forget_before": r"\bforget\s+(?:everything|all)\s+(?:you\s+(?:were|have\s+been|know)|"
    r"(?:said|written)?\s*(?:above|before))",
    "reveal_prompt": r"\b(?:reveal|print|show|repeat|output|display|leak|disclose|tell)\s+(?:\w+\s+){0,3}?"
    r"(?:system|hidden|initial|secret|developer)\s+(?:prompt|instructions?)\b",
    "persona": r"\byou\s+are\s+now\s+(?:called\s+)?(?:dan\b|in\s+(?:developer|dan|jailbreak|god)\s+mode|jailbroken|"
    r"an?\s+(?:unrestricted|unfiltered|uncensored|evil)\b)",
    "do_anything_now": r"\bdo\s+anything\s+now\b|\b(?:dan|jailbreak)\s+mode\s+(?:enabled|activated|on)\b",
    "no_rules": r"\b(?:pretend|act\s+as\s+if|act\s+like|imagine)\s+(?:that\s+)?you\s+(?:have|had|are\s+under|"
    r"are\s+bound\s+by)\s+no\s+(?:\w+\s+)?(?:rules|restrictions|guidelines|limits|limitations|filters?|policies)\b",
    "your_filters": r"\b(?:bypass|disable|turn\s+off|ignore|deactivate)\s+(?:all\s+)?(?:of\s+)?your\s+(?:\w+\s+)?"
    r"(?:filters?|guidelines|restrictions|guardrails|safeguards|safety|content\s+polic(?:y|ies))\b",
    "fake_system": r"(?m)^[\s#>*\[]*(?:system|developer)(?:\s+(?:prompt|override|message|note))?\s*[\]:]+[\s*]*"
    r"(?:you\s+(?:are|must|will|should|now)|ignore|disregard|override|new\s+instructions)\b",
    "to_the_assistant": r"\b(?:important|attention|urgent|note)\b\W{1,6}(?:to\s+)?(?:all\s+|any\s+|the\s+)?"
    r"(?:ai|ai\s+(?:assistants?|models?|agents?)|llms?|language\s+models?|assistants?)\b[^.\n]{0,60}"
    r"\b(?:must|should|ignore|instead|do\s+not)\b",
    "exfiltrate": r"!\[[^\]\n]{0,100}\]\(https?://[^)\s]{1,200}[?&][^)\s=]{0,50}=\s*[{<\[$]",
}
_PROMPT_WEAK = {
    "jailbreak_word": r"\bjailbreak(?:s|ing)?\s+(?:chatgpt|gpt|claude|gemini|llama|the\s+(?:ai|model))",
    "without_restrictions": r"\bwithout\s+(?:any\s+)?(?:ethical|moral|safety|content)\s+"
    r"(?:restrictions|guidelines|filters?|limits)",
}
_TOKENS = {
    "template_tokens": r"<\|(?:im_start|im_end|im_sep|system|user|assistant|end|endoftext|endofprompt|eot_id|eom_id|"
    r"begin_of_text|end_of_text|start_header_id|end_header_id)\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>",
    # Ten or more Unicode tag characters: ASCII text that no human sees (a flag emoji has at most seven).
    "hidden_text": "[\U000e0020-\U000e007f]{10,}",
}
_SCRIPT = {
    "script_tag": r"<script[^>]{0,200}>\s*[^<]{0,200}?\b(?:document\s*\.\s*(?:cookie|location|write)|"
    r"window\s*\.\s*location|fetch\s*\(|eval\s*\(|new\s+image)",
    "script_probe": r"[\"'>]\s*>?\s*<script\b[^>]{0,100}>\s*(?:alert|prompt|confirm)\s*\(",
    "handler": r"<(?:img|svg|body|input|iframe|video|audio|details|marquee|object|embed|math|style)\b[^>]{0,200}?"
    rf"\bon(?:error|load|toggle|start|focus|begin|mouseover|animationend)\s*=\s*[\"'`]?\s*{_JS}",
    "javascript_uri": rf"\b(?:href|src|action|formaction|data|xlink:href)\s*=\s*[\"'`]?\s*javascript\s*:"
    rf"[^\"'>]{{0,80}}{_JS}",
    "data_uri": r"(?:src|href|data|location)\s*=\s*[\"'`]?\s*data\s*:\s*text/html",
    "srcdoc": r"<iframe\b[^>]{0,200}\bsrcdoc\s*=\s*[\"'][^\"']{0,100}(?:<|&lt;)script",
}
_SCRIPT_WEAK = {
    "script_element": r"<script\b[^>]{0,200}>",
    "javascript_scheme": r"\bjavascript\s*:\s*\w+\s*\(",
}
_SQL = {
    "stacked": r"['\"]\s*\)?\s*;\s*(?:drop|delete|truncate|update|insert|alter|exec(?:ute)?|shutdown|create)\b"
    r"[^;\n]{0,120}(?:;\s*)?(?:--|#|/\*)",
    "stacked_number": r"\b\d+\s*\)?\s*;\s*(?:drop\s+table|delete\s+from|truncate\s+table|update\s+\w+\s+set|"
    r"insert\s+into|alter\s+table|shutdown)\b[^;\n]{0,120}(?:;\s*)?--",
    "union": r"(?:['\")]|\b-?\d+)\s*union\s+(?:all\s+)?select\b[^\n]{0,200}?(?:--|#|/\*|information_schema|@@version|"
    r"null\s*,\s*null)",
    "time_delay": r"(?:['\"]|\b\d+)\s*(?:\)\s*)?(?:or|and|;|\|\|)\s*(?:if\s*\(|select\s+)?[^\n]{0,40}?"
    r"(?:\bsleep\s*\(|\bpg_sleep\s*\(|\bbenchmark\s*\(|\bwaitfor\s+delay\b)",
    "xp_cmdshell": r"\bexec(?:ute)?\s+(?:master\s*\.\s*\w*\s*\.\s*)?xp_cmdshell\b",
}
_TAUTOLOGY = Pattern(
    "sql_injection.tautology",
    r"['\"]\s*\)?\s*(?:or|\|\||and)\s+['\"]?\w{1,10}['\"]?\s*=\s*['\"]?\w{1,10}",
    confirm=r"['\"]\s*\)?\s*(?:or|\|\||and)\s+['\"]?(\w{1,10})['\"]?\s*=\s*['\"]?\1",
)
_SQL_WEAK = {
    "into_outfile": r"\binto\s+(?:out|dump)file\s+['\"]",
    "comment_login": r"\b(?:admin|root)\s*'\s*(?:--|#)",
}


def rules() -> list[Rule]:
    """All rules; names are `category.rule`."""
    found = [
        *(Rule("prompt_injection", pattern) for pattern in _TURNABLE),
        *_rules("prompt_injection", _PROMPT),
        *_rules("prompt_injection", _PROMPT_WEAK, weak=True),
        *_rules("control_tokens", _TOKENS, anywhere=True),
        *_rules("script_injection", _SCRIPT),
        *_rules("script_injection", _SCRIPT_WEAK, weak=True),
        *_rules("sql_injection", _SQL),
        Rule("sql_injection", _TAUTOLOGY),
        *_rules("sql_injection", _SQL_WEAK, weak=True),
    ]
    return found


def _rules(category: Category, sources: dict[str, str], *, weak: bool = False, anywhere: bool = False) -> list[Rule]:
    return [Rule(category, Pattern(f"{category}.{n}", s), weak, anywhere) for n, s in sources.items()]
