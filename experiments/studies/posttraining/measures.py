"""What is asked of checkpoints in the gold world, where the true reward of every response is known."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import models
from experiments.data.vocab import ByteVocab
from experiments.objective_configs import GoldConfig
from experiments.posttraining import gold
from experiments.posttraining.estimators.best_of_n import kl_from_samples, weights
from experiments.posttraining.estimators.token_logps import response_logps, response_mask, token_logps
from experiments.training.checkpoints.load import load, load_whole
from models.decoding.rollout import rollout
from models.layers.heads import scalar
from models.model import Model, last_token
from scaling.laws.downstream.repeated_sampling import kl_of_best_of_n

EOS = 1
FRESH = 1000  # added to a world's seed: examples that no run has seen
_true_reward = jax.jit(gold.gold_reward, static_argnums=0)


class PolicySamples(NamedTuple):
    """n responses to each of Q prompts: tokens int32[n,Q,T], lengths int32[n,Q] (prompt and response),
    prompt_lengths int32[Q], and of each the gold reward and the log-probability, float[n,Q]."""

    tokens: np.ndarray
    lengths: np.ndarray
    prompt_lengths: np.ndarray
    gold: np.ndarray
    logps: np.ndarray


def sample_policy(run: Path, world: GoldConfig, n_prompts: int, n: int, seed: int = 0) -> PolicySamples:
    """n responses of a run's policy to each of the leading validation prompts.

    Args:
      run: its folder.
      world: of the prompts.
      n_prompts: of them, at most as many as the validation split has.
      n: responses to each.
      seed: of the responses.
    """
    config, params = load(run)
    prompts = {name: array[:n_prompts] for name, array in gold.prompts(world, "validation").items()}
    respond, found = _responder(models.build(config.model), world), []
    for k in range(n):
        seeds = np.random.SeedSequence([seed, k]).generate_state(len(prompts["lengths"]), np.uint32)
        found.append(jax.device_get(respond(params, prompts["tokens"], prompts["lengths"], seeds)))
    tokens, lengths, rewards, logps = (np.stack(each) for each in zip(*found))
    return PolicySamples(tokens, lengths, prompts["lengths"], rewards, logps)


@functools.cache
def _responder(model: Model, world: GoldConfig) -> Any:
    @jax.jit
    def respond(params, tokens_BP, lengths_B, seeds_B):
        rolled = rollout(model, params, tokens_BP, lengths_B, seeds_B, gold.MAX_NEW, EOS)
        reward_B = gold.gold_reward(world, rolled.tokens_BT, lengths_B, rolled.lengths_B)
        return rolled.tokens_BT, rolled.lengths_B, reward_B, rolled.logps_BT.sum(axis=1)

    return respond


def proxy_rewards(run: Path, samples: PolicySamples) -> np.ndarray:
    """float[n,Q]: what a reward model says of responses.

    Args:
      run: the reward model's folder.
      samples: the responses.
    """
    config, _, params = load_whole(run)
    score = _scorer(models.build(config.model))
    rows = zip(samples.tokens, samples.lengths, strict=True)
    return np.stack([np.asarray(score(params, *each)) for each in rows])


@functools.cache
def _scorer(model: Model) -> Any:
    head = scalar(model)

    @jax.jit
    def score(params, tokens_BT, lengths_B):
        return last_token(head.apply(params, tokens_BT, lengths_B), lengths_B)

    return score


def ranking_error(run: Path, world: GoldConfig, n_pairs: int) -> float:
    """Share of fresh pairs that a reward model ranks otherwise than their true rewards; equal ones left out.

    Args:
      run: the reward model's folder.
      world: which it learnt from; the pairs are those of a world apart.
      n_pairs: of them.
    """
    apart = dataclasses.replace(world, seed=world.seed + FRESH, n_examples=n_pairs, noise=0.0, flattery=0.0)
    pairs = gold.pairs(apart, "train")
    sides = [{"tokens": pairs[side], "lengths": pairs[f"{side}_lengths"]} for side in ("chosen", "rejected")]
    true = [_true_reward(apart, side["tokens"], pairs["prompt_lengths"], side["lengths"]) for side in sides]
    config, _, params = load_whole(run)
    score = _scorer(models.build(config.model))
    chosen, rejected = (np.asarray(score(params, side["tokens"], side["lengths"])) for side in sides)
    differ = np.asarray(true[0] != true[1])  # without noise the chosen one is never the worse
    return float(np.mean((chosen <= rejected)[differ]))


def best_of_n_curve(proxy: np.ndarray, samples: PolicySamples) -> pd.DataFrame:
    """Best of n by the proxy, for n = 1, 2, 4, … up to all samples: n, kl, kl_bound, proxy, gold, and reward,
    which is gold less that of n = 1.

    Rewards are expectations over all subsets of n samples; kl is estimated with the samples' probabilities,
    as equal responses make it smaller than the bound.

    Args:
      proxy: float[n,Q], rewards by the reward model.
      samples: what it judges.
    """
    n_samples, rows = len(proxy), []
    order = np.argsort(proxy, axis=0, kind="stable")
    ranked = [np.take_along_axis(rewards, order, axis=0) for rewards in (proxy, samples.gold)]
    of_prompts = samples.tokens.swapaxes(0, 1)
    responses = [np.unique(said, axis=0, return_inverse=True)[1].ravel() for said in of_prompts]
    prompts = list(zip(responses, samples.logps.T, proxy.T, strict=True))
    for n in (2**i for i in range(n_samples.bit_length())):
        best, true_best = (float((weights(n_samples, n) @ each).mean()) for each in ranked)
        kl = float(np.mean([kl_from_samples(n, *prompt) for prompt in prompts]))
        about = {"n": n, "kl": max(kl, 0.0), "kl_bound": float(kl_of_best_of_n(n))}
        rows.append(about | {"proxy": best, "gold": true_best})
    table = pd.DataFrame(rows)
    return table.assign(reward=table["gold"] - table["gold"].iloc[0])


def divergence(run: Path, reference: Path, samples: PolicySamples) -> float:
    """KL(policy ‖ reference) of whole responses in nats, from samples of the policy.

    Args:
      run: the policy's folder.
      reference: that of the run it began as, of the same network.
      samples: drawn from the policy.
    """
    config, params = load(run)
    _, start = load(reference)

    log_ratio = _log_ratio(models.build(config.model))
    rows = zip(samples.tokens, samples.lengths, strict=True)
    each = [log_ratio(params, start, *row, samples.prompt_lengths) for row in rows]
    return float(jnp.stack(each).mean())


@functools.cache
def _log_ratio(model: Model) -> Any:
    @jax.jit
    def log_ratio(params, start, tokens_BT, lengths_B, prompt_lengths_B):
        mask_BT = response_mask(prompt_lengths_B, lengths_B, tokens_BT.shape[1])
        both = [
            response_logps(token_logps(model.apply(each, tokens_BT), tokens_BT), mask_BT)
            for each in (params, start)
        ]
        return (both[0] - both[1]).mean()

    return log_ratio


def probe(run: Path, world: GoldConfig, kind: str, n: int) -> dict[str, float]:
    """How a policy answers probes of one kind: "right", the mean probability of the right answer among the
    right and the wrong one, its standard error "se", and "accuracy", the share where it is the likelier.

    Args:
      run: the policy's folder.
      world: of the probes.
      kind: one of gold.PROBES.
      n: probes.
    """
    config, params = load(run)
    model, encode = models.build(config.model), ByteVocab().encode
    asked, width = gold.probes(world, kind, n), gold.PROMPT_LENGTH + gold.MAX_NEW
    texts = [(one.prompt, answer) for one in asked for answer in (one.right, one.wrong)]
    rows = [[*encode(prompt + answer), EOS] for prompt, answer in texts]
    tokens = np.array([row + [0] * (width - len(row)) for row in rows], np.int32)
    starts, ends = np.array([len(prompt) for prompt, _ in texts]), np.array([len(row) for row in rows])

    odds = np.asarray(_log_odds(model)(params, tokens, starts, ends), float)
    right = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
    return {
        "right": float(right.mean()),
        "se": float(right.std(ddof=1) / np.sqrt(len(right))),
        "accuracy": float(np.mean(odds > 0)),
    }


@functools.cache
def _log_odds(model: Model) -> Any:
    @jax.jit
    def log_odds(params, tokens_BT, starts_B, ends_B):
        mask_BT = response_mask(starts_B, ends_B, tokens_BT.shape[1])
        logps_B = response_logps(token_logps(model.apply(params, tokens_BT), tokens_BT), mask_BT)
        return logps_B[0::2] - logps_B[1::2]

    return log_odds


def reward_curve(run: Path) -> pd.DataFrame:
    """What a run of reinforcement learning recorded while it trained: step, flops, kl, proxy and gold; each
    row is the mean over one step's rollouts.

    Args:
      run: its folder.
    """
    lines = (run / "metrics.jsonl").read_text().splitlines()
    names = {"step": "step", "flops": "flops", "kl": "kl", "reward": "proxy", "gold": "gold"}
    events = [event for event in map(json.loads, lines) if "train_loss" in event]
    rows = [{ours: event[theirs] for theirs, ours in names.items()} for event in events]
    return pd.DataFrame(rows).assign(kl=lambda table: np.maximum(table["kl"], 0.0))
