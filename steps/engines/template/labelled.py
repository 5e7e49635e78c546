"""Labels for the tokens of many texts, as arrays; `render.tokenize` does it to one text, by the tokenizer alone."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from steps.contracts.errors import TrainingDataError
from steps.engines.template.render import IGNORED, Encoded, Rendered, Span
from steps.engines.tokens.tokens import Tokens

Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Labelled:
    """A text as tokens.

    Attributes:
        input_ids, labels: shape (tokens,); labels[i] is input_ids[i] where the token is trained, else -100.
        trained: number of trained tokens.
        exact: the decoded tokens are the text, and the decoded trained ones what is trained, by construction.
    """

    input_ids: Int32s
    labels: Int32s
    trained: int
    exact: bool = False

    def cut(self, length: int) -> "Labelled":
        """The first tokens."""
        labels = self.labels[:length]
        return Labelled(self.input_ids[:length], labels, int((labels != IGNORED).sum()), self.exact)

    def listed(self) -> Encoded:
        """The same in lists."""
        return Encoded(self.input_ids.tolist(), self.labels.tolist())


def label(tokens: Tokens, rendered: Rendered, added: Mapping[str, int]) -> Labelled:
    """The text's BOS and its tokens, with labels of those that overlap a span.

    Args:
        added: ids of the special and added tokens. One that swallows the blanks with which a span begins belongs to
            the prompt all the same.

    Raises:
        TrainingDataError: spans overlap.
    """
    if len(rendered.spans) > 1 and any(b[0] < a[1] for a, b in pairwise(rendered.spans)):
        raise TrainingDataError("the chat template's {% generation %} blocks overlap", hint="nest no such blocks")
    ids, labels, trained, exact = tokens.ids, np.empty(len(tokens.ids), np.int32), 0, tokens.spell
    labels.fill(IGNORED)
    for start, end in _in_unit(tokens, rendered):
        first, stop = bisect_right(tokens.ends, start), bisect_left(tokens.starts, end)
        if first < stop and tokens.starts[first] < start and ids[first] in added.values():
            first += 1
        if stop <= first:
            exact = exact and start == end
            continue
        labels[first:stop] = ids[first:stop]
        trained += stop - first
        exact = exact and (tokens.edges[first - 1] if first else 0) == start and tokens.edges[stop - 1] == end
    if rendered.bos:
        ids, labels = np.insert(ids, 0, added[rendered.bos]), np.insert(labels, 0, IGNORED)
    return Labelled(ids, labels, trained, exact)


def _in_unit(tokens: Tokens, rendered: Rendered) -> Sequence[Span]:
    """The spans in what the tokens' places count."""
    text = rendered.text
    if not tokens.in_bytes or text.isascii():
        return rendered.spans
    return [(len(text[:a].encode()), len(text[:b].encode())) for a, b in rendered.spans]
