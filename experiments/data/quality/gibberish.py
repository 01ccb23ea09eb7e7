"""Text that no one wrote: rules of ours, for English.

Every English text of some length is held together by a small set of words: a third to a half of all words are
among FUNCTION_WORDS. Letters in another order, or drawn by chance, leave few of them; words in another order
leave all, but then an article stands before a preposition as often as anything else does, which in English it
never does. Texts of fewer than MIN_WORDS words, or MIN_ARTICLES articles, pass. The filters `perplexity` and
`word_order` do the same for any language, with text to learn from.
"""

import functools
import itertools

from experiments.data.document import Document
from experiments.data.quality.verdict import KEEP, Verdict, at_least, at_most, words

MIN_WORDS = 20
MIN_ARTICLES = 6
ARTICLES = frozenset(("the", "a", "an"))
# What never follows an article: prepositions, conjunctions, pronouns, auxiliaries; and other common words.
_NEVER = """
of to in on at by for from with into upon and or but nor if that as than the a an is was are were be been has
have had do does did will would shall should can could may might must he she it they we you i him her them us
me his its their our your my not so this these those there then which who whom what when where why how because
while
"""
_OTHERS = "no all more up out about only some any very"
NOT_AFTER_ARTICLES = frozenset(_NEVER.split())
FUNCTION_WORDS = NOT_AFTER_ARTICLES | frozenset(_OTHERS.split())


def characters(document: Document) -> Verdict:
    """At least 75 % of the characters are letters or white space."""
    text = document.text
    n = sum(map(str.isalpha, text)) + sum(map(str.isspace, text))
    return at_least(0.75, n / max(1, len(text)), "share of letters and spaces")


def function_words(document: Document) -> Verdict:
    """At least 25 % of the words are among the commonest of English."""
    found = _plain_words(document.text)
    if len(found) < MIN_WORDS:
        return KEEP
    share = sum(word in FUNCTION_WORDS for word in found) / len(found)
    return at_least(0.25, share, "share of function words")


def word_order(document: Document) -> Verdict:
    """At most 20 % of the articles, where there are some, stand before a word that never follows one."""
    found = _plain_words(document.text)
    after = [following for word, following in itertools.pairwise(found) if word in ARTICLES]
    if len(found) < MIN_WORDS or len(after) < MIN_ARTICLES:
        return KEEP
    share = sum(word in NOT_AFTER_ARTICLES for word in after) / len(after)
    return at_most(0.2, share, "share of articles before a function word")


RULES = {"characters": characters, "function_words": function_words, "word_order": word_order}


@functools.lru_cache(maxsize=2)
def _plain_words(text: str) -> list[str]:
    return [word.strip(".,;:!?\"'()[]—-_*“”‘’").lower() for word in words(text)]
