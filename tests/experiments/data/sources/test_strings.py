"""Random strings: copied or reversed exactly, in rows of one width, each symbol as often as another."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.sources import strings
from experiments.data.sources.strings import BLANK, START
from experiments.data_configs import StringsConfig


@pytest.mark.parametrize("task", ["reverse", "copy"])
def test_strings_are_copied_or_reversed_exactly(task):
    config = StringsConfig(task, n_symbols=5, max_length=6)
    width = strings.width(config)
    rng = random.Random(0)
    for n in (1, 4, 6, 2):
        source = strings.draw(rng, n, 5)
        row = strings.row(source, config)
        assert len(source) == n and set(source) <= set("abcde") and len(row) == 2 * width
        target = source[::-1] if task == "reverse" else source
        assert row[:width] == BLANK * (width - n) + source
        assert row[width:] == START + target + BLANK * (width - 1 - n)
    counts = Counter(strings.draw(random.Random(1), 3000, 5))
    assert all(abs(counts[symbol] - 600) < 100 for symbol in "abcde")  # four standard deviations


@settings(max_examples=20)
@given(st.integers(0, 7), st.integers(0, 2**31))
def test_a_seed_draws_one_string_whatever_the_length(length, seed):
    """An empty string is one, too; the shorter string is the beginning of the longer one."""
    drawn = strings.draw(random.Random(seed), length, 9)
    assert strings.draw(random.Random(seed), 7, 9)[:length] == drawn and len(drawn) == length
    mirrored = strings.target_of(drawn, StringsConfig("reverse"))
    assert mirrored[::-1] == strings.target_of(drawn, StringsConfig("copy")) == drawn


def test_a_corpus_is_whole_rows_once_documents_end_with_a_token(monkeypatch):
    """Whatever the task, the sources are the same; rows begin with a blank, so each may follow any."""
    monkeypatch.setattr(strings, "N_ROWS", 40 * strings.ROWS_PER_DOCUMENT)
    configs = [StringsConfig(task, n_symbols=3, max_length=4) for task in ("reverse", "copy")]
    size = 2 * strings.width(configs[0])
    sources = []
    for config in configs:
        texts = [document.decode() + "\n" for document in strings.documents(config)]
        assert len(texts) == 40 and {len(text) for text in texts} == {size * strings.ROWS_PER_DOCUMENT}
        rows = [text[i : i + size].replace("\n", BLANK) for text in texts for i in range(0, len(text), size)]
        sources.append([row[: size // 2].strip() for row in rows])
        assert rows == [strings.row(source, config) for source in sources[-1]]
        assert all(row[0] == row[-1] == BLANK for row in rows)
    assert sources[0] == sources[1]
    lengths = Counter(map(len, sources[0]))
    assert set(lengths) == {1, 2, 3, 4} and all(abs(n - 640) < 100 for n in lengths.values())


@pytest.mark.parametrize(
    ("wrong", "message"), [({"n_symbols": 27}, "1 to 26 letters"), ({"max_length": 0}, "at least 1")]
)
def test_strings_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        StringsConfig(**wrong)
