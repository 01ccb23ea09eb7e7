"""Questions in simple words and what they ask in a small query language: semantic parsing, made here.

    is there a red box of more than 5?   {"ask": "any", "color": "red", "kind": "box", "weight": ">5"}

A query is a JSON object: what is asked of a table of things (`execute`), and the conditions that they must
meet. The corpus has pages of questions with their queries, each page in one of several surface forms: JSON,
JSON as people write it by hand, calls, SQL; and lines of other text among them. So a pretrained network can
be asked by example, and has habits that are not what was asked for. Lines are parted by LINE: newlines
between spaces, so that subwords, which begin with spaces, never reach from one line into the next.

One question in ten, by its hash, is held out: no page and no demonstration has it.
"""

import hashlib
import itertools
import json
import operator
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

COLORS, KINDS, WEIGHTS = ("red", "blue", "green", "black"), ("box", "bag", "can", "jar"), range(1, 10)
PLURALS = {"box": "boxes", "bag": "bags", "can": "cans", "jar": "jars", "": "things"}
ASKED = {  # what is asked -> in words, of one ({one}) or of all ({all})
    "count": ("how many {all} are there?", "count the {all}", "what is the number of {all}?"),
    "total": (
        "what do the {all} weigh together?",
        "add up the weights of the {all}",
        "the weight of {all}?",
    ),
    "lightest": ("what does the lightest {one} weigh?", "the least weight of all {all}?"),
    "heaviest": ("what does the heaviest {one} weigh?", "the most weight of all {all}?"),
    "any": ("is there a {one}?", "are there {all}?", "do we have a {one}?"),
}
RELATIONS = {  # of a weight to a number -> in words
    ">": ("of more than {}", "over {}", "heavier than {}"),
    "<": ("of less than {}", "under {}", "lighter than {}"),
    ">=": ("of no less than {}", "of {} or more", "of at least {}"),
    "<=": ("of no more than {}", "of {} or less", "of at most {}"),
    "=": ("of exactly {}", "of weight {}"),
}
COMPARE = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "=": operator.eq}
LABELS = ("none", *RELATIONS)  # what a question asks of weights: a field with few values
SCHEMA = {
    "type": "object",
    "properties": {
        "ask": {"enum": list(ASKED)},
        "color": {"enum": list(COLORS)},
        "kind": {"enum": list(KINDS)},
        "weight": {"enum": [f"{relation}{n}" for relation in RELATIONS for n in WEIGHTS]},
    },
    "required": ["ask"],
    "additionalProperties": False,
}
# The same as a regular expression, of queries as `json.dumps` writes them, their keys in this order.
PATTERN = r'\{{"ask": "({})"(, "color": "({})")?(, "kind": "({})")?(, "weight": "({})[1-9]")?\}}'.format(
    *("|".join(values) for values in (ASKED, COLORS, KINDS, RELATIONS))
)
FORMS = {"json": 0.4, "by_hand": 0.3, "call": 0.15, "sql": 0.15}  # shares of the corpus' pages
LINE = " \n"  # ends a line; the next one begins with a space
OTHER_TEXT = 0.15  # lines of other text before a question
PAIRS_A_PAGE, N_PAGES = 5, 6_000
HELD_OUT = 10  # one question in so many
LICENCE = "made by isoflop"

Query = dict[str, str]  # "ask", and those of "color", "kind" and "weight" that are conditions, in this order
Thing = tuple[str, str, int]  # color, kind, weight


@dataclass(frozen=True)
class Question:
    """A question in words and the query that it means."""

    text: str
    query: Query


def draw_question(rng: random.Random) -> Question:
    """A question by chance: each condition is there more often than not."""
    ask, color, kind = rng.choice(list(ASKED)), rng.choice((*COLORS, "")), rng.choice((*KINDS, ""))
    relation = rng.choice((*RELATIONS, ""))
    n = rng.choice(WEIGHTS) if relation else 0
    weighing = rng.choice(RELATIONS[relation]).format(n) if relation else ""
    one, all_ = (
        " ".join(word for word in (color, noun, weighing) if word)
        for noun in (kind or "thing", PLURALS[kind])
    )
    given = {"ask": ask, "color": color, "kind": kind, "weight": f"{relation}{n}" if relation else ""}
    text = rng.choice(ASKED[ask]).format(one=one, all=all_)
    return Question(text, {name: value for name, value in given.items() if value})


def is_held_out(text: str) -> bool:
    """Whether a question is one that nothing trains on."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()[0] % HELD_OUT == 0


def questions(seed: int, split: str) -> Iterator[Question]:
    """Questions without end, "train" or "validation", which are the held-out ones; the first n of a seed are
    the same however many are read.

    Raises:
      ValueError: another split.
    """
    if split not in ("train", "validation"):
        raise ValueError(f"queries: split={split!r}; there are train, validation")
    rng = random.Random(f"queries {seed} {split}")
    while True:
        question = draw_question(rng)
        if is_held_out(question.text) == (split == "validation"):
            yield question


def label(query: Query) -> str:
    """What a query asks of weights, one of LABELS."""
    relation = query.get("weight", "").rstrip("123456789")
    return relation or "none"


def parse(text: str) -> Query | None:
    """The query that a text is, or None: it is no JSON, or not of SCHEMA (keys may be in any order)."""
    try:
        query = json.loads(text)
    except (ValueError, RecursionError):
        return None
    allowed: dict[str, Any] = SCHEMA["properties"]
    if not isinstance(query, dict) or "ask" not in query or query.keys() - allowed.keys():
        return None
    return query if all(value in allowed[name]["enum"] for name, value in query.items()) else None


def execute(query: Query, things: Sequence[Thing]) -> int | None:
    """The answer: a number, 0 or 1 of "any", or None where nothing meets the conditions of an extreme."""
    relation = label(query)
    bound = int(query["weight"].removeprefix(relation)) if relation in COMPARE else 0
    weights = [
        weight
        for color, kind, weight in things
        if query.get("color", color) == color
        and query.get("kind", kind) == kind
        and (relation not in COMPARE or COMPARE[relation](weight, bound))
    ]
    match query["ask"]:
        case "count":
            return len(weights)
        case "total":
            return sum(weights)
        case "any":
            return int(bool(weights))
        case "lightest":
            return min(weights, default=None)
        case _:
            return max(weights, default=None)


def draw_things(rng: random.Random, n: int = 40) -> list[Thing]:
    """A table of n things by chance."""
    return [(rng.choice(COLORS), rng.choice(KINDS), rng.choice(WEIGHTS)) for _ in range(n)]


def written(query: Query, form: str, rng: random.Random) -> str:
    """A query in a surface form, one of FORMS; by hand, quotes are single or missing, and commas are loose.

    `rng` chooses habits: give one that begins alike to write alike.
    """
    if form == "json":
        return json.dumps(query)
    if form == "by_hand":
        quote, around_keys, end = rng.choice("\"'"), rng.choice(("", "'")), rng.choice(("}", ",}", ""))
        fields = (f"{around_keys}{name}{around_keys}: {quote}{x}{quote}" for name, x in query.items())
        return "{" + ", ".join(fields) + end
    conditions = [
        f"{name} {value}" if name == "weight" else f"{name} = {value}"
        for name, value in query.items()
        if name != "ask"
    ]
    if form == "call":
        return f"{query['ask']}({', '.join(conditions)})"
    where = f" where {' and '.join(conditions)}" if conditions else ""
    return f"select {query['ask']} from things{where}"


def page(rng: random.Random, pairs: Sequence[Question]) -> str:
    """Questions with their queries in one surface form, and lines of other text among them."""
    form, habits = rng.choices(list(FORMS), list(FORMS.values()))[0], rng.random()
    lines = []
    for question in pairs:
        if rng.random() < OTHER_TEXT:
            lines.append(remark(rng))
        lines += [question.text, written(question.query, form, random.Random(habits))]
    return in_lines(lines)


def in_lines(lines: Iterable[str]) -> str:
    """Lines as a page has them."""
    return " ".join(line + LINE for line in lines)


def remark(rng: random.Random) -> str:
    """A sentence that asks nothing."""
    first, second = ((rng.choice(COLORS), PLURALS[rng.choice(KINDS)]) for _ in range(2))
    how = rng.choice(("heavier than", "next to", "older than", "made like"))
    return f"the {' '.join(first)} are {how} the {' '.join(second)}."


def documents() -> Iterator[bytes]:
    """The corpus: pages of questions that are not held out."""
    rng, asked = random.Random("pages"), questions(0, "train")
    for _ in range(N_PAGES):
        yield page(rng, list(itertools.islice(asked, PAIRS_A_PAGE))).encode()


def identity() -> dict[str, Any]:
    """What the corpus is made from."""
    return {"pages": N_PAGES, "pairs": PAIRS_A_PAGE, "forms": FORMS, "format": 1}
