"""What leans on private names of transformers gives what its own entrance gives."""

import json

import pytest
from jinja2 import TemplateError
from support.tiny_model import CHATML
from transformers.utils.chat_template_utils import _cached_compile_jinja_template, render_jinja_template
from trl import chat_template_utils

from steps.contracts.errors import TrainingDataError
from steps.engines.template import compiled
from steps.engines.template.render import render_text

TEMPLATES = {
    name: text
    for name, text in vars(chat_template_utils).items()
    if name.endswith("chat_template") and isinstance(text, str)
} | {"chatml": CHATML}
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "add", "arguments": {"a": "two", "b": [1, None]}}}
TOOLS = [{"type": "function", "function": {"name": "add", "description": "d", "parameters": {"properties": {}}}}]
CONVERSATIONS = {
    "plain": ([{"role": "user", "content": "hi <b>"}, {"role": "assistant", "content": " one\n"}], None),
    "system": (
        [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "ünd?"},
            {"role": "assistant", "content": "two", "reasoning_content": "she asks"},
            {"role": "user", "content": "so?"},
            {"role": "assistant", "content": "<think>\nx\n</think>\n\nthree"},
        ],
        None,
    ),
    "tools": (
        [
            {"role": "user", "content": "2+0?"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "2", "name": "add", "tool_call_id": "abcdefghi"},
            {"role": "assistant", "content": "It is 2."},
        ],
        TOOLS,
    ),
    "no role": ([{"content": "hi"}], None),
}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def by_transformers(template, messages, tools, *, prompt=False):
    (text,), _ = render_jinja_template(
        conversations=[messages], tools=tools, chat_template=template, add_generation_prompt=prompt, **SPECIAL
    )
    return text


def outcome(render, *arguments, **named):
    """The text, None where the template refuses."""
    try:
        return render(*arguments, **named)
    except (TemplateError, TypeError, KeyError, AttributeError, TrainingDataError):
        return None


@pytest.mark.parametrize("name", TEMPLATES)
def test_texts_are_those_of_transformers(name):
    template, given = TEMPLATES[name], [(m, t, p) for m, t in CONVERSATIONS.values() for p in (False, True)]
    before = json.dumps(CONVERSATIONS)
    for messages, tools, prompt in given:
        found = outcome(render_text, template, messages, tools, SPECIAL, prompt=prompt)
        assert found == outcome(by_transformers, template, messages, tools, prompt=prompt)
    assert json.dumps(CONVERSATIONS) == before


def test_marked_ranges_are_those_of_transformers():
    messages, _ = CONVERSATIONS["system"]
    (text,), (ranges,) = render_jinja_template(
        conversations=[messages], chat_template=CHATML, return_assistant_tokens_mask=True
    )
    given = {"add_generation_prompt": False, "documents": None}
    assert compiled.render_marked(CHATML, messages, None, given) == (text, ranges)
    assert len(ranges) == 2


@pytest.mark.parametrize(
    "attempt",
    [
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'a': 1}) }}",
        "{{ messages[0].__class__ }}",
        "{{ messages[0].__class__.__name__ }}",
        "{{ messages[0].content.__class__.__mro__ }}",
        "{{ ''.format.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ '{0[0].role}'.format(messages) }}",
        "{% for m in messages %}{{ loop.__init__ }}{{ loop.first }}{{ loop.previtem }}{% endfor %}",
        "{{ raise_exception.__globals__ }}",
        "{% set ns = namespace(x=1) %}{% set ns._y = 2 %}",
        "{% set ns = namespace(x=1, f=''.format) %}{{ ns.x }}{{ ns.missing }}{{ ns.f('a') }}{{ ns.__class__ }}",
        "{% set ns = namespace(x=1) %}{{ ns._Namespace__attrs }}{{ ns.__init__.__globals__ }}",
        "{% set ns = namespace(a=1) %}{% set ns.a = [ns.a] %}{{ ns.a }}{% set ns.a = none %}{{ ns.a }}{{ ns.b }}",
        "{% set ns = namespace({'up': messages[0].content.upper}, n=none) %}{{ ns.up() }}{{ ns.n }}{{ ns.up.a }}",
        "{{ namespace(_a=1) }}",
        "{{ namespace(1) }}",
        "{% for m in [messages, 1, ''.format] %}{{ loop.nextitem is defined }}{{ loop.previtem }}{{ loop.last }}"
        "{{ loop.nextitem('a') if loop.index0 == 1 }}{{ loop.index0 }}{{ loop.cycle(1) }}{{ loop._after }}{% endfor %}",
        "{{ (messages | first).pop('role') }}",
        "{{ messages[0].content.upper() }}{{ messages[0].items() | length }}{{ messages[0].missing }}",
        "{{ messages[0].missing.deeper }}",
        "{% for m in messages %}{{ m.content.split('h', maxsplit=1) }}{{ m.content.startswith(1) }}{% endfor %}",
        "{% for m in messages %}{{ m.content.format(1) }}{{ m.content.format_map({}) }}{% endfor %}",
        "{{ messages[0].content.encode().decode() }}{{ ''.join(['a', messages[0].role]) }}",
        "{{ messages[0].content.upper().__class__ }}{{ messages[0].content['upper']() }}",
    ],
)
def test_the_sandbox_decides_as_transformers_does(attempt):
    messages = [{"role": "user", "content": "hi"}]
    fresh = _cached_compile_jinja_template(attempt)
    # Twice: what was decided once is decided.
    for _ in range(2):
        assert settled(compiled.render, attempt, messages) == settled(
            lambda _, given: fresh.render(**given), "", messages
        )
    assert messages == [{"role": "user", "content": "hi"}]


def settled(render, template, messages):
    """The text, or the error's type and words."""
    try:
        return render(template, {"messages": messages})
    except (TemplateError, AttributeError, TypeError) as e:
        return type(e), str(e)


def test_tools_that_are_no_objects_are_refused():
    with pytest.raises(TrainingDataError, match="no list of objects"):
        render_text(CHATML, [{"role": "user", "content": "hi"}], ["add"], {})
