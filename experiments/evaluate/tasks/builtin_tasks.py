"""Tasks made here, small enough for tiny models: copy, reverse, arithmetic, brackets, words of a text.

Each generator is pure: item i of a task is a function of (seed, task, i), words are also of a corpus, the
default one unless another is named. Each item has four choices. They are drawn first and the right one from
among them, so that without the prompt nothing is right more often than once in four. In all but the last two
tasks the right answer follows from the prompt: a perfect model reaches 1.
"""

import functools
import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from experiments.data_configs import DataConfig
from experiments.evaluate.tasks.task import Item, Task
from experiments.files import user_code

T = TypeVar("T")

N_CHOICES = 4
N_ITEMS = 200  # asked unless a number is given
N_EXAMPLES = 64  # in the pool of solved examples
CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}
CONTEXT = 48  # characters of text before the word that is asked for
WORD = re.compile(r"(?<= )[a-z]{2,12}(?=[ .,;:)\n])")  # of the default corpus …
ANY_WORD = re.compile(r"(?<= )[^\W\d_]{2,12}(?=[ .,;:)\n])")  # … and of others, in any script


@dataclass(frozen=True)
class BuiltinTask:
    """One task: `make(random)` gives an item from its source of randomness alone."""

    summary: str
    make: Callable[[random.Random], Item]
    delimiter: str = " "
    chance: float = 1 / N_CHOICES
    ceiling: float = 1.0


def find(name: str) -> BuiltinTask:
    """One of BUILTIN_TASKS, or FILE.py:NAME@HASH of a file that this process has run.

    Raises:
      ValueError: there is no such task.
    """
    found = BUILTIN_TASKS.get(name) or user_code.find(name, "--tasks", BuiltinTask)
    if found is None:
        raise ValueError(f"no task {name!r}; there are {', '.join(BUILTIN_TASKS)}, or give a .jsonl file")
    return found


def item(name: str, i: int, seed: int | str = 0, data: DataConfig | None = None) -> Item:
    """Item i of a built-in task; of one of OF_TEXT, from the test split of `data` (None: the default corpus).

    Args:
      name: see `find`.
      i: its number.
      seed: of all items.
      data: of the text.
    """
    rng = random.Random(f"{seed}/{name}/{i}")
    return OF_TEXT[name](rng, data) if data else find(name).make(rng)


def builtin_task(
    name: str,
    n: int | None = None,
    seed: int = 0,
    metric: str = "multiple_choice",
    data: DataConfig | None = None,
) -> Task:
    """The first `n` items; examples come from a stream of their own.

    Args:
      name: see `find`.
      n: how many items; None: N_ITEMS.
      seed: of items and examples.
      metric: what responses are judged by, one of the task metrics.
      data: see `item`.

    Raises:
      ValueError: no task of that name, or text with too few words.
    """
    about = find(name)
    items = tuple(item(name, i, seed, data) for i in range(n or N_ITEMS))
    pool = tuple(item(name, i, f"{seed}/examples", data) for i in range(N_EXAMPLES))
    content = hashlib.sha256(repr((name, seed, pool)).encode()).hexdigest()  # of the generator, not of `n`
    chance = about.chance if metric == "multiple_choice" else None
    return Task(name, metric, items, pool, content, about.delimiter, chance=chance, ceiling=about.ceiling)


def _copy(rng: random.Random) -> Item:
    words = _four(lambda: _pseudo_word(rng))
    right = rng.choice(words)
    return Item(f"copy {right}:", right, words)


def _reverse(rng: random.Random) -> Item:
    """Wrong choices have the same vowels and consonants in other orders."""
    word = _pseudo_word(rng)

    def reordered() -> str:
        pairs = zip(rng.sample(word[1::2], 3), rng.sample(word[::2], 3))
        return "".join(vowel + consonant for vowel, consonant in pairs)

    choices = _four(reordered)
    right = rng.choice(choices)
    return Item(f"reverse {right[::-1]}:", right, choices)


def _arithmetic(rng: random.Random) -> Item:
    choices = tuple(str(digit) for digit in rng.sample(range(10), N_CHOICES))
    right = rng.choice(choices)
    while True:
        a, b, sign = rng.randrange(10), rng.randrange(10), rng.choice("+-*")
        if str({"+": a + b, "-": a - b, "*": a * b}[sign] % 10) == right:
            return Item(f"{a} {sign} {b} mod 10 =", right, choices)


def _brackets(rng: random.Random) -> Item:
    """Which bracket closes next: the last one opened that is still open."""
    right, text = rng.choice("([{<"), ""
    for _ in range(rng.randrange(3)):
        text += rng.choice("([{<") + rng.choice("abcxyz") + " "
    text += right
    for _ in range(rng.randrange(3)):
        inner = rng.choice("([{<")
        text += f"{inner}{rng.choice('abcxyz')}{CLOSING[inner]} "
    return Item(text + rng.choice("abcxyz"), CLOSING[right], tuple(CLOSING.values()))


def _next_word(rng: random.Random, data: DataConfig | None = None) -> Item:
    """A word of a corpus's test split after the text before it, among words of its length from
    elsewhere there, each as often as the corpus has it. Some may fit as well: a perfect model stays below 1.
    """
    places = _four(_places(rng, data, shortest=2), key=lambda place: place.word)
    right = rng.choice(places)
    prompt = _before(data, right, right.start - 1)
    return Item(prompt, right.word, tuple(place.word for place in places), document=str(right.document))


def _word_end(rng: random.Random, data: DataConfig | None = None) -> Item:
    """The second half of a word, after the text before it and its first half, among other words' halves."""
    places = _four(_places(rng, data, shortest=4), key=lambda place: place.end)
    right = rng.choice(places)
    prompt = _before(data, right, right.start + len(right.word) - len(right.end))
    return Item(prompt, right.end, tuple(place.end for place in places), document=str(right.document))


@dataclass(frozen=True)
class _Place:
    """A word of a document, from character `start`."""

    document: int
    start: int
    word: str

    @property
    def end(self) -> str:
        """The second half of the word, the longer one."""
        return self.word[len(self.word) // 2 :]


def _before(data: DataConfig | None, place: _Place, stop: int) -> str:
    """About CONTEXT characters of text, from the beginning of a word up to `stop`."""
    text, start = _corpus(data)[place.document], max(0, stop - CONTEXT)
    return text[text.index(" ", start) + 1 if start else 0 : stop]


def _places(rng: random.Random, data: DataConfig | None, shortest: int) -> Callable[[], _Place]:
    """Draws words of one length, which is drawn here as often as the corpus has it."""
    known = {length: places for length, places in _words(data).items() if length >= shortest}
    if not known:
        raise ValueError(
            f"the test split of corpus {(data or DataConfig()).task} has too few words for this task"
        )
    [length] = rng.choices(list(known), [len(places) for places in known.values()])
    return lambda: rng.choice(known[length])


@functools.cache
def _words(data: DataConfig | None = None) -> dict[int, list[_Place]]:
    """Words by length that have text enough before them, of lengths with endings enough to choose from."""
    found: dict[int, list[_Place]] = {}
    word = ANY_WORD if data else WORD
    for number, text in enumerate(_corpus(data)):
        for match in word.finditer(text, CONTEXT):
            found.setdefault(len(match[0]), []).append(_Place(number, match.start(), match[0]))
    return {
        length: places
        for length, places in sorted(found.items())
        if len({place.end for place in places}) >= N_CHOICES
    }


@functools.cache
def _corpus(data: DataConfig | None = None) -> list[str]:
    """Texts of a corpus's test split, which is prepared first if need be."""
    from experiments.data.cache import open_cache
    from experiments.data.prepare import prepare
    from experiments.data.vocab import load_vocab

    data = data or DataConfig()
    cache, vocab = open_cache(prepare(data), "test"), load_vocab(data)
    return [vocab.decode(cache.tokens[a:b]) for a, b in zip(cache.offsets, cache.offsets[1:])]


def _pseudo_word(rng: random.Random) -> str:
    """Three syllables without a letter twice."""
    return "".join(map("".join, zip(rng.sample("bdfgklmnprstvz", 3), rng.sample("aeiou", 3))))


def _four(draw: Callable[[], T], key: Callable[[T], Any] = lambda value: value) -> tuple[T, ...]:
    """Four independent draws that differ: drawn anew all together if not, so that none stands out."""
    while True:
        drawn = tuple(draw() for _ in range(N_CHOICES))
        if len({key(one) for one in drawn}) == N_CHOICES:
            return drawn


OF_TEXT = {"next_word": _next_word, "word_end": _word_end}  # those whose items are of a corpus

BUILTIN_TASKS = {
    "copy": BuiltinTask("repeat a made-up word, among other made-up words", _copy),
    "reverse": BuiltinTask("a made-up word backwards, among other orders of its letters", _reverse),
    "arithmetic": BuiltinTask("sum, difference or product of two digits, modulo 10", _arithmetic),
    "brackets": BuiltinTask("the bracket that closes next, of four kinds", _brackets, delimiter=""),
    "next_word": BuiltinTask("the next word of a text of the default corpus's test split", _next_word),
    "word_end": BuiltinTask("the rest of a word begun in such a text", _word_end, delimiter=""),
}
