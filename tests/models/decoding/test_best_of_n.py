"""Which of several samples is chosen, ties included."""

import pytest

from models.decoding.best_of_n import best, likeliest, likeliest_per_token, majority
from models.decoding.sample import Sample


def sampled(*logprobs: float) -> Sample:
    return Sample((0,) * len(logprobs), logprobs, "length")


def test_by_log_probability_with_and_without_length():
    short, long, unlikely = sampled(-1.0), sampled(-0.6, -0.6), sampled(-5.0)
    assert likeliest([unlikely, long, short]) == 2
    assert likeliest_per_token([unlikely, short, long]) == 2
    assert likeliest([short, short]) == 0


def test_by_a_reward():
    assert best(["a", "abc", "xyz"], len) == 1
    with pytest.raises(ValueError, match="no samples"):
        best([], len)


@pytest.mark.parametrize(
    "answers, chosen",
    [
        (["4", "7", "7"], 1),
        (["4", "7", "7", "4"], 0),  # a tie goes to what came first
        ([None, None, "3"], 2),  # no vote for no answer
        (["1", "2", "3"], 0),
        ([None, None], 0),
    ],
)
def test_by_majority(answers, chosen):
    assert majority(answers, lambda answer: answer) == chosen


def test_a_vote_needs_voters():
    with pytest.raises(ValueError, match="no samples"):
        majority([], str)
