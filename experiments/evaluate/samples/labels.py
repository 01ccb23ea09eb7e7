"""Preferences among responses that a policy sampled itself: scored by a reward model or the gold world, and
paired. So a policy is tuned on its own samples, again and again (iterative or online DPO; Xiong et al. 2023,
arXiv 2312.11456, Dong et al. 2024, arXiv 2405.07863)."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

import models
from experiments.data.vocab import ByteVocab, load_vocab
from experiments.evaluate.loaded_model import LoadedModel, chat_template
from experiments.objective_configs import GoldConfig, RewardConfig
from experiments.posttraining import gold
from experiments.posttraining.data.conversations import Turn
from experiments.posttraining.data.pairs import side_tokens
from experiments.posttraining.data.records import records
from experiments.posttraining.preferences.annotators import FIRST, Annotator, labels
from experiments.posttraining.reward import rewards_of
from experiments.training.checkpoints.load import load_whole

ENDED = ("eos", "stop")  # a pair's response is learnt with its end, so one that was cut off is another
BATCH = 64


@dataclass(frozen=True)
class PromptSamples:
    """A prompt and its responses, each once, without those that were cut off or are empty."""

    prompt: str
    responses: tuple[str, ...]


def read_samples(path: str) -> tuple[list[PromptSamples], dict[str, int]]:
    """What `isoflop sample --prompts` wrote, and what was left out: "cut off", "empty", "repeated".

    Raises:
      ValueError: another kind of record, with file and line, or nothing that can be read.
    """
    found, left_out = [], {"cut off": 0, "empty": 0, "repeated": 0}
    for place, record in records(path):
        prompt, samples = record.get("prompt"), record.get("samples")
        if not isinstance(prompt, str) or not isinstance(samples, list):
            raise ValueError(
                f"{place}: no 'prompt' with 'samples' (it has {', '.join(map(str, record)) or 'no fields'}); "
                "give what `isoflop sample CKPT --chat --prompts FILE --n 4` prints"
            )
        responses: dict[str, None] = {}
        for one in samples:
            text = one.get("text") if isinstance(one, dict) else None
            if not isinstance(text, str):
                raise ValueError(f"{place}: a sample has no 'text'")
            why = "cut off" if one.get("finish") not in ENDED else "" if text.strip() else "empty"
            why = why or ("repeated" if text in responses else "")
            if why:
                left_out[why] += 1
            else:
                responses[text] = None
        found.append(PromptSamples(prompt, tuple(responses)))
    return found, left_out


def scorer(reward: str) -> Callable[[Sequence[tuple[str, str]]], np.ndarray]:
    """The rewards float32[N] of (prompt, response): "gold", or the folder of a reward model.

    Raises:
      ValueError: the folder holds no reward model, or one that was not taught conversations.
    """
    return _gold if reward == "gold" else _reward_model(Path(reward))


def pairs_of(
    sampled: Sequence[PromptSamples],
    rewards: Sequence[np.ndarray],
    which: Literal["extremes", "all"],
    temperature: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Records {"prompt", "chosen", "rejected", "reward_chosen", "reward_rejected"}.

    Args:
      sampled: prompts and responses.
      rewards: of each one's responses, float[n].
      which: the best and the worst response to a prompt, or each two; of equal rewards none.
      temperature: of Bradley and Terry's model in units of reward; 0 always prefers the larger one.
      seed: of the labels.
    """
    chosen = []
    for one, own in zip(sampled, rewards, strict=True):
        order = np.argsort(-own, kind="stable").tolist()
        two = itertools.combinations(order, 2) if which == "all" else [(order[0], order[-1])] if order else []
        chosen += [(one, own, i, j) for i, j in two if own[i] > own[j]]
    difference_N = np.array([own[i] - own[j] for _, own, i, j in chosen], np.float32)
    draws_N = np.random.default_rng(seed).random(len(chosen))
    labels_N = labels(Annotator(temperature=temperature), difference_N, draws_N) if chosen else []
    found = []
    for (one, own, i, j), label in zip(chosen, labels_N, strict=True):
        better, worse = (i, j) if label == FIRST else (j, i)
        sides = {"chosen": one.responses[better], "rejected": one.responses[worse]}
        scores = {"reward_chosen": float(own[better]), "reward_rejected": float(own[worse])}
        found.append({"prompt": one.prompt, **sides, **scores})
    return found


def label(
    path: str, reward: str, which: Literal["extremes", "all"], temperature: float, seed: int
) -> tuple[list[str], dict[str, Any]]:
    """The lines of a file of pairs, and what is to be said of them: n_prompts, n_pairs, reward, that of the
    best, and what was left out.

    Args:
      path: what `isoflop sample --prompts` wrote.
      reward: "gold", or the folder of a reward model.
      which, temperature, seed: as of `pairs_of`.

    Raises:
      ValueError: samples or a reward model that cannot be read, a reward that is no number, or no pair.
    """
    sampled, left_out = read_samples(path)
    texts = [(one.prompt, response) for one in sampled for response in one.responses]
    if not texts:
        raise ValueError(f"{path}: no response is left ({_said(left_out)}); sample more, or longer ones")
    scores_N = scorer(reward)(texts)
    if not np.isfinite(scores_N).all():
        prompt, response = texts[int(np.argmin(np.isfinite(scores_N)))]
        raise ValueError(f"--reward {reward}: no finite number for {response[:40]!r} to {prompt[:40]!r}")
    ends = np.cumsum([len(one.responses) for one in sampled])
    rewards = np.split(scores_N, ends[:-1])
    pairs = pairs_of(sampled, rewards, which, temperature, seed)
    if not pairs:
        raise ValueError(
            f"{path}: no prompt has two responses of different rewards ({_said(left_out)}); sample more to "
            "each (--n), or at a higher temperature"
        )
    best = [float(own.max()) for own in rewards if len(own)]
    about = {"n_prompts": len(sampled), "n_pairs": len(pairs), "left_out": _said(left_out)}
    about |= {"reward": float(scores_N.mean()), "best": float(np.mean(best))}
    return [json.dumps(pair) for pair in pairs], about


def _said(left_out: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {why}" for why, n in left_out.items() if n) or "none left out"


def _gold(texts: Sequence[tuple[str, str]]) -> np.ndarray:
    vocab = ByteVocab()
    rows = [(vocab.encode(prompt), [*vocab.encode(response), vocab.eos_id]) for prompt, response in texts]
    tokens, lengths = _padded([[*prompt, *response] for prompt, response in rows])
    return np.asarray(
        gold.gold_reward(GoldConfig(), tokens, np.array([len(prompt) for prompt, _ in rows]), lengths)
    )


def _reward_model(run: Path) -> Callable[[Sequence[tuple[str, str]]], np.ndarray]:
    config, _, params = load_whole(run)
    if not isinstance(config.objective, RewardConfig):
        raise ValueError(f"--reward {run} is no reward model; `isoflop reward` makes one")
    model, vocab = models.build(config.model), load_vocab(config.data)
    template = chat_template(LoadedModel(run, config, model, params, vocab))
    rewards = jax.jit(rewards_of(model))

    def score(texts: Sequence[tuple[str, str]]) -> np.ndarray:
        prompts = [template.prompt((Turn("user", prompt),)) for prompt, _ in texts]
        sides = [
            side_tokens(template, (Turn("user", prompt),), begin, response)
            for (prompt, response), begin in zip(texts, prompts, strict=True)
        ]
        tokens, lengths = _padded(sides)
        starts, found = np.array([len(prompt) for prompt in prompts], np.int32), []
        for at in range(0, len(tokens), BATCH):
            rows = np.arange(at, at + BATCH) % len(tokens)  # a full batch, so that it compiles once
            found.append(np.asarray(rewards(params, tokens[rows], starts[rows], lengths[rows])))
        return np.concatenate(found)[: len(tokens)]

    return score


def _padded(rows: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = np.zeros((len(rows), lengths.max()), np.int32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens, lengths
