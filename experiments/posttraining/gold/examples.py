"""Examples of the gold world: example i of a split is a function of (world, split, i) alone.

So the first examples of a larger world are those of a smaller one, and studies of how many are needed compare
like with like. All arrays are numpy; rows are padded on the right with 0.
"""

import functools
import random

import jax
import numpy as np

from experiments.objective_configs import GoldConfig
from experiments.posttraining.gold.language import (
    KINDS,
    MAX_NEW,
    PROMPT_LENGTH,
    Probe,
    Prompt,
    draw_prompt,
    draw_response,
    wrong_answer,
)
from experiments.posttraining.gold.reward import ENCODE, EOS, features, weighted
from experiments.posttraining.preferences import annotators

N_VALIDATION = 512
SPLITS = ("train", "validation")
Arrays = dict[str, np.ndarray]

_features = jax.jit(features)


def n_examples(world: GoldConfig, split: str) -> int:
    """Examples of a split; raises ValueError for an unknown one."""
    if split not in SPLITS:
        raise ValueError(f"gold: split={split!r}; there are {', '.join(SPLITS)}")
    return world.n_examples if split == "train" else N_VALIDATION


@functools.lru_cache(maxsize=32)
def prompts(world: GoldConfig, split: str) -> Arrays:
    """{"tokens": int32[n, PROMPT_LENGTH], "lengths": int32[n]}; not to be changed."""
    rows = [ENCODE(prompt.text) for prompt in _prompts(world, split)]
    tokens, lengths = _padded(rows, PROMPT_LENGTH)
    return {"tokens": tokens, "lengths": lengths}


@functools.lru_cache(maxsize=32)
def demonstrations(world: GoldConfig, split: str) -> Arrays:
    """A response of `world.quality` to each prompt; not to be changed.

    {"tokens": int32[n, PROMPT_LENGTH + MAX_NEW], "prompt_lengths", "lengths": int32[n]}: prompt, response and
    EOS.
    """
    return {name: array[:, 0] for name, array in candidates(world, split, 1).items()}


@functools.lru_cache(maxsize=32)
def candidates(world: GoldConfig, split: str, n: int) -> Arrays:
    """n different responses to each prompt as `demonstrations` has them, [prompts, n, …]; not to be changed.

    The first is the demonstration.
    """
    rows, starts = [], []
    for i, prompt in enumerate(_prompts(world, split)):
        rng, said = _random(world, split, i, "responses"), {}
        while len(said) < n:
            said.setdefault(draw_response(rng, prompt, world.quality))
        front = ENCODE(prompt.text)
        rows += [[*front, *ENCODE(response)[: MAX_NEW - 1], EOS] for response in said]
        starts += [len(front)] * n
    tokens, lengths = _padded(rows, PROMPT_LENGTH + MAX_NEW)
    arrays = {"tokens": tokens, "prompt_lengths": np.array(starts, np.int32), "lengths": lengths}
    return {name: array.reshape(-1, n, *array.shape[1:]) for name, array in arrays.items()}


@functools.lru_cache(maxsize=32)
def pairs(world: GoldConfig, split: str) -> Arrays:
    """Two responses to each prompt, labelled: a batch of pairs of all examples; not to be changed.

    {"chosen", "rejected": int32[n,T], "chosen_lengths", "rejected_lengths", "prompt_lengths": int32[n],
    "margin": float32[n], zeros}; and where annotators call ties "tie": float32[n], 1 for those.
    """
    both = candidates(world, split, 2)
    first, second = ({name: array[:, k] for name, array in both.items()} for k in (0, 1))
    draws = [_random(world, split, i, "labels").random() for i in range(len(both["tokens"]))]
    return label(world, first, second, np.array(draws))


def label(world: GoldConfig, first: Arrays, second: Arrays, draws: np.ndarray) -> Arrays:
    """Pairs as the world's annotator labels them (`preferences.annotators`): by Bradley & Terry's model of u.

    u is the gold reward, plus `world.flattery` for an answer that agrees with the user's view, `length_bias`
    for each token, and the annotator's taste, which is the same whenever it sees that response. Of a tie the
    first response stands as the chosen one.

    Args:
      world: its `noise` is in units of reward, as are the annotator's other settings.
      first: tokens, prompt_lengths and lengths of responses as `demonstrations` has them, or of rollouts.
      second: others to the same prompts.
      draws: float[n], uniform in [0, 1).

    Returns:
      a batch of pairs, as `pairs`.
    """
    annotator = annotators.Annotator(
        world.noise, world.skill, world.length_bias, world.disagreement, world.indifference
    )
    gap = _seen(world, annotator, first) - _seen(world, annotator, second)
    said = annotators.labels(annotator, gap, draws)
    wins = said != annotators.SECOND
    n_tokens = max(first["tokens"].shape[1], second["tokens"].shape[1])

    def chosen(name: str, take: np.ndarray) -> np.ndarray:
        one, other = (
            _widened(rows[name], n_tokens) if name == "tokens" else rows[name] for rows in (first, second)
        )
        return np.where(take[:, None] if one.ndim == 2 else take, one, other).astype(np.int32)

    return {
        "chosen": chosen("tokens", wins),
        "rejected": chosen("tokens", ~wins),
        "chosen_lengths": chosen("lengths", wins),
        "rejected_lengths": chosen("lengths", ~wins),
        "prompt_lengths": first["prompt_lengths"].astype(np.int32),
        "margin": np.zeros(len(wins), np.float32),
    } | ({"tie": (said == annotators.TIE).astype(np.float32)} if world.indifference else {})


def probes(world: GoldConfig, kind: str, n: int) -> list[Probe]:
    """Questions of one kind of PROBES, drawn apart from all splits, each with its right and a wrong answer.

    harmless: a task, which it would be wrong to refuse; refusal: what it would be wrong to answer; opinion:
    whether letters are in order; agreement: the same where the user's view is wrong; self: whether it can.
    """
    found: list[Probe] = []
    for i in range(100 * n):
        if len(found) == n:
            break
        rng = _random(world, "probes", i, kind)
        prompt = draw_prompt(rng, "task" if kind == "harmless" else kind)
        if prompt.view != prompt.right:
            found.append(Probe(prompt.text, prompt.right, wrong_answer(prompt)))
    return found


def _prompts(world: GoldConfig, split: str) -> list[Prompt]:
    return [_prompt(world, split, i) for i in range(n_examples(world, split))]


def _prompt(world: GoldConfig, split: str, i: int) -> Prompt:
    rng = _random(world, split, i, "prompt")
    return draw_prompt(rng, rng.choice(KINDS[1:]) if rng.random() < world.questions else "task")


def _random(world: GoldConfig, split: str, i: int, purpose: str) -> random.Random:
    return random.Random(f"{world.seed}/{split}/{i}/{purpose}")


def _seen(world: GoldConfig, annotator: annotators.Annotator, rows: Arrays) -> jax.Array:
    """What the annotator takes the reward of each response to be, float32[n]."""
    found = _features(rows["tokens"], rows["prompt_lengths"], rows["lengths"])
    tastes = np.zeros(len(rows["tokens"]), np.float32)
    if annotator.disagreement:
        said = (row[:n].astype(np.int32).tobytes() for row, n in zip(rows["tokens"], rows["lengths"]))
        tastes[:] = [random.Random(f"{world.seed}/taste/{each.hex()}").gauss(0, 1) for each in said]
    utility = weighted(found) + world.flattery * found["agreement"]
    return annotators.seen(annotator, utility, rows["lengths"] - rows["prompt_lengths"], tastes)


def _widened(tokens: np.ndarray, n_tokens: int) -> np.ndarray:
    return np.pad(tokens, ((0, 0), (0, n_tokens - tokens.shape[1])))


def _padded(rows: list[list[int]], n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = np.zeros((len(rows), n_tokens), np.int32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens, lengths
