"""Patterns of text that attacks whoever reads it: prompt injections, scripts, SQL injection.

All are our own. They look for the shape of an attack, not for a topic: `DROP TABLE` alone is homework,
`'; DROP TABLE users; --` is an injection. A `weak` pattern has common harmless uses; its hits are only flagged.
"""

from dataclasses import dataclass
from typing import Literal

from steps.engines.scan.patterns import Pattern
from steps.screen.multilingual_injections import ORDERS, OTHERS

Category = Literal["prompt_injection", "control_tokens", "script_injection", "sql_injection"]


@dataclass(frozen=True)
class Rule:
    """One poison pattern. `anywhere`: quoting it doesn't make it harmless (a tokenizer reads it all the same)."""

    category: Category
    pattern: Pattern
    weak: bool = False
    anywhere: bool = False


_OBJECT = (
    r"(?:instructions?|prompts?|directions?|directives?|guidelines?|guidance|rules|commands?|orders|programming|"
    r"context)"
)
_OLD = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|initial|original|system|existing|safety|hidden|former|past)"
)
_JS = (
    r"(?:alert|prompt|confirm|eval|fetch|atob|import|document\s*\.|window\s*\.|location\s*[.=]|new\s+image|"
    r"(?:top|self|window|this|parent|globalthis)\s*\[)"
)
_LIMITS = r"(?:rules|restrictions|guidelines|limits|limitations|constraints|filters?|policies|policy|censorship)"
_MACHINE = r"(?:ai|assistant|model|chatbot|bot|llm)"
# Between the words of an order: other signs than spaces are no disguise.
_S = r"[\s,_-]+"

# "Don't ignore the rules above" is advice: what turns the order round stands before it, where RE2 can't look.
_NOT_TURNED = r"(?<!n['’]t )(?<!not )(?<!never )(?<!not to )(?<!n['’]t to )(?<!never to )"
_IGNORE = r"\b(?:ignore|disregard|forget)"
_IGNORED = r"\b(?:ignore|disregard|forget|override|overrule|bypass)"
_TURNABLE_SOURCES = {
    "override": rf"{_IGNORED}{_S}(?:\w+{_S}){{0,3}}{_OLD}{_S}(?:\w+{_S}){{0,2}}{_OBJECT}\b",
    "override_all": rf"{_IGNORE}\s+(?:all|any|everything)\s+(?:of\s+)?(?:your|the)\s+{_OBJECT}\b",
    "override_given": rf"{_IGNORE}\s+(?:all|any|every|the|your)\s+(?:\w+\s+){{0,2}}?{_OBJECT}\s+"
    r"(?:(?:that\s+)?(?:you|i|we)\s+(?:\w+\s+){0,3}?(?:given|got|received|told)|(?:(?:was|were)\s+)?"
    r"(?:(?:given|received)\s+)?(?:above|before|earlier|previously|so\s+far))\b",
    "override_above": rf"{_IGNORE}\s+(?:the|all|everything|anything|what\s+is|what['’]s)\s+(?:of\s+the\s+)?"
    r"above\W{1,3}(?:and|but|then|instead)\s+(?:instead|say|print|write|tell|reply|respond|output|return|answer|give|just|only|"
    r"do)\b",
}
_YOURS = rf"{_IGNORED}\s+your\s+(?:\w+\s+)?{_OBJECT}\b"
# "Forget everything you know about diets" is what advertisements say.
_TOLD = (
    rf"{_IGNORE}\s+(?:everything|all|what|anything)\s+(?:that\s+)?(?:you(?:['’]ve|\s+(?:were|have|had|know))"
    r"(?:\s+(?:been\s+)?(?:told|instructed|taught|given|learned))?|(?:said|written)?\s*(?:above|before))\b"
    r"(?:\s+(?:\w+\s+){0,3}?about\b)?"
)
_TURNABLE = [
    *(Pattern(f"prompt_injection.{n}", s, confirm=_NOT_TURNED + s) for n, s in _TURNABLE_SOURCES.items()),
    # "It is easy to forget your instructions": with `your`, an infinitive is seldom an order.
    Pattern("prompt_injection.override_yours", _YOURS, confirm=f"{_NOT_TURNED}(?<!to ){_YOURS}"),
    Pattern("prompt_injection.forget_before", _TOLD, confirm=rf"{_NOT_TURNED}(?!(?s:.*)\babout$){_TOLD}"),
]
_PROMPT = {
    "do_not_follow": rf"\b(?:do\s+not|don['’]t)\s+(?:follow|obey)\s+(?:(?:any|all|the|your|these|those)\s+){{0,2}}"
    rf"(?:{_OLD}\s+{_OBJECT}|{_OBJECT}\s+(?:above|before|given\s+(?:above|before|earlier)))\b",
    "reveal_prompt": r"\b(?:reveal|print|show|repeat|output|display|leak|disclose|tell)\s+(?:\w+\s+){0,3}?"
    r"(?:(?:system|hidden|initial|secret|developer)\s+(?:prompt|instructions?)|(?:hidden|secret|internal)\s+"
    r"(?:rules|guidelines))\b",
    "reveal_yours": r"\b(?:reveal|print|show|output|display|leak|disclose|repeat)\s+(?:me\s+)?your\s+"
    r"(?:(?:full|entire|exact|complete|whole)\s+)?(?:prompt\b|(?:instructions?|rules|guidelines|directives)\s+"
    r"(?:verbatim|word\s+for\s+word|in\s+full)\b)",
    "asks_for_prompt": r"\bwhat(?:\s+(?:is|are|was|were)|['’]s)\s+your\s+(?:\w+\s+)?(?:(?:system|hidden|secret)\s+"
    r"(?:prompt|instructions?)|(?:initial|original)\s+prompt)\b",
    "persona": r"\byou\s+are\s+now\s+(?:called\s+)?(?:dan\b|in\s+(?:developer|dan|jailbreak|god)\s+mode|jailbroken|"
    r"an?\s+(?:unrestricted|unfiltered|uncensored|evil)\b)",
    "unrestricted": rf"\b(?:as|like|become|be)\s+an?\s+(?:\w+\s+){{0,2}}?(?:(?:unrestricted|unfiltered|uncensored|"
    rf"jailbroken|amoral)\s+(?:\w+\s+){{0,2}}?{_MACHINE}\b|{_MACHINE}\s+(?:with\s+no|without(?:\s+any)?)\s+"
    rf"(?:\w+\s+)?{_LIMITS}\b)",
    "do_anything_now": r"\bdo\s+anything\s+now\b|\b(?:dan|jailbreak)\s+mode\s+(?:enabled|activated|on)\b|"
    rf"\b(?:chatgpt|gpt|{_MACHINE})\s+(?:with|in)\s+(?:developer|jailbreak|god)\s+mode\b",
    "no_rules": r"\b(?:pretend|act\s+as\s+if|act\s+like|imagine)\s+(?:that\s+)?you\s+(?:have|had|are\s+under|"
    rf"are\s+bound\s+by)\s+no\s+(?:\w+\s+)?{_LIMITS}\b",
    "not_bound": r"\b(?:(?:pretend|act\s+as\s+if|act\s+like|imagine)\s+(?:that\s+)?you\s+(?:are|were)|"
    r"you(?:['’]re|\s+are)\s+no\s+longer)\s+(?:not\s+|no\s+longer\s+)?(?:bound|restricted|limited|constrained)\s+by\s+"
    rf"(?:your|any|openai['’]?s?|these|previous)\s+(?:\w+\s+){{0,2}}?{_LIMITS}\b",
    "your_filters": r"\b(?:bypass|disable|turn\s+off|ignore|deactivate)\s+(?:all\s+)?(?:of\s+)?your\s+(?:\w+\s+)?"
    r"(?:filters?|guidelines|restrictions|guardrails|safeguards|safety|content\s+polic(?:y|ies))\b",
    "fake_system": r"(?m)^[\s#>*\[]*(?:system|developer)(?:\s+(?:prompt|override|message|note))?\s*[\]:]+[\s*]*"
    r"(?:you\s+(?:are|must|will|should|now)|ignore|disregard|override|new\s+instructions)\b",
    "to_the_assistant": r"\b(?:important|attention|urgent|note)\b\W{1,6}(?:to\s+)?(?:all\s+|any\s+|the\s+)?"
    r"(?:ai|ai\s+(?:assistants?|models?|agents?)|llms?|language\s+models?|assistants?)\b[^.\n]{0,60}"
    r"\b(?:must|should|ignore|instead|do\s+not)\b",
    "exfiltrate": r"!\[[^\]\n]{0,100}\]\(https?://[^)\s]{1,200}[?&][^)\s=]{0,50}=\s*[{<\[$]",
    # Without spaces, as in a hash tag, and under ROT13.
    "run_together": r"(?:ignore|disregard|forget|bypass|override)[.*|/~-]?"
    r"(?:(?:all|any|of|the|your|my|these|everything)[.*|/~-]?){0,4}(?:previous|prior|above|earlier|preceding|original|system)[.*|/~-]?"
    r"(?:instruction|prompt|rule|guideline|direct|command)",
    "rot13": r"\b(?:vtaber|qvfertneq|sbetrg|bireevqr)\s+(?:\w+\s+){0,3}(?:cerivbhf|cevbe|nobir|rneyvre|flfgrz|lbhe)\b",
}
_PROMPT_WEAK = {
    "jailbreak_word": r"\bjailbreak(?:s|ing)?\s+(?:chatgpt|gpt|claude|gemini|llama|the\s+(?:ai|model))",
    "without_restrictions": r"\bwithout\s+(?:any\s+)?(?:ethical|moral|safety|content)\s+"
    r"(?:restrictions|guidelines|filters?|limits)",
    "new_instructions": r"\b(?:your|here\s+are\s+the)\s+new\s+(?:instructions|directives?|system\s+prompt)\s*"
    r"(?:is|are|:)|(?m)^\W*new\s+(?:system\s+)?(?:instructions?|prompt|directive)\s*:\s*(?:you|ignore|from\s+now|do\s+not)\b",
    "repeat_above": r"\b(?:repeat|print|output|recite)\s+(?:\w+\s+){0,2}?(?:text|words|everything|all)\s+above\b"
    r"[^.\n]{0,40}?\b(?:verbatim|word\s+for\s+word|starting\s+with|this\s+(?:line|message|sentence|point))\b",
}
_TOKENS = {
    "template_tokens": r"<\|(?:im_start|im_end|im_sep|system|user|assistant|end|endoftext|endofprompt|start|channel|"
    r"message|return|(?:begin|end)▁of▁sentence|[a-z][a-z0-9]{0,19}(?:_[a-z0-9]{1,19}){1,5})\|>|\[/?INST\]|<</?SYS>>|"
    r"<(?:start|end)_of_turn>|\[/?(?:TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT)\]",
    # Ten or more Unicode tag characters: ASCII text that no human sees (a flag emoji has at most seven).
    "hidden_text": "[\U000e0020-\U000e007f]{10,}",
}
_SCRIPT = {
    "script_tag": r"<script[^>]{0,200}>\s*[^<]{0,200}?\b(?:document\s*\.\s*(?:cookie|location|write)|"
    r"window\s*\.\s*location|fetch\s*\(|eval\s*\(|new\s+image)",
    "script_probe": r"[\"'>]\s*>?\s*<script\b[^>]{0,100}>\s*(?:alert|prompt|confirm)\s*\(",
    "handler": r"<(?:img|svg|body|input|iframe|video|audio|source|details|marquee|object|embed|math|style|form|select|"
    r"textarea|link|frameset)\b[^>]{0,200}?"
    rf"\bon(?:error|load|toggle|start|focus|begin|mouseover|animationend)\s*=\s*[\"'`]?\s*{_JS}",
    "handler_theft": r"<[a-z][a-z0-9]{0,15}\b[^>]{0,200}?\bon[a-z]{3,20}\s*=[^>]{0,200}?\bdocument\s*\.\s*cookie",
    "javascript_uri": rf"\b(?:href|src|action|formaction|data|xlink:href)\s*=\s*[\"'`]?\s*javascript\s*:"
    rf"[^\"'>]{{0,80}}{_JS}",
    "data_uri": r"(?:src|href|data|location)\s*=\s*[\"'`]?\s*data\s*:\s*text/html",
    "srcdoc": r"<iframe\b[^>]{0,200}\bsrcdoc\s*=\s*[\"'][^\"']{0,100}(?:<|&lt;)script",
    "template_code": r"\{\{\s*(?:constructor\s*\.\s*constructor|\$on\s*\.\s*constructor|[^}\n]{0,40}"
    r"\.__class__\s*\.|7\s*\*\s*'?7'?\s*\}\})",
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
    "xp_cmdshell": r"\bexec(?:ute)?\s+(?:master\s*\.\s*\w*\s*\.\s*)?xp_cmdshell\b",
    "always_true": r"['\"]\s*\)*\s*or\s+(?:true|not\s+false|1)\s*(?:--|#|/\*)",
    "probe_columns": r"['\"]\s*\)*\s*(?:having\s+\d+\s*=\s*\d+|order\s+by\s+\d+)\s*(?:--|#|/\*)",
    "error_text": r"\b(?:extractvalue|updatexml)\s*\(\s*\w+\s*,\s*concat\s*\(\s*0x|['\")]\s*(?:and|or)\s+\d+\s*=\s*"
    r"(?:convert|cast)\s*\([^\n]{0,40}?\bselect\b",
}
_DELAY = r"(?:\b(?:sleep|pg_sleep|benchmark)\s*\(|\bwaitfor\s+delay\b)"
_TIME_DELAY = Pattern(
    "sql_injection.time_delay",
    rf"(?:['\"]|\b\d+)\s*(?:\)\s*)?(?:or|and|;|\|\|)\s*(?:if\s*\(|select\s+)?[^\n]{{0,40}}?{_DELAY}",
    needs=_DELAY,
)
_TAUTOLOGY = Pattern(
    "sql_injection.tautology",
    r"['\"]\s*\)*\s*(?:or|\|\||and)\s+\(*(?:['\"]?\w{1,10}['\"]?\s*=\s*['\"]?\w{1,10}|['\"]{2}\s*=\s*['\"])",
    confirm=r"['\"]\s*\)*\s*(?:or|\|\||and)\s+\(*(?:['\"]?(\w{1,10})['\"]?\s*=\s*['\"]?\1|(['\"])\2\s*=\s*\2)",
)
_TAUTOLOGY_NUMBER = Pattern(
    "sql_injection.tautology_number",
    r"\bor\s+\(*\d{1,9}\s*=\s*\d{1,9}\b",
    confirm=r"or\s+\(*(\d{1,9})\s*=\s*\1",
)
_SQL_WEAK = {
    "into_outfile": r"\binto\s+(?:out|dump)file\s+['\"]|\bload_file\s*\(\s*(?:['\"]|0x)",
    "comment_login": r"\b(?:admin|root)\s*'\s*(?:--|#)",
    "stacked_bare": r"\d\s*;\s*drop\s+table\s+\w+",
}


def rules() -> list[Rule]:
    """All rules; names are `category.rule`."""
    found = [
        *(Rule("prompt_injection", pattern) for pattern in _TURNABLE),
        *_rules("prompt_injection", _PROMPT),
        *(Rule("prompt_injection", pattern) for pattern in ORDERS),
        *_rules("prompt_injection", OTHERS),
        *_rules("prompt_injection", _PROMPT_WEAK, weak=True),
        *_rules("control_tokens", _TOKENS, anywhere=True),
        *_rules("script_injection", _SCRIPT),
        *_rules("script_injection", _SCRIPT_WEAK, weak=True),
        *_rules("sql_injection", _SQL),
        Rule("sql_injection", _TIME_DELAY),
        Rule("sql_injection", _TAUTOLOGY),
        Rule("sql_injection", _TAUTOLOGY_NUMBER, weak=True),
        *_rules("sql_injection", _SQL_WEAK, weak=True),
    ]
    return found


def _rules(category: Category, sources: dict[str, str], *, weak: bool = False, anywhere: bool = False) -> list[Rule]:
    return [Rule(category, Pattern(f"{category}.{n}", s), weak, anywhere) for n, s in sources.items()]
