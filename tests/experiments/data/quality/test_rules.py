"""Each rule on text made for it: what it drops, and that plain prose passes all of them."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.document import Document
from experiments.data.quality import chain, gopher
from experiments.data.quality.verdict import lines, paragraphs, words

PROSE = """The old man had been at the window since the early morning, and when the train at last came round
the side of the hill he put on his hat and went out to the gate. It was a fine day, with a little wind from
the sea, and the road to the station was full of people who had come to see the children off.

"Have you brought the letters?" asked his daughter. "They will not be kept for another week."

He had forgotten them, as he forgot most of what she asked of him; but he said that they were in the pocket
of the other coat, and that she should have them in the evening. Then the whistle blew, and nobody could hear
what anybody said for some time after that."""
WORDS = PROSE.split()


def shuffled(items: list[str] | str) -> list[str]:
    return random.Random(0).sample(list(items), len(items))


def repeated(n_repeated: int, n_other: int) -> str:
    """One line several times among lines that occur once."""
    other = (
        f"Number {k} of the other lines has the length of {k * k} and is not the same as any."
        for k in range(n_other)
    )
    return "\n".join(["This line is to be found again and again in the text."] * n_repeated + list(other))


DROPPED = {
    "markup.page": "<html><body>" + PROSE,
    "markup.tags": "".join(f'<p class="x">{line}</p>' for line in PROSE.splitlines()),
    "truncation.ending": PROSE[:-20],
    "fineweb.line_punctuation": "\n".join(f"{line} and so on" for line in PROSE.splitlines() * 2),
    "fineweb.short_lines": "\n".join(f"It is so: {k}." for k in range(60)),
    "fineweb.duplicate_characters": repeated(4, 10),
    "c4.lorem_ipsum": PROSE + " Lorem ipsum dolor sit amet.",
    "c4.curly_bracket": PROSE + " if (x) { return; }",
    "c4.sentences": "Home\nThe privacy policy of this site is to be read.\nOne sentence of it is left here.",
    "gibberish.characters": "".join(random.Random(0).choices("abcdef#$%&/()=?*+0123456789 ", k=900)),
    "gibberish.function_words": " ".join("".join(shuffled(word)) for word in WORDS if len(word) > 2),
    "gibberish.word_order": " ".join(shuffled(WORDS * 2)),
    "gopher.word_count": "Too short to be kept, this is, and to be read.",
    "gopher.mean_word_length": " ".join(["a b of"] * 30),
    "gopher.symbols": " # ".join(WORDS),
    "gopher.bullets": "\n".join(f"* {line}" for line in PROSE.splitlines() if line),
    "gopher.ellipses": "\n".join(f"{PROSE[k:k + 60]}..." for k in range(0, 600, 60)),
    "gopher.alphabetic_words": " ".join(f"{word} {k}" for k, word in enumerate(WORDS)),
    "gopher.stop_words": " ".join(w for w in WORDS if w.lower().strip(",.") not in gopher.STOP_WORDS),
    "gopher.duplicate_lines": repeated(5, 10),
    "gopher.duplicate_paragraphs": repeated(5, 10).replace("\n", "\n\n"),
    "gopher.top_ngrams": " ".join(f"{word} best price" for word in WORDS[:60]),
    "gopher.duplicate_ngrams": " ".join([*WORDS, *WORDS[:60]]),
}  # fmt: skip


def test_every_rule_has_a_case():
    assert DROPPED.keys() == chain.RULES.keys()


@pytest.mark.parametrize("name", DROPPED)
def test_a_rule_drops_what_it_is_made_for(name):
    verdict = chain.RULES[name](Document(DROPPED[name]))
    assert not verdict.keep and verdict.reason


@pytest.mark.parametrize("name", chain.RULES)
def test_a_rule_keeps_prose(name):
    assert chain.RULES[name](Document(PROSE)) == chain.KEEP


@given(text=st.text(max_size=300))
def test_rules_judge_any_text_and_always_alike(text):
    first = {name: judge(Document(text)) for name, judge in chain.RULES.items()}
    for views in (words, lines, paragraphs):
        views.cache_clear()
    assert {name: judge(Document(text)) for name, judge in chain.RULES.items()} == first
    assert all(verdict.keep == (not verdict.reason) for verdict in first.values())


def by_hand(text: str, n: int) -> float:
    """Share of the characters in repeated n-grams, by sets of words."""
    found, seen, covered = text.split(), set(), set()
    for start in range(len(found) - n + 1):
        ngram = tuple(found[start : start + n])
        covered |= set(range(start, start + n)) if ngram in seen else set()
        seen.add(ngram)
    return sum(len(found[k]) for k in covered) / max(1, sum(map(len, found)))


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dddd"]), max_size=60), st.floats(0.05, 0.9))
def test_repeated_ngrams_are_those_found_by_hand(found, limit):
    text = " ".join(found)
    expected = any(by_hand(text, n) > limit for n in gopher.DUPLICATE_NGRAMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gopher, "DUPLICATE_NGRAMS", dict.fromkeys(gopher.DUPLICATE_NGRAMS, limit))
        assert gopher.duplicate_ngrams(Document(text)).keep == (not expected)


def test_the_commonest_ngram_counts_all_its_occurrences():
    text = " ".join(itertools.chain.from_iterable(("best", "price", f"x{k}") for k in range(50)))
    share = 9 * 50 / len(text.replace(" ", ""))
    assert f"2-gram {share:.3g} > 0.2" in gopher.top_ngrams(Document(text)).reason
