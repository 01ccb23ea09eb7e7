"""The rules of C4: Raffel et al. 2020, "Exploring the limits of transfer learning" (JMLR 21), section 2.2.

C4 first drops lines, then pages that have too few sentences left. Here the text of a page stays as it is:
a page goes if C4 would drop all of it. Its list of bad words is not shipped, and its rule for repeated
passages is `data.duplicates`.
"""

import re

from experiments.data.document import Document
from experiments.data.quality.verdict import KEEP, Verdict, at_least, lines

MIN_SENTENCES = 3
MIN_WORDS_IN_LINE = 5
TERMINAL = (".", "?", "!", '"', "”")
POLICY = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)

_SENTENCE_END = re.compile(r"[.?!]+[\"'”’)\]]*(?=\s|$)")


def lorem_ipsum(document: Document) -> Verdict:
    """No placeholder text."""
    return Verdict(False, "lorem ipsum") if "lorem ipsum" in document.text.lower() else KEEP


def curly_bracket(document: Document) -> Verdict:
    """No "{", which is of code and not of text."""
    return Verdict(False, "a curly bracket") if "{" in document.text else KEEP


def sentences(document: Document) -> Verdict:
    """At least 3 sentences in the lines that C4 keeps."""
    n = sum(count_sentences(line) for line in lines(document.text) if is_kept(line))
    return at_least(MIN_SENTENCES, n, "sentences")


def is_kept(line: str) -> bool:
    """Whether C4 keeps a line: five words, an end mark (not an ellipsis), nothing of scripts and cookies."""
    lower = line.lower()
    return (
        line.endswith(TERMINAL)
        and not line.endswith("...")
        and len(line.split()) >= MIN_WORDS_IN_LINE
        and "javascript" not in lower
        and not any(words in lower for words in POLICY)
    )


def count_sentences(line: str) -> int:
    """Sentences by their end marks; C4 has NLTK's Punkt, which knows abbreviations."""
    return max(1, len(_SENTENCE_END.findall(line)))


RULES = {"lorem_ipsum": lorem_ipsum, "curly_bracket": curly_bracket, "sentences": sentences}
