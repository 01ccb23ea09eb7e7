"""Post-processing learnt from a model's own frequent mistakes: rules that rewrite its texts.

What a model said on training prompts is aligned with what it should have said. A rule replaces a run of
lexemes where given lexemes stand around it; the one that mends most more places than it breaks comes first,
is applied to all texts, and the next one is learnt from the result: transformation-based learning (Brill
1995, Computational Linguistics 21(4), section 2). Nothing is drawn: the same samples give the same rules.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LEXEMES = re.compile(r"[A-Za-z]+|\d+|\s+|.")
START, END = "", "\0"  # around a text; no lexeme is like them
LONGEST = 4  # lexemes that one rule replaces or puts in
Lexemes = tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """Replaces `wrong` by `right` between `left` and `follows`; None is anything.

    An insertion has no `wrong`. mended, broken: places in the texts it was learnt from, when it was learnt.
    """

    left: str | None
    wrong: Lexemes
    follows: str | None
    right: Lexemes
    mended: int = 0
    broken: int = 0


def learn(texts: Sequence[str], wanted: Sequence[str], least: int = 3, most: int = 60) -> list[Rule]:
    """The rules, in the order in which they are applied.

    Args:
      texts: what the model said.
      wanted: of each what it should have said.
      least: a rule must mend so many places more than it breaks.
      most: rules.

    Raises:
      ValueError: texts that do not pair with what is wanted.
    """
    if len(texts) != len(wanted):
        raise ValueError(f"{len(texts)} texts for {len(wanted)} that are wanted; each text needs one")
    said, goals, rules = [lexemes(text) for text in texts], [lexemes(text) for text in wanted], []
    while len(rules) < most:
        rule = best_rule(said, goals, least)
        if rule is None:
            break
        rules.append(rule)
        said = [apply_rule(rule, one) for one in said]
    return rules


def apply(rules: Sequence[Rule], text: str) -> str:
    """The text after each of the rules, in order."""
    said = lexemes(text)
    for rule in rules:
        said = apply_rule(rule, said)
    return "".join(said)


def lexemes(text: str) -> Lexemes:
    """Words, numbers, runs of spaces and single other characters, which together are the text."""
    return tuple(LEXEMES.findall(text))


def apply_rule(rule: Rule, said: Lexemes) -> Lexemes:
    """The rule at all its places, from left to right; what it wrote is not looked at again."""
    found: list[str] = []
    done = 0
    for place in places(rule, said):
        if place >= done:
            found += [*said[done:place], *rule.right]
            done = place + len(rule.wrong)
    return (*found, *said[done:])


def places(rule: Rule, said: Lexemes) -> Iterator[int]:
    """Where the rule applies: indices of the first lexeme that it replaces, or that it writes in front of."""
    framed, n = (START, *said, END), len(rule.wrong)
    for i in range(len(said) - n + 1):
        if (
            said[i : i + n] == rule.wrong
            and rule.left in (None, framed[i])
            and rule.follows in (None, framed[i + n + 1])
        ):
            yield i


def best_rule(said: Sequence[Lexemes], goals: Sequence[Lexemes], least: int) -> Rule | None:
    """The rule that mends most more places than it breaks, if these are `least`; of equals the more special
    one, then the first by its letters.

    Args:
      said: texts as lexemes.
      goals: what they should be.
      least: places.
    """
    mended: Counter[Rule] = Counter()
    for one, goal in zip(said, goals):
        mended.update(edits(one, goal))
    best, best_key = None, (least - 1, 0, "")
    for rule, n_mended in mended.most_common():
        if n_mended <= best_key[0] - 1:
            break  # the others mend fewer places than the best one is ahead by
        n_broken = sum(1 for one in said for _ in places(rule, one)) - n_mended
        special = (rule.left is not None) + (rule.follows is not None)
        key = (n_mended - n_broken, special, repr(rule))
        if key[0] >= least and (best is None or key > best_key):
            best, best_key = (rule, n_mended, n_broken), key
    if best is None:
        return None
    rule, n_mended, n_broken = best
    return Rule(rule.left, rule.wrong, rule.follows, rule.right, n_mended, n_broken)


def edits(said: Lexemes, goal: Lexemes) -> Iterator[Rule]:
    """The rules that would each mend one place of a text: what an alignment replaces, leaves out or puts in,
    in every combination of contexts; an insertion needs one on either side."""
    framed = (START, *said, END)
    for kind, i, end, j, goal_end in difflib.SequenceMatcher(None, said, goal, autojunk=False).get_opcodes():
        if kind == "equal" or max(end - i, goal_end - j) > LONGEST:
            continue
        for left in (framed[i], None):
            for follows in (framed[end + 1], None):
                if end > i or (left is not None and follows is not None):
                    yield Rule(left, said[i:end], follows, goal[j:goal_end])
