"""Whether a checkpoint says the same when it is asked the same: agreement, entropy, flips, order of choices.

Answers are compared as exact strings after `normalised`, so paraphrases of an answer count as others.
"""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from experiments.evaluate.trust.diversity import sample_entropy


def normalised(answer: str) -> str:
    """Unicode NFC, white space as single spaces and none at the ends, one sign of an end of sentence (. ! ?)
    there left out; letters stay large or small."""
    answer = " ".join(unicodedata.normalize("NFC", answer).split())
    return re.sub(r"\s*[.!?]$", "", answer)


def agreement(answers: Sequence[str]) -> float:
    """How likely two answers to one question are equal: the share of pairs that are, unbiased for the sum of
    squared probabilities.

    Raises:
      ValueError: fewer than two answers.
    """
    n = len(answers)
    if n < 2:
        raise ValueError(f"{n} answer(s); agreement is of 2 or more: ask more often (--k)")
    return sum(count * (count - 1) for count in Counter(answers).values()) / (n * (n - 1))


def agreement_between(some: Sequence[str], others: Sequence[str]) -> float:
    """How likely an answer to one question equals an answer to another: the share of pairs, unbiased.

    Raises:
      ValueError: no answer to one of them.
    """
    if not some or not others:
        raise ValueError(f"{len(some)} and {len(others)} answers; give one to each at least")
    counts = Counter(others)
    return sum(n * counts[answer] for answer, n in Counter(some).items()) / (len(some) * len(others))


def paraphrase_agreement(wordings: Sequence[Sequence[str]]) -> float:
    """How likely answers to two wordings of a question are equal: mean of `agreement_between` over pairs of
    wordings. To be held against the mean `agreement` within them, below which it is in expectation unless
    all wordings have the same distribution of answers.

    Args:
      wordings: the answers to each.

    Raises:
      ValueError: one wording, or one without answers.
    """
    pairs = list(itertools.combinations(wordings, 2))
    if not pairs:
        raise ValueError(f"{len(wordings)} wording(s); give a paraphrase at least")
    return sum(agreement_between(*pair) for pair in pairs) / len(pairs)


def modal(answers: Sequence[str]) -> str:
    """The answer given most often; of several the one given first."""
    return Counter(answers).most_common(1)[0][0]


def modal_share(answers: Sequence[str]) -> float:
    """Share of the commonest answer; of few answers too large, as the commonest is chosen among them."""
    return Counter(answers)[modal(answers)] / len(answers)


def answer_entropy(answers: Sequence[str]) -> float:
    """Entropy of answers in nats, with Miller and Madow's correction: of k answers it cannot be above
    log k + 1/2, and where answers hardly repeat it is too small."""
    return sample_entropy([(answer,) for answer in answers])


def flips(answers: Sequence[str], reference: str) -> float:
    """Share of answers other than the reference, such as the greedy answer to the question as it was."""
    return sum(answer != reference for answer in answers) / len(answers)


def order_effects(chosen: Mapping[tuple[str, ...], str]) -> dict[str, float]:
    """What the order in which choices are listed does to the choice.

    {"agreement": how likely two orders get the same choice; "first": share of orders whose first choice was
    chosen; "bias": total variation distance of the chosen positions from even ones, 0 to 1}. Of rotations
    (`perturbations.rotations`) who chooses by content alone has agreement 1, first 1/n and bias 0.

    Args:
      chosen: for each order, the choice.

    Raises:
      ValueError: fewer than two orders, or a choice that is not there.
    """
    if len(chosen) < 2:
        raise ValueError(f"{len(chosen)} order(s) of choices; order has an effect between 2 or more")
    if missing := [choice for order, choice in chosen.items() if choice not in order]:
        raise ValueError(f"{missing[0]!r} was chosen and is none of the choices")
    positions = Counter(order.index(choice) for order, choice in chosen.items())
    n, n_choices = len(chosen), len(next(iter(chosen)))
    bias = sum(abs(positions[i] / n - 1 / n_choices) for i in range(n_choices)) / 2
    return {"agreement": agreement(list(chosen.values())), "first": positions[0] / n, "bias": bias}
