import datetime

import pytest
from pydantic import ValidationError
from support.tiny_model import CHATML_PLAIN, tiny_tokenizer
from trl import chat_template_utils

from steps.contracts.errors import ConfigError, InputNotFoundError, TrainingDataError
from steps.contracts.models import TemplateSettings
from steps.engines.template.config import TemplateConfig
from steps.engines.template.effective import apply_settings, bare, config_of, in_force, settings_of, without_clock
from steps.engines.template.render import render_text

QWEN3 = chat_template_utils.qwen3_chat_template
R1 = chat_template_utils.deepseek_r1_distill_chat_template
GEMMA = chat_template_utils.gemma_chat_template
GPT_OSS = chat_template_utils.gptoss_chat_template
HI = [{"role": "user", "content": "hi"}]
SYSTEM = [{"role": "system", "content": "be brief"}, *HI]


def prompt(template, messages=HI, **config):
    return render_text(in_force(template, TemplateConfig(**config)), messages, None, {}, prompt=True)


def test_without_settings_a_template_is_as_it_is():
    assert in_force(QWEN3, TemplateConfig()) == QWEN3


@pytest.mark.parametrize("template", [QWEN3, R1])
def test_off_closes_the_think_block_in_the_prompt(template):
    assert prompt(template, thinking="off").endswith("<think>\n\n</think>\n\n")
    assert "</think>" not in prompt(template, thinking="on")


def test_off_leaves_prompts_without_a_block_alone():
    assert prompt(CHATML_PLAIN, thinking="off") == prompt(CHATML_PLAIN)


def test_who_renders_may_still_say_otherwise():
    template = in_force(QWEN3, TemplateConfig(thinking="off"))
    assert "</think>" not in render_text(template, HI, None, {"enable_thinking": True}, prompt=True)


def test_system_messages_are_merged_into_the_next_user_message_or_dropped():
    with pytest.raises(TrainingDataError):
        prompt(GEMMA, SYSTEM)
    assert prompt(GEMMA, SYSTEM, system="merge_into_user") == prompt(
        GEMMA, [{"role": "user", "content": "be brief\n\nhi"}]
    )
    assert prompt(GEMMA, SYSTEM, system="drop") == prompt(GEMMA)
    later = [*HI, {"role": "assistant", "content": "yes"}, SYSTEM[0], {"role": "user", "content": "so"}]
    assert "be brief\n\nso" in prompt(GEMMA, later, system="merge_into_user")


def test_the_date_is_pinned_in_the_formats_that_the_template_asks_for():
    assert "Current date: 2024-07-26" in prompt(GPT_OSS)
    assert "Current date: 2026-01-02" in prompt(GPT_OSS, date=datetime.date(2026, 1, 2))
    llama = chat_template_utils.llama3_2_chat_template
    assert "Today Date: 26 Jul 2024" in prompt(llama)
    assert "Today Date: 02 Jan 2026" in prompt(llama, date="2026-01-02")
    assert "Today Date: 02 Jan 2026" in prompt(chat_template_utils.llama3_1_chat_template, date="2026-01-02")
    with pytest.raises(ConfigError, match="writes no date"):
        prompt(QWEN3, date="2026-01-02")


def test_variables_reach_the_template_macros_too():
    assert "Reasoning: high" in prompt(GPT_OSS, kwargs={"reasoning_effort": "high"})
    with pytest.raises(ConfigError, match=r"reads no variable 'reasoning_effort'.*\n.*enable_thinking"):
        prompt(QWEN3, kwargs={"reasoning_effort": "high"})


@pytest.mark.parametrize("value", [None, True, 1.5, 'a"b\n', [1, "x"], {"k": [False]}])
def test_values_of_any_kind(value):
    template = "{{ v | tojson }}{{ messages | length }}"
    assert prompt(template, kwargs={"v": value}) == prompt("{{ w | tojson }}1".replace("w", "x"), kwargs={"x": value})


def test_settings_are_taken_out_again():
    for template in (QWEN3, R1, GPT_OSS, GEMMA, CHATML_PLAIN + "\n"):
        config = TemplateConfig(thinking="off", system="merge_into_user")
        once = in_force(template, config)
        assert in_force(once, config) == once
        assert bare(once) in (template, template.removesuffix("\n"))
        assert prompt(once) == prompt(template)


def test_a_template_that_is_none_is_refused_with_the_way_out():
    with pytest.raises(TrainingDataError, match="no Jinja template"):
        in_force("{% if %}", TemplateConfig(system="drop"))


def test_the_tokenizer_gets_it_and_saves_it(tmp_path):
    tokenizer = tiny_tokenizer(template=QWEN3)
    apply_settings(tokenizer, TemplateConfig(thinking="off"))
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    text = again.apply_chat_template(HI, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<think>\n\n</think>\n\n")


def test_an_override_is_recorded_by_its_text(tmp_path):
    (tmp_path / "mine.jinja").write_text(CHATML_PLAIN)
    config = TemplateConfig(override="mine.jinja", system="drop")
    settings = settings_of(config, tmp_path)
    assert settings == TemplateSettings(config=config.model_dump(mode="json"), override=CHATML_PLAIN)
    assert config_of(settings) == config
    tokenizer = tiny_tokenizer(template=QWEN3)
    apply_settings(tokenizer, config, settings.override)
    assert bare(tokenizer.chat_template) == CHATML_PLAIN
    with pytest.raises(InputNotFoundError, match="no such template file"):
        settings_of(TemplateConfig(override="gone.jinja"), tmp_path)


@pytest.mark.parametrize(
    ("written", "error", "told"),
    [
        (b"\x89PNG\xff", ConfigError, "the template file is no UTF-8 text"),
        (b"{% for m in messages %}", TrainingDataError, "the chat template is no Jinja template"),
    ],
)
def test_an_override_that_is_no_template_is_refused_when_it_is_read(tmp_path, written, error, told):
    (tmp_path / "mine.jinja").write_bytes(written)
    with pytest.raises(error, match=told):
        settings_of(TemplateConfig(override="mine.jinja"), tmp_path)


def test_on_and_off_may_be_yamls_true_and_false():
    assert [TemplateConfig(thinking=t).thinking for t in (True, False)] == ["on", "off"]


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match="say the same thing"):
        TemplateConfig(thinking="off", kwargs={"enable_thinking": True})
    with pytest.raises(ValidationError, match="no variable that can be set"):
        TemplateConfig(kwargs={"messages": []})
    with pytest.raises(ValidationError, match="pair of texts"):
        TemplateConfig(reasoning_markers=[("<a>", "")])


@pytest.mark.parametrize(("read", "meant"), [(True, "on"), (False, "off"), ("as_is", "as_is")])
def test_a_bare_on_or_off_of_yaml_is_understood(read, meant):
    assert TemplateConfig(thinking=read).thinking == meant


def test_dates_are_literals_for_programs_whose_clock_goes_before_the_template_s():
    own = (
        "{%- if not date_string is defined -%}{%- set date_string = strftime_now('%d %b %Y') -%}{%- endif -%}"
        '{{ date_string }}, {{ strftime_now("%Y") }}'
    )
    template = in_force(own, TemplateConfig())
    clock = {"date_string": "01 Jan 2030"}
    assert render_text(template, [], None, clock).startswith("01 Jan 2030")
    assert render_text(without_clock(template, TemplateConfig()), [], None, clock) == "26 Jul 2024, 2024"
    dated = TemplateConfig(date=datetime.date(2025, 3, 1))
    assert render_text(without_clock(in_force(own, dated), dated), [], None, clock) == "01 Mar 2025, 2025"
    assert without_clock("{{ messages }}", dated) == "{{ messages }}"
