"""Pairs of responses, the chosen and the rejected one: from published forms to examples.

    texts       {"prompt": "…", "chosen": "…", "rejected": "…"}; the prompt may be a list of messages
    messages    {"chosen": [{"role": …, "content": …}, …], "rejected": […]}: whole conversations that
                differ in the last turn (UltraFeedback); with "prompt" as messages, what follows it
    HH          {"chosen": "\\n\\nHuman: …\\n\\nAssistant: …", "rejected": "…"}: the same as text
    rankings    {"prompt": "…", "responses": {"A": "…", "B": "…", …}, "ranking": "A > B = C"}, or a list of
                rankings, which must not contradict each other; B = C makes a pair that is a tie

A pair may have a margin: "margin", or "score_chosen" and "score_rejected", whose difference it is.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.posttraining.data.chat_template import ChatTemplate
from experiments.posttraining.data.conversations import Conversation, Turn, turns_of
from experiments.posttraining.data.examples import Example
from experiments.posttraining.data.records import Record, records
from experiments.posttraining.preferences.rankings import consistent_pairs, parse_ranking, ties_of

SIDES = ("chosen", "rejected")
HH_TURN = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True)
class Pair:
    """Two responses to a conversation that ends where the assistant speaks.

    margin: how much better the chosen one is. tie: neither is.
    """

    prompt: Conversation
    chosen: str
    rejected: str
    margin: float = 0.0
    tie: bool = False


def read_pairs(path: str) -> Iterator[tuple[str, Pair]]:
    """(place, pair) of each pair at `path`, for which see `records.records`.

    Raises:
      ValueError: a record of another form, equal or empty responses, an empty prompt, conversations that
        differ before their last turn, a negative margin, rankings with a cycle; each with file and line.
    """
    for place, record in records(path):
        for pair in _pairs(place, record):
            check(place, pair)
            yield place, pair


def check(place: str, pair: Pair) -> None:
    """Refuses what no preference can be learned from.

    Raises:
      ValueError: an empty side, equal sides, an empty prompt, or a margin that is negative or not finite; the
        text begins with `place`.
    """
    for name in ("chosen", "rejected"):
        if not getattr(pair, name).strip():
            raise ValueError(f"{place}: the {name} response is empty; leave the pair out")
    if pair.chosen == pair.rejected:
        raise ValueError(f"{place}: both responses are {pair.chosen[:40]!r}; a pair has two, leave it out")
    if not pair.prompt or not pair.prompt[-1].content.strip():
        raise ValueError(f"{place}: the prompt is empty; leave the pair out")
    if not 0 <= pair.margin < np.inf:
        raise ValueError(f"{place}: margin {pair.margin}; the chosen one is better, so it is 0 or positive")


def examples_of(pairs: Iterable[tuple[str, Pair]], template: ChatTemplate) -> Iterator[Example]:
    """Tokens of each pair: "chosen", "rejected" (prompt and response), "prompt_length", "margin"; and where
    there are ties "tie", 1 for those.

    Pairs with one prompt are on one side of the split.

    Raises:
      ValueError: a text that the template cannot hold, or two responses that are the same as tokens; with the
        place.
    """
    pairs = list(pairs)
    with_ties = any(pair.tie for _, pair in pairs)
    for place, pair in pairs:
        try:
            prompt = template.prompt(pair.prompt)
            chosen = side_tokens(template, pair.prompt, prompt, pair.chosen)
            rejected = side_tokens(template, pair.prompt, prompt, pair.rejected)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        if np.array_equal(chosen, rejected):
            raise ValueError(f"{place}: both responses are the same tokens; leave the pair out")
        columns = {"chosen": chosen, "rejected": rejected, "prompt_length": len(prompt)}
        columns |= {"margin": np.float32(pair.margin)} | ({"tie": np.float32(pair.tie)} if with_ties else {})
        yield Example(columns, key=prompt.tobytes())


def side_tokens(template: ChatTemplate, turns: Conversation, prompt: np.ndarray, response: str) -> np.ndarray:
    """Prompt and response up to the end of its turn, int32[n].

    Args:
      template: renders both.
      turns: the prompt; prompt: its tokens.
      response: what the assistant says.

    Raises:
      ValueError: a text that the template cannot hold, or a prompt that it renders in two ways.
    """
    tokens, mask = template.render((*turns, Turn("assistant", response)))
    if not np.array_equal(tokens[: len(prompt)], prompt):
        raise ValueError("the template renders the prompt in another way before a response than without one")
    return tokens[: np.flatnonzero(mask)[-1] + 1]


def _pairs(place: str, record: Record) -> Iterator[Pair]:
    if "responses" in record:
        yield from _of_rankings(place, record)
        return
    if missing := [name for name in SIDES if name not in record]:
        raise ValueError(
            f"{place}: no {missing[0]!r} (it has {', '.join(map(str, record)) or 'no fields'}); a pair has "
            "'prompt', 'chosen' and 'rejected', or whole conversations as the last two"
        )
    prompt, chosen, rejected = (record.get(name) for name in ("prompt", *SIDES))
    margin = _margin(place, record)
    if isinstance(chosen, list) and isinstance(rejected, list):
        front = turns_of(place, prompt) if isinstance(prompt, list) else ()
        whole = [_behind(front, turns_of(place, side)) for side in (chosen, rejected)]
        yield _last_turns(place, whole[0], whole[1], margin)
    elif not isinstance(chosen, str) or not isinstance(rejected, str):
        raise ValueError(f"{place}: 'chosen' and 'rejected' are both texts, or both lists of messages")
    elif prompt is None:
        yield _last_turns(place, _hh(place, chosen), _hh(place, rejected), margin)
    else:
        yield Pair(_prompt(place, prompt), chosen, rejected, margin)


def _of_rankings(place: str, record: Record) -> Iterator[Pair]:
    responses, rankings = record["responses"], record.get("ranking")
    rankings = [rankings] if isinstance(rankings, str) else rankings
    if not isinstance(responses, dict) or not all(isinstance(said, str) for said in responses.values()):
        raise ValueError(f"{place}: 'responses' is an object of texts by name")
    if not isinstance(rankings, list) or not all(isinstance(ranking, str) for ranking in rankings):
        raise ValueError(f"{place}: 'ranking' is a text like 'A > B = C', or a list of such")
    try:
        parsed = [parse_ranking(ranking) for ranking in rankings]
        pairs = consistent_pairs(parsed)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    ties = dict.fromkeys(tuple(sorted(pair)) for ranking in parsed for pair in ties_of(ranking))
    if unknown := {name for pair in (*pairs, *ties) for name in pair} - responses.keys():
        raise ValueError(
            f"{place}: ranking of {sorted(unknown)[0]!r}, which is no response ({', '.join(responses)})"
        )
    prompt = _prompt(place, record.get("prompt"))
    for better, worse in pairs:
        yield Pair(prompt, responses[better], responses[worse])
    for one, other in ties:
        if responses[one] != responses[other]:  # of the same text it says nothing
            yield Pair(prompt, responses[one], responses[other], tie=True)


def _prompt(place: str, prompt: Any) -> Conversation:
    if isinstance(prompt, str):
        return (Turn("user", prompt),)
    return turns_of(f"{place}: 'prompt'", prompt)


def _behind(front: Conversation, turns: Conversation) -> Conversation:
    """A conversation of its beginning and what may be its rest, or the whole of it."""
    return turns if turns[: len(front)] == front else front + turns


def _last_turns(place: str, chosen: Conversation, rejected: Conversation, margin: float) -> Pair:
    if not all(side and side[-1].role == "assistant" for side in (chosen, rejected)):
        raise ValueError(f"{place}: a side does not end with a turn of the assistant")
    if chosen[:-1] != rejected[:-1]:
        raise ValueError(f"{place}: the sides differ before their last turn; leave the pair out")
    return Pair(chosen[:-1], chosen[-1].content, rejected[-1].content, margin)


def _hh(place: str, text: str) -> Conversation:
    """A conversation as Anthropic's HH-RLHF writes it (Bai et al. 2022, arXiv 2204.05862)."""
    before, *rest = HH_TURN.split(text)
    if before.strip() or not rest:
        raise ValueError(
            f"{place}: no 'prompt', so the sides are conversations '\\n\\nHuman: … \\n\\nAssistant: …'"
        )
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(Turn(roles[who], said.strip()) for who, said in zip(rest[::2], rest[1::2]))


def _margin(place: str, record: Record) -> float:
    scores = [record.get(f"score_{name}") for name in SIDES]
    found = record.get("margin", 0.0) if None in scores else None
    try:
        return float(scores[0]) - float(scores[1]) if found is None else float(found)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(
            f"{place}: margin {record.get('margin')!r}, scores {scores}; they are numbers"
        ) from None
