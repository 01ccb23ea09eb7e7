"""Clean text with planted dirt, each kind labelled: to measure filters where nothing else is at hand.

Dirt is made of training documents only, so that held-out text is as it was. Kinds and shares are ours, after
what crawls are full of: markup, navigation, text cut off, text that no one wrote, and copies.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator

from experiments.data.document import Document

VERSION = 1  # raised when the dirt changes
KINDS = ("markup", "boilerplate", "gibberish", "truncated", "duplicate", "near_duplicate")
SHARE = 0.12  # dirty documents of each kind, a clean one
ATTEMPTS = 50  # to make dirt that is of the training split, too
LICENCE = "that of the clean text; the dirt is made by isoflop"
NAVIGATION = (
    "Home > Products > Overview > Details",
    "Sign in to your account or create a new one",
    "We value your privacy. Manage preferences / Accept",
    "Follow us on social media",
    "Read more articles like this one",
    "Popular tags: news, sports, weather, travel",
    "Add to cart - only 3 left in stock",
    "Page generated in 0.04 seconds",
    "Skip to main content",
    "Download our app today",
    "Reviews (0) Be the first to write one",
    "Terms and conditions apply",
)


def records(clean: Iterable[Document], is_training: Callable[[str], bool]) -> Iterator[Document]:
    """The documents, and the dirt made of some; fields "label" ("clean" or one of KINDS) and "clean" (1, 0).

    Args:
      clean: the documents; their other fields stay.
      is_training: whether a text belongs to the training split.
    """
    for document in clean:
        yield Document(document.text, {**document.fields, "label": "clean", "clean": 1})
        if not is_training(document.text):
            continue
        seed = hashlib.blake2b(document.text.encode("utf-8", "replace"), digest_size=8).hexdigest()
        draw = random.Random(seed).random()
        if draw >= SHARE * len(KINDS):
            continue
        kind = KINDS[int(draw / SHARE)]
        made = (dirt(document.text, kind, random.Random(f"{seed} {k}")) for k in range(ATTEMPTS))
        text = next((text for text in made if is_training(text)), None)
        if text is not None:
            yield Document(text, {**document.fields, "label": kind, "clean": 0})


def dirt(text: str, kind: str, rng: random.Random) -> str:
    """Dirt of one of KINDS made of a text."""
    words = text.split()
    if kind == "markup":
        tags = (rng.choice(("p", "div", "span", "li", "td")) for _ in text.splitlines())
        body = (f'<{tag} class="c">{line}</{tag}>' for tag, line in zip(tags, text.splitlines()))
        script = f"<script>var id = {rng.random()};</script>"
        return f"<!DOCTYPE html><html><head>{script}</head>{''.join(body)}</html>"
    if kind == "boilerplate":
        return "\n".join(rng.choices(NAVIGATION, k=rng.randint(12, 30)))
    if kind == "gibberish":
        return _gibberish(words, rng)
    if kind == "truncated":
        most = max(1, min(500, len(text) - 1))
        return text[: rng.randint(min(120, most), most)].rstrip() + rng.choice(("", "..."))
    if kind == "near_duplicate":
        n = max(1, round(rng.choice((0.01, 0.03, 0.06, 0.1)) * len(words)))
        for place in rng.sample(range(len(words)), n):
            words[place] = rng.choice(words)
        return " ".join(words)
    return text


def _gibberish(words: list[str], rng: random.Random) -> str:
    """Letters drawn by chance, words in another order, or each word's letters in another order."""
    way = rng.randrange(3)
    if way == 0:
        return "".join(chr(rng.randint(32, 126)) for _ in range(sum(map(len, words)) + len(words)))
    if way == 1:
        return " ".join(rng.sample(words, len(words)))
    return " ".join("".join(rng.sample(word, len(word))) for word in words)
