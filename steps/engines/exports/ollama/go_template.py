"""A chat template's shape in Go's template language, with what Ollama gives it."""

from collections.abc import Mapping, Sequence

from steps.engines.exports.ollama.shape import FIRST, Shape

# Between statements, so that lines end: it prints nothing, and the line's end and indent go.
_BREAK = "{{/* */ -}}\n"
# Go's templates have no way to refuse, but by an error.
_REFUSE = '{{ slice "the chat template refuses this order of roles" 99 }}'
_IS_LAST = "(eq (len (slice $.Messages $i)) 1)"
_SPOKEN = ("system", "user", "assistant")
# White space that Python's str.strip removes, by the bytes of UTF-8.
_ONE = (range(9, 14), range(28, 33))
_TWO = ("\u0085", "\u00a0")
_THREE = ("\u1680", *map(chr, range(0x2000, 0x200B)), "\u2028", "\u2029", "\u202f", "\u205f", "\u3000")


def go_template(shape: Shape) -> str:
    """The template; it is a guess until Go has rendered it."""
    tags = "{{ if false }}<think>{{ .Thinking }}</think>{{ end }}" if shape.thinks else ""
    branches = [f'{{{{ if eq .Role "{role}" }}}}{_branch(shape, role)}' for role in _SPOKEN]
    by_role = f"{_BREAK}{{{{ else }}}}".join([*branches, _REFUSE]) + "{{ end }}" * len(branches)
    body = {"place": _in_place, "front": _at_front, "last": _before_last}[shape.system](shape, by_role)
    head = _trims() if shape.trimmed else ""
    variables = '{{ $before := "" }}{{ $system := "" }}{{ $held := false }}'
    turns = f"{{{{ range $i, $message := .Messages }}}}{body[1]}{tags}{{{{ end }}}}"
    return f"{head}{variables}{_BREAK}{body[0]}{turns}{_BREAK}{_end(shape)}"


def _in_place(shape: Shape, body: str) -> tuple[str, str]:
    """The first message, where it is a system message, is one of its own kind."""
    first = f'{{{{ if and (eq .Role "system") (eq $i 0) }}}}{_message(shape, FIRST)}{_BREAK}{{{{ else }}}}'
    return "", f"{first}{body}{{{{ end }}}}"


def _at_front(shape: Shape, body: str) -> tuple[str, str]:
    """The last system message before all others; none in its place."""
    found = (
        '{{ range .Messages }}{{ if eq .Role "system" }}{{ $system = .Content }}{{ $held = true }}{{ end }}{{ end }}'
        f"{{{{ if $held }}}}{_message(shape, FIRST, '$system')}{{{{ end }}}}{_BREAK}"
    )
    return found, f'{{{{ if ne .Role "system" }}}}{body}{{{{ end }}}}'


def _before_last(shape: Shape, body: str) -> tuple[str, str]:
    """The system message at the beginning before the last message; no other one."""
    kept = '{{ if and (eq .Role "system") (eq $i 0) }}{{ $system = .Content }}{{ $held = true }}{{ else }}'
    written = f"{{{{ if and $held {_IS_LAST} }}}}{_message(shape, FIRST, '$system')}{{{{ end }}}}{_BREAK}"
    return "", f"{kept}{written}{body}{{{{ end }}}}"


def literal(text: str) -> str:
    """A text that a template writes as it is, and that a Modelfile's quotes can hold."""
    odd = '{"' if '""' in text or text != text.strip('"') else "{"
    return "".join(
        char if (char.isprintable() or char == "\n") and char not in odd else f'{{{{ "{_escaped(char)}" }}}}'
        for char in text
    )


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _branch(shape: Shape, role: str) -> str:
    """A message of a role; a system message that isn't the first one only where all are in their places."""
    return _REFUSE if role == "system" and shape.system != "place" else _message(shape, role)


def _message(shape: Shape, role: str, content: str = ".Content") -> str:
    """What stands before a message, its content, and that it was the last one."""
    how = "system" if role == FIRST else role
    said = f'{{{{ template "trimmed" {content} }}}}' if how in shape.trimmed else f"{{{{ {content} }}}}"
    written = f'{_before(shape, role)}{said}{{{{ $before = "{role}" }}}}'
    if role in shape.empty:
        written = f"{{{{ if {content} }}}}{written}{{{{ end }}}}"
    skipped = _skipped(shape, role)
    return f"{{{{ if {skipped} }}}}{{{{ else }}}}{written}{{{{ end }}}}" if skipped else written


def _skipped(shape: Shape, role: str) -> str:
    """The condition under which messages of a role aren't written; "": they always are."""
    kinds: dict[str, list[str]] = {}
    for (before, one, last), text in shape.between.items():
        if one == role and text is None:
            other = shape.between.get((before, one, not last))
            kinds.setdefault("" if other is None else _IS_LAST if last else f"(not {_IS_LAST})", []).append(before)
    found = [f"(and {when} ({_any(before)}))" if when else f"({_any(before)})" for when, before in kinds.items()]
    return f"or {' '.join(found)}" if len(found) > 1 else "".join(found).removeprefix("(").removesuffix(")")


def _before(shape: Shape, role: str) -> str:
    """By what stands before, and whether it is the last message; where that makes no difference, in one chain."""
    found: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for (before, one, last), text in shape.between.items():
        if one == role and text is not None:
            found[last][before] = text
    rest, final = found
    if all(final[b] == rest[b] for b in rest.keys() & final.keys()):
        return _chain(rest | final)
    return f"{{{{ if {_IS_LAST} }}}}{_chain(final)}{{{{ else }}}}{_chain(rest)}{{{{ end }}}}"


def _chain(texts: Mapping[str, str]) -> str:
    """A text for each neighbour; others are refused."""
    grouped: dict[str, list[str]] = {}
    for before, text in texts.items():
        grouped.setdefault(text, []).append(before)
    chain = "".join(
        f"{{{{ {'else ' if i else ''}if {_any(before)} }}}}{literal(text)}"
        for i, (text, before) in enumerate(grouped.items())
    )
    return f"{chain}{{{{ else }}}}{_REFUSE}{{{{ end }}}}" if chain else _REFUSE


def _any(before: Sequence[str]) -> str:
    return "eq $before " + " ".join(f'"{b}"' for b in dict.fromkeys(before))


def _end(shape: Shape) -> str:
    plain = _chain(shape.ends)
    on, off = shape.switched
    if on == off == shape.ends.get("user", ""):
        return plain
    switch = f"{{{{ if .Think }}}}{literal(on)}{{{{ else }}}}{literal(off)}{{{{ end }}}}"
    return f'{{{{ if and .IsThinkSet (eq $before "user") }}}}{switch}{{{{ else }}}}{plain}{{{{ end }}}}'


def _trims() -> str:
    """Templates that write a text without the white space at its ends: Go's language, as Ollama has it, has no function
    for it, but takes texts apart and calls templates from within themselves.
    """
    ones = " ".join(f"(eq $c {' '.join(map(str, run))})" for run in _ONE)
    left = f'{{{{ $c := index . 0 }}}}{{{{ if or {ones} }}}}{{{{ template "trimmed" (slice . 1) }}}}' + _wide(
        "(slice . 0 {n})", '{{ template "trimmed" (slice . {n}) }}'
    )
    right = (
        f"{{{{ $n := len (slice . 1) }}}}{{{{ $c := index . $n }}}}{{{{ if or {ones} }}}}"
        '{{ template "right" (slice . 0 $n) }}'
        + _wide("(slice . (len (slice . {n})))", '{{ template "right" (slice . 0 (len (slice . {n}))) }}')
    )
    return (
        f'{{{{ define "trimmed" }}}}{{{{ if . }}}}{left}{{{{ else }}}}{{{{ template "right" . }}}}{{{{ end }}}}'
        f"{{{{ end }}}}{{{{ end }}}}{_BREAK}"
        f'{{{{ define "right" }}}}{{{{ if . }}}}{right}{{{{ else }}}}{{{{ . }}}}'
        f"{{{{ end }}}}{{{{ end }}}}{{{{ end }}}}{_BREAK}"
    )


def _wide(part: str, then: str) -> str:
    """Branches for white space of two and of three bytes."""
    found = ""
    for count, chars in ((2, _TWO), (3, _THREE)):
        same = " ".join(f'"{_escaped(c)}"' for c in chars)
        enough = f"ge (len .) {count}"
        which = part.replace("{n}", str(count))
        found += f"{{{{ else if and ({enough}) (eq {which} {same}) }}}}{then.replace('{n}', str(count))}"
    return found
