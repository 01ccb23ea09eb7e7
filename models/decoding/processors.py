"""From logits to the distribution that is sampled: pure functions [B,V] -> [B,V], removed tokens become -inf.

Numbers may be traced, so changing one does not recompile. Each has a value at which it changes nothing
(`settings.SamplingSettings` has them as defaults), and costs next to nothing there. Most may also be columns
[B,1], one number a row (`settings.per_row`). `keep` is how many of a row's most likely tokens a processor
leaves whatever its rule says.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from models.decoding.history import History

Number = jax.Array | float


def process(logits_BV: jax.Array, history: History, settings: dict[str, Any], eos_ids: Any = -1) -> jax.Array:
    """All processors in the order of Hugging Face's `generate`; `settings` are `SamplingSettings.arrays`.

    Presence and frequency penalties, which that does not have, stand beside the repetition penalty.

    Args:
      logits_BV: float32, the model's own.
      history: what the rows have said so far.
      settings: traced numbers, of `SamplingSettings.arrays`.
      eos_ids: what `min_new_tokens` bans: one token or several; -1 is none.
    """
    s, keep = settings, settings["min_tokens_to_keep"]

    def all_of_them(x_BV: jax.Array) -> jax.Array:
        seen_BV = history.prompt_BV | (history.counts_BV > 0)
        x_BV = logit_bias(x_BV, s["logit_bias"])
        x_BV = sequence_bias(x_BV, history.text_BT, history.lengths_B, s["sequences"], s["sequence_bias"])
        x_BV = repetition_penalty(x_BV, seen_BV, s["repetition_penalty"])
        x_BV = count_penalties(x_BV, history.counts_BV, s["presence_penalty"], s["frequency_penalty"])
        x_BV = no_repeat_ngram(x_BV, history.text_BT, history.lengths_B, s["no_repeat_ngram_size"])
        x_BV = min_new_tokens(x_BV, history.new_B, s["min_new_tokens"], eos_ids)
        x_BV = temperature(x_BV, s["temperature"])
        x_BV = top_k(x_BV, s["top_k"], keep)
        x_BV = top_p(x_BV, s["top_p"], keep)
        x_BV = min_p(x_BV, s["min_p"], keep)
        x_BV = typical(x_BV, s["typical_p"], keep)
        x_BV = epsilon(x_BV, s["epsilon_cutoff"], keep)
        return eta(x_BV, s["eta_cutoff"], keep)

    at_one = [s[name] != 1 for name in ("repetition_penalty", "temperature", "top_p", "typical_p")]
    at_zero = ("presence_penalty", "frequency_penalty", "no_repeat_ngram_size", "min_new_tokens", "top_k")
    at_zero += ("min_p", "epsilon_cutoff", "eta_cutoff")
    used = at_one + [s[name] != 0 for name in (*at_zero, "logit_bias", "sequence_bias")]
    return when(jnp.any(jnp.stack([jnp.any(each) for each in used])), all_of_them, logits_BV)


def when(used: Any, processor: Callable[[jax.Array], jax.Array], logits_BV: jax.Array) -> jax.Array:
    """`processor(logits)` in rows where `used`, bool [] or [B,1], holds; computed only if it does in one."""
    return jax.lax.cond(
        jnp.any(used), lambda x_BV: jnp.where(used, processor(x_BV), x_BV), lambda x_BV: x_BV, logits_BV
    )


def only_allowed(logits_BV: jax.Array, masks_BW: jax.Array) -> jax.Array:
    """Removes tokens whose bit is 0: bit i % 32 of int32 word i // 32 is token i's (`constraints.masks`)."""
    words_BW1 = jax.lax.bitcast_convert_type(masks_BW, jnp.uint32)[..., None]
    bits_BV = (words_BW1 >> jnp.arange(32, dtype=jnp.uint32) & 1).reshape(len(masks_BW), -1)
    return jnp.where(bits_BV[:, : logits_BV.shape[1]] == 1, logits_BV, -jnp.inf)


def process_allowed(
    masked_BV: jax.Array, history: History, settings: dict[str, Any], eos_ids: Any
) -> jax.Array:
    """`process` of what `only_allowed` left; where it would leave nothing, a row is passed on as it is.

    Args:
      masked_BV: float32, the logits of allowed tokens.
      history, settings, eos_ids: as `process` takes them.
    """
    processed_BV = process(masked_BV, history, settings, eos_ids)
    empty_B1 = ~jnp.isfinite(processed_BV).any(axis=1, keepdims=True)
    return jnp.where(empty_B1, masked_BV, processed_BV)


def logit_bias(logits_BV: jax.Array, bias_V: jax.Array) -> jax.Array:
    """Adds a number to each token's logit; -inf bans the token."""
    return logits_BV + bias_V


def sequence_bias(
    logits_BV: jax.Array, text_BT: jax.Array, lengths_B: jax.Array, sequences: jax.Array, bias: jax.Array
) -> jax.Array:
    """Adds a number to the logit of a sequence's last token where the text ends with its others.

    Args:
      text_BT: int32, prompt and sampled tokens, padded on the right.
      lengths_B: int32, how many of them row b has.
      sequences: int32, [N,S] or of each row [B,N,S], padded on the left with -1.
      bias: float32, [N] or [B,N]; -inf bans the sequence.
    """
    if not bias.shape[-1]:
        return logits_BV
    n_rows, n_before = len(text_BT), sequences.shape[-1] - 1
    place_BS = lengths_B[:, None] + jnp.arange(-n_before, 0)
    last_BS = jnp.take_along_axis(text_BT, jnp.maximum(place_BS, 0), axis=1)
    last_BS = jnp.where(place_BS >= 0, last_BS, -2)  # which no sequence has
    sequences_BNS = jnp.broadcast_to(sequences, (n_rows, *sequences.shape[-2:]))
    before_BNS, token_BN = sequences_BNS[..., :-1], sequences_BNS[..., -1]
    comes_BN = ((before_BNS == last_BS[:, None]) | (before_BNS < 0)).all(axis=2)
    added_BN = jnp.where(comes_BN, bias, 0)
    return logits_BV.at[jnp.arange(n_rows)[:, None], token_BN].add(added_BN)


def repetition_penalty(logits_BV: jax.Array, seen_BV: jax.Array, penalty: Number) -> jax.Array:
    """Makes seen tokens less likely if penalty > 1: positive logits are divided by it, negative multiplied.

    `seen_BV` is bool: the token occurs in the prompt or in what was sampled (Keskar et al. 2019, §4.1).
    """
    penalised_BV = jnp.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty)
    return jnp.where(seen_BV, penalised_BV, logits_BV)


def count_penalties(
    logits_BV: jax.Array, counts_BV: jax.Array, presence: Number, frequency: Number
) -> jax.Array:
    """Subtracts `presence` from tokens sampled before, and `frequency` for each time they were.

    `counts_BV` is int: how often each token was sampled; the prompt does not count (as in vLLM and the OpenAI
    API).

    Args:
      counts_BV: int32, how often each token was sampled.
      presence, frequency: nats.
    """
    return logits_BV - presence * (counts_BV > 0) - frequency * counts_BV


def no_repeat_ngram(logits_BV: jax.Array, text_BT: jax.Array, lengths_B: jax.Array, n: Any) -> jax.Array:
    """Bans each token that would complete n tokens that the text holds already; n = 0 bans none.

    `text_BT` is prompt and sampled tokens, padded on the right; row b has lengths[b] of them (Paulus et al.
    2018).

    Args:
      text_BT: int32, prompt and sampled tokens, padded on the right.
      lengths_B: int32, how many of them row b has.
      n: int32, the length of an n-gram.
    """
    rows, positions_T = jnp.arange(len(text_BT)), jnp.arange(text_BT.shape[1])

    def ban(x_BV: jax.Array) -> jax.Array:
        def same(back, matches_BT):
            """Of the positions that match so far, those where also the token `back` before is the same."""
            last_B = text_BT[rows, jnp.maximum(lengths_B - back, 0)]
            return matches_BT & (jnp.roll(text_BT, back, axis=1) == last_B[:, None])

        within_BT = (positions_T >= n - 1) & (positions_T < lengths_B[:, None])
        ends_BT = jax.lax.fori_loop(1, n, same, within_BT)
        banned_BV = jnp.zeros(x_BV.shape, bool).at[rows[:, None], text_BT].max(ends_BT)
        return jnp.where(banned_BV, -jnp.inf, x_BV)

    return when(n > 0, ban, logits_BV)


def min_new_tokens(logits_BV: jax.Array, new_B: jax.Array, least: Any, eos_ids: Any) -> jax.Array:
    """Bans `eos_ids` (one token or several, -1: none) in rows that have fewer than `least` sampled tokens.

    Args:
      new_B: int32, tokens that each row has sampled.
      least: int32, how many it must have before it may end.
      eos_ids: one token or several; -1 is none.
    """
    is_eos_V = jnp.any(jnp.arange(logits_BV.shape[1]) == jnp.reshape(eos_ids, (-1, 1)), axis=0)
    return jnp.where(is_eos_V & (new_B < least)[:, None], -jnp.inf, logits_BV)


def temperature(logits_BV: jax.Array, t: Number) -> jax.Array:
    """Divides logits by `t`; 0 keeps the largest alone (of equal ones, the first), without a division."""
    largest_BV = jax.nn.one_hot(argmax(logits_BV), logits_BV.shape[-1], dtype=bool)
    greedy_BV = jnp.where(largest_BV, 0.0, -jnp.inf)
    return jnp.where(t == 0, greedy_BV, logits_BV / jnp.where(t == 0, 1.0, t))


def argmax(x_BV: jax.Array) -> jax.Array:
    """The first of each row's largest numbers, as int32 [B]; XLA's own takes five times as long on a CPU."""
    n_vocab = x_BV.shape[-1]
    is_largest_BV = x_BV == jnp.max(x_BV, axis=-1, keepdims=True)
    return jnp.min(jnp.where(is_largest_BV, jnp.arange(n_vocab), n_vocab - 1), axis=-1)


def top_k(logits_BV: jax.Array, k: Any, keep: Any = 1) -> jax.Array:
    """Keeps the k largest logits and what equals the k-th; k = 0 keeps all (Fan et al. 2018)."""

    def cut(x_BV: jax.Array) -> jax.Array:
        order_BV = _order(x_BV)
        return _remove(x_BV, order_BV < _cutoff(order_BV, 1, jnp.maximum(k, keep)))

    return when((k > 0) & (k < logits_BV.shape[-1]), cut, logits_BV)


def top_p(logits_BV: jax.Array, p: Number, keep: Any = 1) -> jax.Array:
    """Keeps the most likely tokens until their mass reaches p (Holtzman et al. 2020).

    The token that crosses p is in, and so is what equals it; p = 1 keeps all.
    """
    return when(p < 1, lambda x_BV: _keep_mass(x_BV, x_BV, p, keep), logits_BV)


def min_p(logits_BV: jax.Array, p: Number, keep: Any = 1) -> jax.Array:
    """Keeps tokens at least p times as likely as the likeliest one (Nguyen et al. 2024); p = 0 keeps all."""

    def cut(x_BV: jax.Array) -> jax.Array:
        return _remove(x_BV, x_BV < jnp.max(x_BV, axis=-1, keepdims=True) + jnp.log(p), keep)

    return when(p > 0, cut, logits_BV)


def typical(logits_BV: jax.Array, p: Number, keep: Any = 1) -> jax.Array:
    """Keeps the tokens of most typical information until their mass reaches p (Meister et al. 2023, eq. 9).

    Typical is an information -log p(token) near its mean, the entropy; p = 1 keeps all.
    """

    def cut(x_BV: jax.Array) -> jax.Array:
        logprobs_BV = jax.nn.log_softmax(x_BV)
        return _keep_mass(x_BV, -jnp.abs(logprobs_BV + _entropy(logprobs_BV)), p, keep)

    return when(p < 1, cut, logits_BV)


def epsilon(logits_BV: jax.Array, least: Number, keep: Any = 1) -> jax.Array:
    """Keeps tokens whose probability is at least `least` (Hewitt et al. 2022); 0 keeps all."""
    return when(least > 0, lambda x: _remove(x, jax.nn.softmax(x) < least, keep), logits_BV)


def eta(logits_BV: jax.Array, least: Number, keep: Any = 1) -> jax.Array:
    """Keeps tokens whose probability is at least min(least, √least · e^-entropy) (Hewitt et al. 2022)."""

    def cut(x_BV: jax.Array) -> jax.Array:
        logprobs_BV = jax.nn.log_softmax(x_BV)
        floor_B1 = jnp.minimum(least, jnp.sqrt(least) * jnp.exp(-_entropy(logprobs_BV)))
        return _remove(x_BV, jnp.exp(logprobs_BV) < floor_B1, keep)

    return when(least > 0, cut, logits_BV)


def _entropy(logprobs_BV: jax.Array) -> jax.Array:
    """[B,1] in nats; removed tokens add nothing."""
    each_BV = jnp.where(jnp.isfinite(logprobs_BV), jnp.exp(logprobs_BV) * logprobs_BV, 0.0)
    return -jnp.sum(each_BV, axis=-1, keepdims=True)


def _remove(logits_BV: jax.Array, remove_BV: jax.Array, keep: Any = 1) -> jax.Array:
    """Sets tokens to -inf, but none of a row's `keep` largest or their equals."""
    order_BV = _order(logits_BV)
    least_B1 = jax.lax.cond(
        keep > 1,
        lambda: _cutoff(order_BV, 1, keep),
        lambda: jnp.max(order_BV, axis=-1, keepdims=True),
    )
    return jnp.where(remove_BV & (order_BV < least_B1), -jnp.inf, logits_BV)


def _keep_mass(logits_BV: jax.Array, key_BV: jax.Array, mass: Number, keep: Any) -> jax.Array:
    """Keeps tokens by falling key until their probabilities reach `mass`, and at least `keep`."""
    order_BV = _order(key_BV)
    cutoff_B1 = _cutoff(order_BV, jax.nn.softmax(logits_BV), mass)
    cutoff_B1 = jax.lax.cond(
        keep > 1, lambda: jnp.minimum(cutoff_B1, _cutoff(order_BV, 1, keep)), lambda: cutoff_B1
    )
    return jnp.where(order_BV < cutoff_B1, -jnp.inf, logits_BV)


def _order(x_BV: jax.Array) -> jax.Array:
    """Integers that are ordered as the float32 numbers are."""
    bits_BV = jax.lax.bitcast_convert_type(x_BV.astype(jnp.float32), jnp.int32)
    # Flipping the magnitude of negative floats makes their bits increase with their value.
    return jnp.where(bits_BV < 0, bits_BV ^ 0x7FFFFFFF, bits_BV)


def _cutoff(order_BV: jax.Array, weights: Any, budget: Number) -> jax.Array:
    """[B,1]: the least number whose strictly larger ones together weigh less than `budget`.

    It is found by bisection over all float32 values: exact, and on CPU 20 times faster than a sort.
    """

    def halve(_, bounds):
        low_B1, high_B1 = bounds
        middle_B1 = (low_B1 & high_B1) + ((low_B1 ^ high_B1) >> 1)  # the mean, without overflow
        above_B1 = jnp.sum(jnp.where(order_BV > middle_B1, weights, 0), axis=-1, keepdims=True)
        enough_B1 = above_B1 >= budget
        return jnp.where(enough_B1, middle_B1 + 1, low_B1), jnp.where(enough_B1, high_B1, middle_B1)

    high_B1 = jnp.max(order_BV, axis=-1, keepdims=True)
    low_B1 = jnp.full_like(high_B1, jnp.iinfo(jnp.int32).min)
    return jax.lax.fori_loop(0, 32, halve, (low_B1, high_B1))[1]
