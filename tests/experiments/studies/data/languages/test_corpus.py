"""Ways to sample languages, what runs read of each, and which languages are related."""

import math

import numpy as np
import pytest

from experiments.data.composition.web_languages import LANGUAGES
from experiments.data_configs import MixtureConfig
from experiments.fields import Numbers
from experiments.studies.data.languages import corpus
from tests.mixed_run import mixed_config


def test_a_language_is_as_scarce_as_on_the_web_but_where_there_is_enough():
    ways = corpus.samplings(("en", "is"), (1.0, 0.5), 4.0, 1_000_000)
    assert list(ways) == ["α = 1", "α = 0.5", "UniMax", "enough"]
    for name in ("α = 1", "α = 0.5", "UniMax"):
        assert ways[name].unique_tokens["is"] == round(1e6 * (LANGUAGES["is"].share or 0))
    assert [way.temperature for way in ways.values()] == [1, 2, 1, 1]
    assert not ways["enough"].unique_tokens and len(set(ways["enough"].weights.values())) == 1


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_a_run_reads_of_each_language_what_its_sampling_says(alpha):
    """Of 2560 tokens in rows of 8, by 4^alpha to 1 and within a row; 64 of the second are there."""
    capped = MixtureConfig(temperature=1 / alpha, unique_tokens=Numbers(b=64.0))
    read = corpus.amounts(mixed_config("", capped), {"a": 256, "b": 1000})
    ratio = 4**alpha
    assert sum(n for n, _ in read.values()) == 2560
    assert read["a"][0] == pytest.approx(2560 * ratio / (1 + ratio), abs=8)
    n, worth = read["b"]
    assert worth == pytest.approx(64 * (1 + 15.4 * (1 - math.exp(-(n / 64 - 1) / 15.4))))


def test_a_language_that_is_not_read_counts_one_token():
    none = MixtureConfig(weights=Numbers(a=1.0))
    assert corpus.amounts(mixed_config("", none), {"a": 256, "b": 1000})["b"] == (0, 1.0)


def test_repeats_are_worth_less_and_less():
    assert corpus.worth(50, 100) == 50 and corpus.worth(0, 100) == 0
    worth = np.array([corpus.worth(100 * epochs, 100) for epochs in (1, 2, 4, 40, 1e6)])
    assert worth[0] == 100 and (np.diff(worth) > 0).all()
    assert worth[1] > 195 and worth[-1] == pytest.approx(100 * 16.4)


def test_languages_of_one_branch_are_related():
    assert corpus.kinship("es", "pt") == "related, same script"
    assert corpus.kinship("cs", "ru") == corpus.kinship("ru", "cs") == "related, other script"
    assert corpus.kinship("fi", "sv") == "unrelated"
    assert all(corpus.web_share(code) > 0 for code in corpus.KIN)


def test_a_file_that_is_missing_is_one_line_that_says_what_to_do(tmp_path):
    there = tmp_path / "text.jsonl"
    there.write_text("")
    with pytest.raises(
        ValueError, match=r"Settings\.parallel: .*set ISOFLOP_PUBLIC_DATA to .* --set text=FILE"
    ):
        corpus.check_files(str(there), str(tmp_path / "none.jsonl"))
