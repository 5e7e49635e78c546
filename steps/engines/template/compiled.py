"""Chat templates as transformers compiles them, without what it does anew at every rendering.

All that leans on private names of transformers is here. Its own entrance copies messages to plain data, which ours are,
at every call; its sandbox finds out anew, at every access, that a string's method is no danger.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import BuiltinMethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment, Template

_OF_DICTS = frozenset(dir(dict))
_FORMATTING = ("format", "format_map")
# What loops and namespaces mostly hold, and what is no method.
_VALUES = frozenset((bool, int, str, list, dict))


def refusals() -> tuple[type[Exception], ...]:
    """What rendering raises where a template isn't Jinja, refuses what it is given, or fails on it."""
    from jinja2 import TemplateError

    return (TemplateError, TypeError, KeyError, AttributeError)


def render(template: str, given: dict[str, Any]) -> str:
    """The template with these variables, which are plain data of JSON's types.

    Raises:
        Exception: one of `refusals`.
    """
    found = _compiled(template)
    # Jinja's own entrance does this with three copies of what is given.
    return "".join(found.root_render_func(found.new_context(given)))


def render_marked(
    template: str, messages: Sequence[Mapping[str, Any]], tools: Any, given: Mapping[str, Any]
) -> tuple[str, list[tuple[int, int]]]:
    """The same with the [start, end) ranges that the template marks with `{% generation %}`."""
    from transformers.utils.chat_template_utils import _render_with_assistant_indices

    text, ranges = _render_with_assistant_indices(_compiled(template), messages, tools, **given)
    return str(text), ranges


@lru_cache(maxsize=64)
def _compiled(template: str) -> "Template":
    from transformers.utils.chat_template_utils import _compile_jinja_template

    compiled: Template = _compile_jinja_template(template)
    # Jinja's own is a chain of dicts, which is walked at every rendering.
    compiled.globals = dict(compiled.globals)
    _quicken(compiled.environment)
    return compiled


def _quicken(environment: "Environment") -> None:
    """Let the sandbox decide once per type and name; what it decides stays the same."""
    from jinja2.runtime import LoopContext
    from jinja2.utils import Namespace

    own: Any = environment
    getattr_, is_safe, call = own.getattr, own.is_safe_attribute, own.call
    namespace = own.globals["namespace"]
    # Of these the sandbox looks at type and name only.
    known_types = (str, list, dict, LoopContext)
    decided: dict[tuple[type, str], bool] = {}

    def quick_getattr(obj: Any, attribute: str) -> Any:
        kind = type(obj)
        if kind is dict and attribute not in _OF_DICTS:
            return obj[attribute] if attribute in obj else environment.undefined(obj=obj, name=attribute)
        # Methods that format are wrapped by the sandbox.
        if kind is str and attribute not in _FORMATTING and decided.get((str, attribute)):
            return getattr(obj, attribute)
        if kind is LoopContext or kind is namespace:
            value = getattr(obj, attribute, None) if decided.get((kind, attribute)) else None
            if type(value) in _VALUES:
                return value
        return getattr_(obj, attribute)

    def quick_is_safe(obj: Any, attribute: str, value: Any) -> bool:
        kind = type(obj)
        if kind not in known_types and not issubclass(kind, Namespace):
            return bool(is_safe(obj, attribute, value))
        found = decided.get((kind, attribute))
        if found is None:
            found = decided[kind, attribute] = bool(is_safe(obj, attribute, value))
        return found

    def quick_call(context: Any, obj: Any, /, *args: Any, **named: Any) -> Any:
        # No method of a string is unsafe to call, or asks for the context; nor does a namespace when it is made.
        if (type(obj) is BuiltinMethodType and type(obj.__self__) is str) or obj is namespace:
            named.pop("_loop_vars", None)
            named.pop("_block_vars", None)
            return obj(*args, **named)
        return call(context, obj, *args, **named)

    own.getattr, own.is_safe_attribute, own.call = quick_getattr, quick_is_safe, quick_call
