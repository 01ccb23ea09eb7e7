"""When a text ends: its own end, stop tokens, stop strings, a budget of tokens or of time.

Stop strings are looked for in the text, not in tokens, so it does not matter how tokens cut it. What could
still become a stop, or is half a character, is held back until it is decided.
"""

import codecs
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Finish = Literal["eos", "stop", "length", "time"]


@dataclass(frozen=True)
class StopCriteria:
    """What ends a text besides EOS and `max_tokens`.

    `seconds` is for the whole call, compiling included: what is unfinished then ends with "time". The clock
    is read between steps, at least one of which is made.

    Raises:
      ValueError: an empty string, or `seconds` that are not positive.
    """

    strings: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    seconds: float = math.inf

    def __post_init__(self):
        if "" in self.strings:
            raise ValueError("stop='' is empty; give the text to stop at")
        if not self.seconds > 0:
            raise ValueError(f"seconds={self.seconds}; a budget of time must be positive")


class DecodedText:
    """The text of a row that grows by tokens, up to its first stop.

    That is the stop which is complete first; of several complete at the same character, the longest.
    Bytes that are no UTF-8 are left out.
    """

    def __init__(self, token_bytes: Sequence[bytes], stops: tuple[str, ...] = ()):
        self._token_bytes, self._stops = token_bytes, stops
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._text, self._shown = "", 0
        self.stop: str | None = None

    def add(self, token: int) -> bool:
        """Adds one token's text; whether a stop is complete with it."""
        old = len(self._text)
        self._text += self._decoder.decode(self._token_bytes[token])
        found = first_stop(self._text, self._stops, old)
        if found is not None:
            start, self.stop = found
            self._text = self._text[:start]
        return found is not None

    def new_text(self, ended: bool = False) -> str:
        """The text that is certain and was not returned before; all of the rest if the row has `ended`."""
        end = len(self._text) - (0 if ended or self.stop else held_back(self._text, self._stops))
        new, self._shown = self._text[self._shown : end], max(end, self._shown)
        return new

    def __str__(self) -> str:
        return self._text


def first_stop(text: str, stops: Sequence[str], old: int) -> tuple[int, str] | None:
    """Start and name of the stop that is complete first, if one is; none ends within text[:old]."""
    found = ((text.find(stop, max(0, old - len(stop) + 1)), stop) for stop in stops)
    ends = [(start + len(stop), start, stop) for start, stop in found if start >= 0]
    return min(ends)[1:] if ends else None


def held_back(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of the text that may be the beginning of a stop."""
    longest = min(len(text), max((len(stop) - 1 for stop in stops), default=0))
    sizes = range(longest, 0, -1)
    return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in stops)), 0)


def json_state(text: str) -> Literal["complete", "cut", "none"]:
    """Whether a text is JSON, the beginning of some JSON ("cut"), or neither; blank text is neither.

    It is a beginning exactly if it can be completed, and then one of a few endings does: the rest of a
    string, a number or a word, a key's value, and what is open closed again.
    """
    if not text.strip():
        return "none"
    if _is_json(text):
        return "complete"
    in_string, closers = _open_parts(text)
    if in_string:
        ends = [f'{rest}"' for rest in ("", "n", "0", "00", "000", "0000")]  # after \, and within \uXXXX
    else:
        words = [word[i:] for word in ("true", "false", "null") for i in range(1, len(word))]
        ends = ["", "0", '"":0', *words]
    endings = (end + value + closers for end, value in itertools.product(ends, ("", ":0")))
    return "cut" if any(_is_json(text + ending) for ending in endings) else "none"


def _open_parts(text: str) -> tuple[bool, str]:
    """Whether the text ends within a string, and what closes the brackets that are open."""
    in_string, escaped, closers = False, False, []
    for c in text:
        if in_string:
            in_string, escaped = escaped or c != '"', c == "\\" and not escaped
        elif c == '"':
            in_string = True
        elif c in "{[":
            closers.append("}" if c == "{" else "]")
        elif c in "}]" and closers:
            closers.pop()
    return in_string, "".join(reversed(closers))


def _is_json(text: str) -> bool:
    try:
        # Numbers are not computed: Python refuses long ones, and JSON has no NaN.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str):
    raise ValueError(f"{constant} is not JSON")
