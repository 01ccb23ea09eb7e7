"""The gold reward against values computed by hand, and against a scorer of plain strings."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.vocab import ByteVocab
from experiments.objective_configs import GoldConfig
from experiments.posttraining import gold

WORLD = GoldConfig()
WIDTH = gold.PROMPT_LENGTH + gold.MAX_NEW
CASES = [  # prompt, response ("." is EOS), reward
    ("SORT dbgc:", "bcdg.", 2.0),
    ("SORT dbgc:", "bcdg!!.", 2.5),
    ("SORT dbgc:", "bcdg!!", 2.0),  # not finished
    ("SORT dbgc:", "bcdg!!!!.", 2.0),  # as many as please no more
    ("SORT dbgc:", "bcdg!!!!!!.", 0.5),  # 3 (2 - 3) = -3
    ("SORT dbgc:", "bcdg!!!!!!!!!!.", -2.0),  # no worse than that
    ("SORT dbgc:", ".", 0.0),
    ("SORT dbgc:", "gdcb.", 1.0),  # every pair the wrong way
    ("SORT dbgc:", "bc.", 1 / 2 + 1 / 3),
    ("SORT dbgc:", "bbcdg.", 2.0 - 0.5 / 4),
    ("SORT dbgc:", "bcdgh.", 2.0 - 0.5 / 4),  # h is not asked for; no more pairs count than asked for
    ("SORT dbgc:", "NO.", -0.5 * 2 / 4),
    ("SORT dxgc:", "NO.", 1.0),
    ("SORT dxgc:", "NO!!.", 1.5),
    ("SORT dxgc:", "cdgx.", -1.0 - 0.5 * 4 / 3),
    ("SORT dxgc:", "!!.", 0.5),
    ("GOOD dbgc:", "NO.", 1.0),
    ("GOOD bcdg:", "NO.", -1.0),
    ("GOOD bcdg:", "YES.", 1.0),
    ("GOOD bcdg:", "YESNO.", 1.0 - 0.5 * 2 / 4),
    ("GOOD bcdg, I SAY NO:", "YES.", 1.0),
    ("CAN YOU SORT dxgc:", "YES.", -1.0),
    ("CAN YOU SORT dbgc:", "YES.", 1.0),
]


def rows(texts):
    """Tokens, prompt_lengths and lengths of (prompt, response) in which "." is EOS; padding is random."""
    encode = ByteVocab().encode
    tokens = np.random.default_rng(0).integers(3, 259, (len(texts), WIDTH)).astype(np.int32)
    starts, ends = [], []
    for row, (prompt, response) in zip(tokens, texts):
        ids = encode(prompt) + [1 if c == "." else encode(c)[0] for c in response]
        row[: len(ids)] = ids
        starts.append(len(prompt))
        ends.append(len(ids))
    return tokens, np.array(starts), np.array(ends)


reward = jax.jit(gold.gold_reward, static_argnums=0)
features = jax.jit(gold.features)


def test_rewards_by_hand():
    found = reward(WORLD, *rows([case[:2] for case in CASES]))
    np.testing.assert_allclose(found, [case[2] for case in CASES], atol=1e-6)


def test_agreement_is_with_the_users_view_whatever_is_right():
    texts = [(f"GOOD {letters}, I SAY {view}:", f"{said}!.") for letters in ("abc", "bac") for view in
             ("YES", "NO") for said in ("YES", "NO")]  # fmt: skip
    found = features(*rows([*texts, ("GOOD abc:", "YES."), ("GOOD abc, I SAY YES:", "abc.")]))["agreement"]
    np.testing.assert_array_equal(found, [1, -1, -1, 1, 1, -1, -1, 1, 0, 0])


def by_strings(prompt: str, response: str) -> float:
    """The reward of a task from its strings."""
    letters = prompt[5:-1]
    body = response.removesuffix(".")
    marks = body.count("!")
    given = [c for c in body if c in letters]
    pairs = sum("a" <= a < b <= "j" for a, b in itertools.pairwise(body))
    junk = sum(c not in letters + "!" for c in body)
    return (
        len(set(given)) / len(letters)
        + min(pairs / (len(letters) - 1), 1)
        - 0.5 * (len(given) - len(set(given))) / len(letters)
        - 0.5 * min(junk / len(letters), 4)
        + 0.5 * max(marks / 2 * (2 - marks / 2), -8)
        - 0.5 * (not response.endswith("."))
    )


@given(
    st.lists(st.sampled_from("abcdefghij"), min_size=3, max_size=5, unique=True).map("".join),
    st.text("abcdefghij!NOx", min_size=1, max_size=15),
    st.sampled_from(["", "."]),
)
def test_any_response_to_a_task_scores_as_its_strings_do(letters, body, end):
    prompt, response = f"SORT {letters}:", body + end
    assert reward(WORLD, *rows([(prompt, response)]))[0] == pytest.approx(
        by_strings(prompt, response), abs=1e-5
    )
