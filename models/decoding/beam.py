"""Beam search, plain, diverse or drawn, in one compiled loop; ranks and ends as Hugging Face's `generate`.

Each step ranks the 2·M best continuations of a prompt's M beams by the sum of their log-probabilities. An EOS
among the first M of them is a finished hypothesis, with score = sum / length ** length_penalty, the length
counting generated tokens only, EOS among them. The M best that are not EOS go on. A prompt is done when M
hypotheses are finished and the best open beam, at its present length, scores no better than the worst of them
(`early_stopping=False`), or at the limit of tokens, where open beams compete as they are. With True it is
done once M are finished; with "never" only when no open beam can become better, however it goes on: under a
positive length penalty, which favours long texts, it is then judged as if it were as long as the limit.

Diverse search (Vijayakumar et al. 2018) splits the beams into groups that choose one after another: a token
loses `diversity` of its score for each beam of earlier groups that took it at this step (Hamming diversity).
The penalties stay in the score, as in Hugging Face's; the best hypotheses of all groups come back together.

With settings (`processors`) log-probabilities are shaped before they are added up, and not made to sum to one
again. With seeds the 2·M continuations are drawn, without replacement, from the distribution of their scores,
and ranked thereafter (Hugging Face's `do_sample`, a stochastic beam search): Gumbel noise is added to choose.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from models.decoding import history, processors
from models.decoding.prefill import bucket, packed, prefill, take_rows
from models.decoding.settings import SamplingSettings
from models.model import Model

NEUTRAL = SamplingSettings()


@dataclass(frozen=True)
class Hypothesis:
    """One continuation.

    tokens: with the EOS that ended it. logprobs: in nats, the model's own. score: what it was ranked by.
    finish: "eos", or "length" if `max_tokens` came first. text: if the tokens' bytes were given.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    finish: Literal["eos", "length"]
    text: str | None = None


def beam_search(
    model: Model,
    params: Any,
    prompts: Sequence[Sequence[int]],
    *,
    beams: int,
    max_tokens: int,
    eos_id: int,
    length_penalty: float = 1.0,
    groups: int = 1,
    diversity: float = 0.0,
    early_stopping: bool | Literal["never"] = False,
    settings: SamplingSettings = NEUTRAL,
    seeds: Sequence[int] | None = None,
    token_bytes: Sequence[bytes] | None = None,
) -> list[list[Hypothesis]]:
    """The `beams` best hypotheses found for each prompt, best first; fewer only where fewer exist.

    Args:
      params: the network's.
      prompts: token ids, at least one a prompt.
      beams: hypotheses kept for each prompt.
      max_tokens: most tokens of a hypothesis, EOS included.
      eos_id: the token that ends a text; -1 for none.
      length_penalty: the power of the length that scores are divided by.
      groups: how many groups the beams are split into.
      diversity: nats that a token loses for each beam of earlier groups that took it.
      early_stopping: when a prompt's search is done, see the module.
      settings: how log-probabilities are shaped; by default not at all.
      seeds: a number from 0 to 2^32 - 1 for each prompt, to draw continuations; None: the best are taken.
      token_bytes: what each token says, for the text.

    Raises:
      ValueError: no prompt or an empty one, a token outside the vocabulary, `beams` or `max_tokens` below 1,
        groups that do not divide the beams, a negative diversity, or one without groups, a length penalty
        that is not finite, another `early_stopping`, seeds that do not pair with prompts, are no 32-bit
        numbers or go with groups.
    """
    _check(prompts, beams, max_tokens, groups, diversity)
    low, high = min(map(min, prompts)), max(map(max, prompts))
    if not 0 <= low <= high < model.config.vocab_size:
        raise ValueError(
            f"prompts have tokens {low} to {high}; the vocabulary is 0 to {model.config.vocab_size - 1}"
        )
    if early_stopping not in (True, False, "never"):
        raise ValueError(f"early_stopping={early_stopping!r}; it is True, False or 'never'")
    if not math.isfinite(length_penalty):
        raise ValueError(f"length_penalty={length_penalty}; it must be finite")
    if seeds is not None:
        _check_seeds(seeds, len(prompts), groups)
    params = packed(model, params)
    logits_PV, cache = prefill(model, params, prompts, max_tokens)
    scalars = {
        "limit": np.int32(max_tokens),
        "eos_id": np.int32(eos_id),
        "length_penalty": np.float32(length_penalty),
        "diversity": np.float32(diversity),
        "stop_at_once": np.bool_(early_stopping is True),
        "hope_of_limit": np.bool_(early_stopping == "never" and length_penalty > 0),
    }
    shaped, spare = None, len(logits_PV) - len(prompts)
    if settings != NEUTRAL:  # a history costs as much as V numbers a row and step
        n_vocab, n_slots = model.config.vocab_size, bucket(max(map(len, prompts)) + max_tokens)
        said = history.begin([*prompts, *[[]] * spare], [[]] * len(logits_PV), n_vocab, n_slots)
        shaped = settings.arrays(n_vocab), said
    seeds_P = None if seeds is None else np.array([*seeds, *[0] * spare], np.uint32)
    sizes = (groups, beams // groups, bucket(max_tokens))
    found = jax.device_get(_search(model, params, logits_PV, cache, scalars, shaped, seeds_P, *sizes))
    return [_hypotheses(found, i, eos_id, token_bytes) for i in range(len(prompts))]


def _hypotheses(found: dict[str, np.ndarray], i: int, eos_id: int, token_bytes) -> list[Hypothesis]:
    """Those of prompt i, from arrays [G,B,M,…]."""
    mine = {name: values[:, i].reshape(-1, *values.shape[3:]) for name, values in found.items()}
    hypotheses = []
    for j in np.argsort(-mine["score"], kind="stable"):
        if np.isfinite(mine["score"][j]):
            tokens, logprobs = (
                tuple(mine[name][j, : mine["length"][j]].tolist()) for name in ("tokens", "logprobs")
            )
            finish = "eos" if tokens[-1] == eos_id else "length"
            text = None
            if token_bytes is not None:
                said = tokens[:-1] if finish == "eos" else tokens
                text = b"".join(token_bytes[token] for token in said).decode("utf-8", errors="ignore")
            hypotheses.append(Hypothesis(tokens, logprobs, float(mine["score"][j]), finish, text))
    return hypotheses


@functools.partial(jax.jit, static_argnums=(0, 7, 8, 9))
def _search(
    model: Model,
    params,
    logits_PV,
    cache,
    scalars,
    shaped,
    seeds_P,
    n_groups: int,
    n_beams: int,
    n_out: int,
):
    """Finished hypotheses as arrays [G,P,M,…]; rows of the batch are in the order group, prompt, beam.

    Args:
      model, params, n_groups, n_beams: the network, and how many beams a group has.
      logits_PV, cache: of the prompts.
      scalars: traced numbers of the search.
      shaped: `SamplingSettings.arrays` and the history of the prompts, or None.
      seeds_P: uint32, or None: nothing is drawn.
      n_out: room for tokens.
    """
    n_prompts, shape = len(logits_PV), (n_groups, len(logits_PV), n_beams)
    rows_GBM = jnp.arange(n_groups * n_prompts * n_beams).reshape(shape)
    prompt_GBM = jnp.broadcast_to(jnp.arange(n_prompts)[:, None], shape)

    def of_rows(said, rows_R):
        return jax.tree.map(lambda leaf: leaf[rows_R], said)

    def choose(step, logits_RV, said, state):
        """Every group's next beams, one group after another."""
        logprobs_RV = ranked_RV = jax.nn.log_softmax(logits_RV)
        if shaped:
            ranked_RV = processors.process(logprobs_RV, said, shaped[0], scalars["eos_id"])
        logprobs_GBMV, ranked_GBMV = (each.reshape(*shape, -1) for each in (logprobs_RV, ranked_RV))
        noise_BC = _noise(seeds_P, step, n_beams * logits_RV.shape[-1])

        def one_group(taken_BV, group):
            logprobs_BMV, ranked_BMV, group = group
            group = _advance(step, taken_BV, logprobs_BMV, ranked_BMV, noise_BC, group, scalars)
            one_hot_BMV = jax.nn.one_hot(group["last"], taken_BV.shape[-1])
            return taken_BV + one_hot_BMV.sum(axis=1), group

        taken_BV = jnp.zeros((n_prompts, logits_RV.shape[-1]))
        return jax.lax.scan(one_group, taken_BV, (logprobs_GBMV, ranked_GBMV, state))[1]

    def body(carry):
        step, logits_RV, cache, said, state = carry
        state = choose(step, logits_RV, said, state)
        rows_R, last_R = (rows_GBM[..., :1] + state["parent"]).ravel(), state["last"].ravel()
        said = said and history.extend(of_rows(said, rows_R), last_R)
        return step + 1, *model.decode(params, last_R, take_rows(cache, rows_R)), said, state

    nothing = {
        "tokens": jnp.zeros((*shape, n_out), jnp.int32),
        "logprobs": jnp.zeros((*shape, n_out)),
        "score": jnp.full(shape, -jnp.inf),
    }
    state = {
        # All beams begin alike, so only the first may be continued.
        "open": nothing | {"score": nothing["score"].at[..., 0].set(0.0)},
        "finished": nothing | {"length": jnp.zeros(shape, jnp.int32)},
        "last": jnp.zeros(shape, jnp.int32),
        "parent": jnp.zeros(shape, jnp.int32),
        "going": jnp.ones(shape[:2], bool),
    }
    rows_R = prompt_GBM.ravel()
    said = shaped and of_rows(jax.tree.map(jnp.asarray, shaped[1]), rows_R)
    start = (jnp.int32(0), logits_PV[rows_R], take_rows(cache, rows_R), said, state)
    return jax.lax.while_loop(lambda carry: jnp.any(carry[-1]["going"]), body, start)[-1]["finished"]


def _noise(seeds_P, step, n_candidates: int):
    """Gumbel noise of each prompt's candidates [P,M·V], of its seed and the step alone; 0 without seeds."""
    if seeds_P is None:
        return 0.0

    def of_prompt(seed):
        key = jax.random.fold_in(jax.random.key(seed), 0)  # that of its continuation 0 in `sample`
        return jax.random.gumbel(jax.random.fold_in(key, step), (n_candidates,))

    return jax.vmap(of_prompt)(seeds_P)


def _advance(step, taken_BV, logprobs_BMV, ranked_BMV, noise_BC, state, scalars) -> dict[str, Any]:
    """One group's state after a token.

    Args:
      step: tokens before it.
      taken_BV: how many beams of earlier groups took a token at this step.
      logprobs_BMV, ranked_BMV: the model's own, and those that scores are sums of.
      noise_BC: added to the scores of all M·V candidates to choose among them.
      state: the group's.
      scalars: as `_search` takes them.
    """
    n_prompts, n_beams, n_vocab = logprobs_BMV.shape
    score_BMV = state["open"]["score"][..., None] + ranked_BMV
    score_BMV -= scalars["diversity"] * taken_BV[:, None]
    score_BC = score_BMV.reshape(n_prompts, -1)
    chosen_BC = jax.lax.top_k(score_BC + noise_BC, 2 * n_beams)[1]
    score_BC, order_BC = jax.lax.top_k(_gather(score_BC, chosen_BC), 2 * n_beams)
    best_BC = _gather(chosen_BC, order_BC)
    parent_BC, token_BC = best_BC // n_vocab, best_BC % n_vocab
    logprob_BC = _gather(logprobs_BMV.reshape(n_prompts, -1), best_BC)
    candidates = {
        "tokens": _gather(state["open"]["tokens"], parent_BC).at[..., step].set(token_BC),
        "logprobs": _gather(state["open"]["logprobs"], parent_BC).at[..., step].set(logprob_BC),
        "score": score_BC,
    }
    is_eos_BC = token_BC == scalars["eos_id"]

    length = step + 1
    scale = length.astype(jnp.float32) ** scalars["length_penalty"]
    ends_BC = (is_eos_BC | (length >= scalars["limit"])) & (jnp.arange(2 * n_beams) < n_beams)
    ends_BC &= state["going"][:, None]
    ended = candidates | {
        "score": jnp.where(ends_BC, score_BC / scale, -jnp.inf),
        "length": jnp.full_like(token_BC, length),
    }
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), state["finished"], ended)
    finished = _best(both, both["score"], n_beams)

    follow_BC = jnp.where(is_eos_BC, -jnp.inf, score_BC)
    following = candidates | {"score": follow_BC, "last": token_BC, "parent": parent_BC}
    kept = _best(following, follow_BC, n_beams)
    hoped = jnp.where(scalars["hope_of_limit"], scalars["limit"], length).astype(jnp.float32)
    hope_B = follow_BC.max(axis=1) / hoped ** scalars["length_penalty"]
    hope_B = jnp.where(scalars["stop_at_once"], -jnp.inf, hope_B)
    worst_B = finished["score"].min(axis=1)  # -inf: fewer than the beams are finished
    return {
        "open": {name: kept[name] for name in candidates},
        "finished": finished,
        "last": kept["last"],
        "parent": kept["parent"],
        "going": state["going"] & ((hope_B > worst_B) | jnp.isneginf(worst_B)) & (length < scalars["limit"]),
    }


def _best(candidates: dict[str, jax.Array], score_BC: jax.Array, n: int) -> dict[str, jax.Array]:
    """The n candidates with the largest scores."""
    best_BN = jax.lax.top_k(score_BC, n)[1]
    return {name: _gather(values, best_BN) for name, values in candidates.items()}


def _gather(values_BC: jax.Array, index_BN: jax.Array) -> jax.Array:
    """values[b, index[b, n], …] for every b and n."""
    return jax.vmap(lambda values, index: values[index])(values_BC, index_BN)


def _check(prompts, beams: int, max_tokens: int, groups: int, diversity: float) -> None:
    if not prompts or not all(map(len, prompts)):
        raise ValueError("no prompt, or an empty one; start an empty text with the end-of-document token")
    for name, value in (("beams", beams), ("max_tokens", max_tokens), ("groups", groups)):
        if value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1")
    if beams % groups:
        raise ValueError(f"beams={beams}, groups={groups}; the groups must divide the beams evenly")
    if not diversity >= 0 or (diversity and groups == 1):
        raise ValueError(
            f"diversity={diversity}, groups={groups}; it must be at least 0, and 0 unless there are groups"
        )


def _check_seeds(seeds: Sequence[int], n_prompts: int, groups: int) -> None:
    if len(seeds) != n_prompts:
        raise ValueError(f"{len(seeds)} seeds for {n_prompts} prompts; each prompt needs one")
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed={seed}; it must be from 0 to 2^32 - 1")
    if groups > 1:
        raise ValueError(f"groups={groups} with seeds; beams that are drawn differ without groups")
