"""Rows in places: when each ends, what it goes on from, who comes next, and what is prefilled together."""

import contextlib
import dataclasses

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import models
from models import ladder
from models.decoding import continuous_batching, prefill, sampling_loop
from models.decoding.continuous_batching import Continuation, ContinuousBatch, Limits
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings, per_row
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


def batch(rows, limits, width=64, model=BIGRAM, every=None, watch=None, **more) -> ContinuousBatch:
    # 0 is followed by 2, 2 by 3, 3 by 0; EOS repeats.
    table_VV = jnp.full((4, 4), -50.0).at[jnp.asarray([0, 1, 2, 3]), jnp.asarray([2, 1, 3, 0])].set(0.0)
    return ContinuousBatch(
        model, table_VV, rows, GREEDY, limits, width=width, n_top=0, every=every, watch=watch, **more
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


def test_prompts_that_begin_alike_are_read_once_as_far_as_they_do(monkeypatch):
    read = []

    def recorded(model, params, tokens_PT, lengths_P, max_len):
        read.append((tokens_PT.shape, lengths_P.tolist()))
        return prefilled(model, params, tokens_PT, lengths_P, max_len)

    prefilled = prefill.prefill_padded
    monkeypatch.setattr(recorded, "eval_shape", prefilled.eval_shape, raising=False)
    for module in (prefill, continuous_batching):
        monkeypatch.setattr(module, "prefill_padded", recorded)

    def said(prompts, share_prefix: bool) -> list[list[int]]:
        rows = [Continuation(prompt, i, 0, 0) for i, prompt in enumerate(prompts)]
        batch(rows, PLAIN, share_prefix=share_prefix).run()
        return [row.tokens for row in rows]

    alike, apart = [[0, 2, 3, 0, 2], [0, 2, 3, 0], [0, 2, 3, 3, 0, 3]], [[0, 2, 3], [2, 2, 3]]
    assert said(alike, True) == said(alike, False)
    assert read == [((1, 16), [3]), ((4, 16), [5, 4, 6, 1])]
    assert said(apart, True) == said(apart, False) and len(set(map(str, read[2:]))) == 1


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


RAGGED = [[5], [7, 8, 9, 10, 11], [3, 4], list(range(2, 19))]
OWN = [
    SamplingSettings(),
    SamplingSettings(temperature=0.7, top_p=0.9, presence_penalty=0.5),
    SamplingSettings(temperature=0.0),
    SamplingSettings(top_k=5, min_p=0.02, logit_bias=((9, 2.0),), repetition_penalty=1.3),
]


class Even:
    """A constraint: even tokens alone."""

    def __init__(self):
        self.taken = []

    def allowed(self, masks: np.ndarray, row: int) -> None:
        masks[row] = 0x55555555
        if len(self.taken) == 6:
            raise ValueError("it has gone far enough")

    def take(self, token: int) -> None:
        self.taken.append(token)


def test_rows_that_come_later_say_what_they_would_alone():
    """To the last bit, each with its settings, its end and its seed, whatever came before or comes after."""
    model = models.build(ladder(16, 61))
    params = jax.jit(model.init)(jax.random.key(0))

    def row(i: int, progress=None) -> Continuation:
        limits = Limits(6 + 9 * i, 60, None, StopCriteria(tokens=(20 + i, 30, 31, 32, 33)))
        return Continuation(RAGGED[i], i, 30 + i, 0, limits=limits, settings=OWN[i], progress=progress)

    def opened() -> ContinuousBatch:
        limits, shape = Limits(64, 60, None, StopCriteria()), continuous_batching.shape_within(64, 3)
        return ContinuousBatch(
            model, params, [], None, limits, shape=shape, n_top=0, every=3, watch=None
        )  # fmt: skip

    together, batch = [row(i) for i in range(4)], opened()
    constrained = row(2, Even())
    gone = Continuation([2], 9, 1, 0, limits=Limits(60, -1, None, StopCriteria()))
    assert batch.step() == []
    for arriving in (together[3], gone, together[1], constrained, together[0], together[2]):
        batch.add([arriving])
        with contextlib.suppress(continuous_batching.ConstraintFailed):
            batch.step()
    batch.remove([gone])
    failed = []
    for _ in range(100):
        try:
            if not batch.step():
                break
        except continuous_batching.ConstraintFailed as error:
            assert str(error) == "it has gone far enough"
            failed.append(error.row)
            batch.remove([error.row])
    assert failed == [constrained] and gone.finish is None
    assert constrained.tokens == constrained.progress.taken and len(constrained.tokens) == 6
    assert not any(token % 2 for token in constrained.tokens)
    assert {one.finish for one in together} == {"length", "stop"}
    for i, one in enumerate(together):
        alone, batch = row(i), opened()
        batch.add([alone])
        batch.run()
        assert (alone.tokens, alone.finish, alone.stop) == (one.tokens, one.finish, one.stop)
        assert alone.drawn == one.drawn
    # `sample` says so, too.
    limits = together[3].limits
    asked = {"max_tokens": limits.max_tokens, "eos_id": 60, "stop": limits.stop}
    [[plain]] = sample(model, params, RAGGED[3:], [33], OWN[3], **asked)
    assert (plain.tokens, plain.finish) == (tuple(together[3].tokens), together[3].finish)
    drawn = together[3].drawn["sampling_logprobs"]
    np.testing.assert_allclose(plain.sampling_logprobs, drawn, atol=1e-4)


def test_a_row_that_may_draw_no_token_is_an_error_and_so_is_a_model_without_numbers():
    """Only tokens 2 and 3 are allowed, and no pair of tokens twice: 2 2 3 3 2 and no further."""
    only = SamplingSettings(logit_bias=((0, -np.inf), (1, -np.inf)))
    pairs_once = dataclasses.replace(only, no_repeat_ngram_size=2)
    table = np.zeros((4, 4), np.float32)
    [[whole]] = sample(BIGRAM, table, [[2]], [0], only, max_tokens=9, eos_id=-1)
    assert set(whole.tokens) <= {2, 3}
    with pytest.raises(
        ValueError, match=r"sample 0 of prompt 0, after [3-5] tokens: every token is banned; relax"
    ):
        sample(BIGRAM, table, [[2]], [0], pairs_once, max_tokens=9, eos_id=-1)
    with pytest.raises(ValueError, match="after 0 tokens: the model's logits are not numbers"):
        sample(BIGRAM, table * np.nan, [[2]], [0], GREEDY, max_tokens=9, eos_id=-1)


def test_settings_that_rows_must_share_are_refused_where_they_differ():
    with pytest.raises(ValueError, match="min_new_tokens is 0 and 3 in one batch"):
        per_row([SamplingSettings(), SamplingSettings(min_new_tokens=3)], 4)
