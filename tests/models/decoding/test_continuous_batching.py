"""Rows in places: when each ends, what it goes on from, who comes next, and what is prefilled together."""

import dataclasses

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from models.decoding import continuous_batching, sampling_loop
from models.decoding.continuous_batching import Continuation, ContinuousBatch, Limits
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from models.decoding.stop import DecodedText, StopCriteria
from tests.models.decoding.test_sample import BIGRAM, EOS, GREEDY, compiles

PLAIN = Limits(max_tokens=9, eos_id=EOS, context=None, stop=StopCriteria())


@given(st.integers(1, 40), st.none() | st.integers(2, 20), st.integers(1, 60))
def test_a_row_takes_all_its_tokens_and_never_sees_more_than_its_context(n_prompt, context, max_tokens):
    limits, row = Limits(max_tokens, -1, context, StopCriteria()), Continuation(range(n_prompt), 0, 0, 0)
    while not row.finish:
        row.view = len(limits.in_context(row))  # as `ContinuousBatch` gives it a place
        room = limits.room(row)
        assert 1 <= room <= limits.left(row) == max_tokens - len(row.tokens)
        for _ in range(room):
            limits.take(row, 1000 + len(row.tokens))
            assert context is None or row.view <= context
        assert limits.room(row) == 0
    assert row.tokens == list(range(1000, 1000 + max_tokens)) and row.finish == "length"


def test_a_full_view_is_cut_to_the_last_half_of_the_context():
    limits = Limits(9, EOS, 6, StopCriteria())
    assert limits.in_context(Continuation([1, 2], 0, 0, 0, tokens=[3, 4, 5])) == [1, 2, 3, 4, 5]
    assert limits.in_context(Continuation([1, 2], 0, 0, 0, tokens=[3, 4, 5, 6])) == [4, 5, 6]
    assert PLAIN.in_context(Continuation([1] * 90, 0, 0, 0, tokens=[7])) == [1] * 90 + [7]


def test_of_several_ends_at_one_token_the_first_named_counts():
    """EOS, then stop tokens, then stop strings, then the length; an ended row takes nothing more."""
    letters = [b"a", b"b", b"c"]

    def ended(token: int, max_tokens: int = 1, eos: int = 0) -> tuple:
        limits = Limits(max_tokens, eos, None, StopCriteria(strings=("c", "b"), tokens=(1,)))
        row = Continuation([0], 0, 0, 0, text=DecodedText(letters, limits.stop.strings))
        limits.take(row, token)
        return row.finish, row.stop, str(row.text), limits.left(row)

    assert ended(1, eos=1) == ("eos", None, "", 0)
    assert ended(1) == ("stop", 1, "", 0)
    assert ended(2) == ("stop", "c", "", 0)
    assert ended(0, eos=-1) == ("length", None, "a", 0)
    assert ended(0, eos=-1, max_tokens=5) == (None, None, "a", 4)


def batch(rows, limits, width=64, model=BIGRAM, every=None, watch=None) -> ContinuousBatch:
    # 0 is followed by 2, 2 by 3, 3 by 0; EOS repeats.
    table_VV = jnp.full((4, 4), -50.0).at[jnp.asarray([0, 1, 2, 3]), jnp.asarray([2, 1, 3, 0])].set(0.0)
    return ContinuousBatch(
        model, table_VV, rows, GREEDY, limits, width=width, n_top=0, every=every, watch=watch
    )


def prefilled(prompts, n: int = 1, **how) -> list[tuple[int, int]]:
    """Shapes [P,T] of the texts that are prefilled together, as far as they differ."""
    shapes = []

    def recording(table_VV, tokens_BT, lengths_B, max_len):
        shapes.append(tokens_BT.shape)
        return BIGRAM.prefill(table_VV, tokens_BT, lengths_B, max_len)

    rows = [Continuation(prompt, i, 0, j) for i, prompt in enumerate(prompts) for j in range(n)]
    made = batch(rows, PLAIN, model=dataclasses.replace(BIGRAM, prefill=recording), **how)
    shapes.clear()  # what it takes to make room
    made.run()
    assert all(row.tokens == [[2, 3, 0][i % 3] for i in range(9)] for row in rows)
    return shapes


def test_rows_of_one_prompt_are_prefilled_once():
    assert prefilled([[0]], n=8) == [(1, 16)]
    assert prefilled([[0], [2, 0]], n=3, width=8) == [(2, 16)]


def test_a_prefill_has_a_bounded_number_of_tokens(monkeypatch):
    """A text that has more is alone in its prefill."""
    monkeypatch.setattr(continuous_batching, "PREFILL_TOKENS", 64)
    lengths = np.random.default_rng(0).integers(1, 33, 40)
    lengths[17], lengths[20:36] = 100, 3  # those would be more with their padding only
    shapes = prefilled([[1] * (n - 1) + [0] for n in lengths], width=16)
    assert all(p * t <= 64 or (p, t) == (1, 128) for p, t in shapes)
    assert (1, 128) in shapes and (4, 16) in shapes


@pytest.mark.parametrize("every", [1, 4, None])
def test_the_pieces_of_a_row_make_up_its_text(every):
    """However often someone looks, and though rows wait for places and come back to them."""
    letters = [b"\xe2\x82", b"", b"\xac", b"n"]  # 0 and 2 together are a character
    limits, shown = Limits(20, EOS, 6, StopCriteria(strings=("n€n!",))), [""] * 3
    texts = [DecodedText(letters, limits.stop.strings) for _ in shown]
    rows = [Continuation(prompt, i, 0, 0, text=texts[i]) for i, prompt in enumerate(([3], [0, 2], [0]))]

    def watch(row: Continuation, text: str) -> None:
        assert text
        shown[row.source] += text

    batch(rows, limits, width=2, every=every, watch=watch).run()
    # The last one begins with 2, half of a character whose beginning is in the prompt.
    assert shown == [str(text) for text in texts] == ["€n" * 6 + "€", "n" + "€n" * 6, "n" + "€n" * 6]


def test_a_narrow_view_changes_no_draw_of_a_model_that_needs_no_more():
    table_VV = jax.random.normal(jax.random.key(0), (4, 4))
    request = {
        "prompts": [[0], [2, 3]],
        "seeds": [3, 4],
        "settings": SamplingSettings(),
        "n": 5,
        "max_tokens": 30,
    }
    wide = sample(BIGRAM, table_VV, **request, eos_id=EOS)
    assert sample(BIGRAM, table_VV, **request, eos_id=EOS, context=6) == wide


def test_admitting_compiles_few_programs():
    table_VV, before = jnp.zeros((4, 4)).at[:, EOS].set(1.0), compiles()
    prompts = [[2] * (1 + i % 30) for i in range(200)]
    sample(BIGRAM, table_VV, prompts, range(200), SamplingSettings(), max_tokens=50, eos_id=EOS, width=16)
    prefills, admissions, loops = np.subtract(compiles(), before)
    assert loops == 1
    assert prefills <= 10  # up to 1, 2, 4, 8 or 16 texts, of up to 16 or 32 tokens
    assert admissions <= 15  # of so many rows, from so many texts


def test_a_place_is_taken_as_soon_as_it_is_free(monkeypatch):
    """One long row and nine short ones, in two places: the short ones pass beside the long one."""
    # 2 is followed by 2, and 3 by EOS.
    table_VV = jnp.full((4, 4), -50.0).at[jnp.asarray([0, 1, 2, 3]), jnp.asarray([0, 1, 2, EOS])].set(0.0)
    steps, advance = [], sampling_loop.advance

    def counted(*arguments):
        pool, drawn = advance(*arguments)
        steps.append(int(drawn["lengths"].max()))
        return pool, drawn

    monkeypatch.setattr(sampling_loop, "advance", counted)
    prompts = [[2], *[[3]] * 9]
    groups = sample(BIGRAM, table_VV, prompts, [0] * 10, GREEDY, max_tokens=60, eos_id=EOS, width=2)
    assert [group[0].tokens for group in groups] == [(2,) * 60, *[(EOS,)] * 9]
    assert sum(steps) == 60  # none is a step of the short ones alone
