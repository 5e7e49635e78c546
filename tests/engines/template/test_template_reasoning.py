import pytest

from steps.engines.template.reasoning import CHANNELS, Markers, Reply, markers_of

SPECIAL = ("<|im_end|>", "<|return|>", "<|start|>", "<|end|>", "<|channel|>", "<|message|>", "<|call|>")
TAGS = markers_of("{{ '<think>' }}", SPECIAL)
HARMONY = markers_of("<|channel|>final<|message|>", SPECIAL)
OPENED, ASKED = "…assistant\n<think>\n", "…assistant\n"


@pytest.mark.parametrize(
    ("prompt", "raw", "reply"),
    [
        (ASKED, "four<|im_end|>", Reply(None, "four")),
        (ASKED, "<think>\n\n</think>\n\nfour", Reply(None, "four")),
        (ASKED, "<think>\ntwo and two\n</think>\n\nfour", Reply("two and two", "four")),
        (ASKED, " \n<think>a</think>b</think>c", Reply("a", "b</think>c")),
        (ASKED, "<think>on and on", Reply("on and on", "")),
        (ASKED, "say <think> to think", Reply(None, "say <think> to think")),
        (OPENED, "two and two\n</think>\n\nfour", Reply("two and two", "four")),
        (OPENED, "\n</think>\n\nfour", Reply(None, "four")),
        (OPENED, "on and on", Reply("on and on", "")),
        (ASKED + "<think>\n\n</think>\n\n", "four", Reply(None, "four")),
    ],
)
def test_tags(prompt, raw, reply):
    assert TAGS.split(prompt, raw) == reply


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        ("<|channel|>final<|message|>four", Reply(None, "four")),
        (
            "<|channel|>analysis<|message|>two and two<|end|><|start|>assistant"
            "<|channel|>final<|message|>four<|return|>",
            Reply("two and two", "four"),
        ),
        ("<|channel|>analysis<|message|>on and on", Reply("on and on", "")),
        (
            ' to=functions.add<|channel|>commentary json<|message|>{"a": 2}<|call|>',
            Reply(None, 'to=functions.addcommentary json{"a": 2}'),
        ),
        ("four", Reply(None, "four")),
    ],
)
def test_channels(raw, reply):
    assert HARMONY.split("<|start|>assistant", raw) == reply


def test_which_markers_a_template_has():
    assert TAGS.tags == markers_of("plain", ()).tags == (("<think>", "</think>"), ("<thinking>", "</thinking>"))
    assert ("[THINK]", "[/THINK]") in markers_of("[THINK]", ()).tags
    assert not TAGS.channels
    assert HARMONY.channels
    assert markers_of("<think> [THINK]", (), asked=(("<a>", "</a>"),)) == Markers(tags=(("<a>", "</a>"),))
    assert CHANNELS in HARMONY.special


def test_reasoning_markers_that_are_special_tokens_are_found_before_those_are_taken_out():
    markers = markers_of("[THINK]", ("[THINK]", "[/THINK]", "</s>"))
    assert markers.split("x", "[THINK]hm[/THINK]four</s>") == Reply("hm", "four")
