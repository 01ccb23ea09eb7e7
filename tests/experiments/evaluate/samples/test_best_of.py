"""The best of n: by hand, for each way to choose."""

import math

import pytest

from experiments.evaluate.samples.best_of import best_of, said, scores_by
from models.decoding.sample import Sample


def sample(text: str, *logprobs: float, finish: str = "eos") -> Sample:
    return Sample(tuple(range(len(logprobs))), logprobs, finish, text=text)  # type: ignore[arg-type]


SAMPLES = [
    sample("four", -1.0, -1.0, -1.0),
    sample("five", -2.0),
    sample(" Five. ", -3.0, -0.5),
    sample("five", -4.0, -0.1, -0.1, -0.1),
    sample("five", -0.2, -0.2, finish="length"),
]


@pytest.mark.parametrize(
    ("by", "scores", "chosen"),
    [
        ("logprob", [-3.0, -2.0, -3.5, -4.3, -0.4], 4),
        ("logprob_per_token", [-1.0, -2.0, -1.75, -1.075, -0.2], 4),
        ("vote", [1, 2, 1, 2, 0], 1),  # letters stay large or small, and one cut off has no vote
    ],
)
def test_scores_and_the_first_of_the_best(by, scores, chosen):
    one, about = best_of("2 + 3?", SAMPLES, by, scores_by(by))
    assert about["scores"] == pytest.approx(scores) and about["chosen"] == chosen and one is SAMPLES[chosen]
    assert said(about).startswith(f"sample {chosen + 1} is the best of 5 by {by}: ")


def test_a_reward_is_a_function_of_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def short(prompt, text): return len(prompt) - len(text)\nnot_one = 3\n")
    _, about = best_of("12345", SAMPLES, "mine", scores_by(f"{file}:short"))
    assert about["scores"] == [1, 1, -2, 1, 1] and about["chosen"] == 0
    for name in ("not_one", "nothing"):
        with pytest.raises(ValueError, match=f"has no function '{name}'; it is reward"):
            scores_by(f"{file}:{name}")
    file.write_text("1 / 0")
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        scores_by(f"{file}:short")


def test_an_empty_text_has_a_mean_too():
    assert not any(map(math.isnan, scores_by("logprob_per_token")("", [sample("")])))
