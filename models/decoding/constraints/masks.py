"""What a text must be: a JSON schema, a regular expression, a grammar or one of some choices, as token masks.

The masks are llguidance's (Moskal et al. 2025): a token is allowed if the text with it is the beginning of a
valid one, however tokens cut it; EOS is allowed where the text is valid as it is. Documents of a schema have
the keys of `properties` in the schema's order, whole numbers without a fraction, numbers without exponents
where they have bounds, and no whitespace but, if it likes, a space after a comma or a colon. Characters stand
for themselves: escaped are quotes, backslashes and control characters alone. Multiples of 0.25 that are not
whole have both decimals, as 0.50, and so on.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import llguidance
import numpy as np
from llguidance.gbnf_to_lark import any_to_lark
from llguidance.numpy import fill_next_token_bitmask

from models.decoding.constraints.schema import enforceable

# Without it, a text that must go on in one way could be cut into tokens in one way only.
HEADER = '%llguidance {"no_forcing": true}\n'
SPACING = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}


class Vocabulary:
    """Tokens by what they say; built once, which takes half a second for 32,000 tokens.

    `token_bytes[i]` are the bytes of token i, b"" if it says nothing, as special tokens do.

    Raises:
      ValueError: no such EOS, or a byte that no token says alone, so that some texts cannot be written.
    """

    def __init__(self, token_bytes: Sequence[bytes], eos_id: int):
        self.token_bytes, self.eos_id, self.size = list(token_bytes), eos_id, len(token_bytes)
        if not 0 <= eos_id < self.size:
            raise ValueError(f"eos_id={eos_id}; the vocabulary is 0 to {self.size - 1}")
        self._alone = {said[0]: i for i, said in enumerate(token_bytes) if len(said) == 1}
        missing = sorted(set(range(256)) - set(self._alone))
        if missing:
            raise ValueError(
                f"constrained decoding needs a token for every byte; this vocabulary has none for "
                f"{len(missing)} of them, such as {bytes(missing[:1])!r}"
            )
        # What the engine reads.
        self.eos_token_id, self.bos_token_id = eos_id, None
        self.special_token_ids = [i for i, said in enumerate(token_bytes) if not said or i == eos_id]
        special = set(self.special_token_ids)
        self.tokens = [b"\xff<%d>" % i if i in special else said for i, said in enumerate(token_bytes)]
        self.engine = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(self), n_vocab=self.size, eos_token=eos_id
        )

    def __call__(self, text: bytes) -> list[int]:
        """Some tokens that say this; the engine asks for it only where texts are forced."""
        return [self._alone[byte] for byte in text]

    def said(self, tokens: Sequence[int]) -> bytes:
        """The bytes of these tokens."""
        special = set(self.special_token_ids)
        return b"".join(self.token_bytes[i] for i in tokens if i not in special)


@dataclass(frozen=True)
class Constraint:
    """What a text must be, for one vocabulary; `start` begins a text."""

    vocabulary: Vocabulary
    start_matcher: Any

    def start(self) -> "Progress":
        return Progress(self.start_matcher.deep_copy())


class Progress:
    """A text in the making, under a constraint."""

    def __init__(self, matcher: Any):
        self._matcher = matcher

    def allowed(self, masks: np.ndarray, row: int) -> None:
        """Writes the allowed tokens into masks[row]; bit i % 32 of word i // 32 is token i.

        Raises:
          ValueError: the grammar is too large for the engine.
        """
        fill_next_token_bitmask(self._matcher, masks, row)
        if self._matcher.is_error():
            raise ValueError(f"the constraint cannot be followed here: {reason(self._matcher)}")

    def take(self, token: int) -> None:
        """Goes on with an allowed token."""
        if not self._matcher.consume_token(token):
            raise ValueError(f"token {token} is not allowed here: {reason(self._matcher)}")

    @property
    def complete(self) -> bool:
        """Whether the text is valid as it is."""
        return self._matcher.is_accepting()


def masks_for(rows: int, vocab_size: int) -> np.ndarray:
    """Room for the masks of some rows, all tokens allowed: int32 [rows, vocab_size / 32, rounded up]."""
    return np.full((rows, -(-vocab_size // 32)), -1, np.int32)


def json_schema(schema: Any, vocabulary: Vocabulary) -> Constraint:
    """JSON that is valid under a schema (a dict, or true or false), draft 2020-12.

    Raises:
      ValueError: the schema cannot be satisfied or has a keyword that is not enforced, which is named.
    """
    schema = enforceable(schema)
    if schema is not False:
        schema = ({} if schema is True else schema) | {"x-guidance": SPACING}
    return _compile(f"start: %json {json.dumps(schema)}", "schema", vocabulary)


def regex(pattern: str, vocabulary: Vocabulary) -> Constraint:
    """Text that a regular expression (Rust's syntax, no look-around) matches from end to end.

    Raises:
      ValueError: it is wrong, or matches nothing.
    """
    wrapped = json.loads(llguidance.LLMatcher.grammar_from_regex(pattern))
    return _compile(wrapped["grammars"][0]["lark_grammar"], f"regex {pattern!r}", vocabulary)


def grammar(text: str, vocabulary: Vocabulary) -> Constraint:
    """Text of a context-free grammar, in Lark's notation (rule `start`) or as GBNF (rule `root`).

    A grammar all of whose texts are infinite is not noticed; its samples end at `max_tokens`, not complete.

    Raises:
      ValueError: it is wrong, or derives nothing.
    """
    try:
        text = any_to_lark(text)
    except Exception as error:  # the converter raises nothing more special
        raise ValueError(f"grammar: {error}") from None
    lines = [line for line in text.splitlines() if not line.startswith("%llguidance")]
    return _compile("\n".join(lines), "grammar", vocabulary)


def choice(options: Sequence[str], vocabulary: Vocabulary) -> Constraint:
    """One of these texts.

    Raises:
      ValueError: there is none.
    """
    if not options:
        raise ValueError("choices: there is none; give at least one")
    return _compile(llguidance.grammar_from("choice", json.dumps(list(options))), "choices", vocabulary)


def _compile(lark: str, name: str, vocabulary: Vocabulary) -> Constraint:
    matcher = llguidance.LLMatcher(vocabulary.engine, HEADER + lark)
    if not matcher.is_error():
        # What matches nothing at all shows when its first mask is asked for.
        first = matcher.deep_copy()
        fill_next_token_bitmask(first, masks_for(1, vocabulary.size), 0)
        if not first.is_error():
            return Constraint(vocabulary, matcher)
        matcher = first
    raise ValueError(f"{name}: {reason(matcher)}")


def reason(matcher: Any) -> str:
    """Why the engine has stopped, in a line without its context."""
    message = (matcher.get_error() or "").strip().split("\n   1 |")[0]
    message = re.sub(r"^at \d+\(\d+\): (failed to compile JSON schema: )?", "", message)
    if message.startswith("NoExtension"):
        return "it cannot be satisfied"
    if message.startswith("oneOf"):
        return "oneOf is enforced only where its branches exclude one another; write anyOf"
    return re.sub(r"\s+", " ", message)
