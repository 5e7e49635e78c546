"""The template in force: the model's own, or another file, with the settings written into it.

Switches, today's date and the treatment of system messages become Jinja at the template's head, so that the template
that is saved with a model renders the same wherever it is read, and there is one way to a prompt.
"""

import datetime
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.contracts.errors import ConfigError, InputNotFoundError, TrainingDataError
from steps.contracts.models import TemplateSettings
from steps.engines.template.config import TemplateConfig
from steps.engines.template.reasoning import TAGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SWITCHES = ("enable_thinking", "thinking")
# What Llama 3.1's template writes where it is told no date.
_TODAY = datetime.date(2024, 7, 26)
_BEGIN, _END, _AFTER = "{#- template settings -#}", "{#- end of template settings #}", "{#- after the template #}"
_HEAD = re.compile(re.escape(_BEGIN) + r".*?" + re.escape(_END), re.DOTALL)
_GENERATION = re.compile(r"\{%[-+]?\s*(end)?generation\s*[-+]?%\}")
_DATE_FORMAT = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
_MERGE = """\
{%- set merging = namespace(kept=[], held='') -%}
{%- for m in messages -%}
  {%- if m.role == 'system' -%}{%- set merging.held = merging.held + m.content + '\\n\\n' -%}
  {%- elif m.role == 'user' and merging.held -%}
    {%- set merging.kept = merging.kept + [{'role': 'user', 'content': merging.held + m.content}] -%}
    {%- set merging.held = '' -%}
  {%- else -%}{%- set merging.kept = merging.kept + [m] -%}{%- endif -%}
{%- endfor -%}
{%- set messages = merging.kept -%}
"""
_DROP = "{%- set messages = messages | rejectattr('role', 'equalto', 'system') | list -%}\n"


def apply_settings(tokenizer: "PreTrainedTokenizerBase", config: TemplateConfig, override: str | None = None) -> None:
    """Give the tokenizer the template in force. What earlier settings wrote into it goes.

    `override`: the text of the file that the config names.

    Raises:
        ConfigError: a setting that the template has no place for.
        TrainingDataError: the template isn't one.
    """
    own: Any = tokenizer.chat_template if override is None else override
    if own is None:  # whoever renders says that there is none
        return
    if isinstance(own, dict):
        tokenizer.chat_template = {name: in_force(text, config) for name, text in own.items()}
    else:
        tokenizer.chat_template = in_force(str(own), config)


def config_of(settings: TemplateSettings | None) -> TemplateConfig:
    """The config that a model was recorded with."""
    return TemplateConfig() if settings is None else TemplateConfig.model_validate(settings.config)


def changed(config: TemplateConfig) -> dict[str, Any]:
    """The settings that aren't at their defaults, as JSON values."""
    return config.model_dump(mode="json", exclude_defaults=True)


def settings_of(config: TemplateConfig, root: Path) -> TemplateSettings | None:
    """What is recorded with a model of these settings; None where they ask for nothing.

    Raises:
        InputNotFoundError: no such override file.
        ConfigError: it is no text, or has no place for a setting.
        TrainingDataError: it is no template.
    """
    if config == TemplateConfig():
        return None
    override = _read(root / config.override) if config.override else None
    if override is not None:
        in_force(override, config)
    return TemplateSettings(config=config.model_dump(mode="json"), override=override)


def in_force(template: str, config: TemplateConfig) -> str:
    """A template with the settings at its head; unchanged where they ask for nothing and it writes no date."""
    own = bare(template)
    head = [
        *({"drop": [_DROP], "merge_into_user": [_MERGE], "keep": []}[config.system]),
        *_date(own, config),
        *(_set(name, value) for name, value in _variables(own, config).items()),
    ]
    text = f"{_BEGIN}{''.join(head)}{_END}{{{{- '' }}}}{own}" if head else own
    closing = _closing(text) if config.thinking == "off" else ""
    if not closing:
        return text
    text = text if head else f"{_BEGIN}{_END}{{{{- '' }}}}{own}"
    # Prompts after a tool's result open none in the templates that open one by themselves.
    asked = "add_generation_prompt and messages[-1].role != 'tool'"
    after = f"{{%- if {asked} %}}{{{{ {json.dumps(closing)} }}}}{{%- endif %}}"
    return f"{text.removesuffix(chr(10))}{_AFTER}{after}"


def without_clock(template: str, config: TemplateConfig) -> str:
    """The template with its dates as literals, for programs whose own clock goes before what a template sets."""
    day = config.date or _TODAY
    fixed = _DATE_FORMAT.sub(lambda match: json.dumps(day.strftime(match[2])), template)
    if "date_string" not in variables(bare(template)):
        return fixed
    return f"{{%- set date_string = {json.dumps(day.strftime('%d %b %Y'))} -%}}\n{fixed}"


def bare(template: str) -> str:
    """The template without what settings wrote into it."""
    begun = _HEAD.match(template)
    if begun is None:
        return template
    return template[begun.end() :].removeprefix("{{- '' }}").partition(_AFTER)[0]


@lru_cache(maxsize=64)
def variables(template: str) -> frozenset[str]:
    """Names of the variables that a template reads.

    Raises:
        TrainingDataError: it isn't Jinja.
    """
    from jinja2 import Environment, TemplateError, meta

    # Nothing is rendered here.
    environment = Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=True)
    try:
        return frozenset(meta.find_undeclared_variables(environment.parse(_GENERATION.sub("", template))))
    except TemplateError as e:
        raise TrainingDataError(
            f"the chat template is no Jinja template: {type(e).__name__}: {str(e).splitlines()[0][:120]}",
            hint="mend it, or name another one as template.override",
        ) from e


def _variables(own: str, config: TemplateConfig) -> dict[str, Any]:
    """What is set at the head, by name."""
    read = variables(own)
    unread = [n for n in config.kwargs if n not in read]
    if unread:
        known = ", ".join(sorted(read - {"messages", "tools", "add_generation_prompt", "raise_exception"}))
        raise ConfigError(f"the chat template reads no variable {unread[0]!r}", where="template.kwargs",
                          hint=f"it reads {known or 'none'}")  # fmt: skip
    found = dict(config.kwargs)
    if config.thinking != "as_is":
        found |= {name: config.thinking == "on" for name in SWITCHES if name in read}
    return found


def _set(name: str, value: Any) -> str:
    """A default: who renders may still say otherwise."""
    return f"{{%- if {name} is not defined -%}}{{%- set {name} = {_literal(value)} -%}}{{%- endif -%}}\n"


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return json.dumps(value, ensure_ascii=False)


def _date(own: str, config: TemplateConfig) -> list[str]:
    """A date for templates that would write today's, in the formats that they ask for."""
    read, day = variables(own), config.date or _TODAY
    found = []
    if "strftime_now" in read:
        formats = dict.fromkeys(match[1] for match in _DATE_FORMAT.findall(own))
        cases = "".join(f"{{%- if format == {json.dumps(f)} -%}}{day.strftime(f)}{{%- endif -%}}" for f in formats)
        found.append(f"{{%- macro strftime_now(format) -%}}{cases}{{%- endmacro -%}}\n")
    if config.date is not None and "date_string" in read:
        found.append(_set("date_string", day.strftime("%d %b %Y")))
    if config.date is not None and not found:
        raise ConfigError("the chat template writes no date", where="template.date", hint="leave it out")
    return found


def _closing(template: str) -> str:
    """What closes the block that the template's prompts open, "" where they open none."""
    from steps.engines.template.render import render_text

    try:
        prompt = render_text(template, [{"role": "user", "content": "x"}], None, {}, prompt=True)
    except TrainingDataError:
        return ""
    for opens, closes in TAGS:
        if prompt.rstrip().endswith(opens):
            return ("" if prompt.endswith("\n") else "\n") + f"\n{closes}\n\n"
    return ""


def _read(path: Path) -> str:
    if not path.is_file():
        raise InputNotFoundError("no such template file", where=str(path), hint="override is relative to the root")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as e:
        raise ConfigError("the template file is no UTF-8 text", where=str(path), hint="name a Jinja template") from e
