"""Answers of a checkpoint, drawn once: the same (checkpoint, prompt, settings) gets the same answer for good.

What a self-hosted model says depends, in the last bits, on batch, mesh, compiler and machine (`determinism`);
what is kept does not.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.evaluate import response_cache
from experiments.files import cache_folder

if TYPE_CHECKING:  # imports jax, which answers that are all kept do without
    from experiments.evaluate.loaded_model import LoadedModel

FORMAT = 1  # raised when the same question may get another answer
AT_ONCE = 256  # prompts between two writes


@dataclass(frozen=True)
class Asking:
    """How a checkpoint is asked: all that decides answer j to a prompt, whose randomness is its own.

    Answers end before `stop` (none: at the end of the text), and have at most `max_tokens`.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    max_tokens: int = 32
    stop: tuple[str, ...] = ("\n",)


def answer(
    checkpoint: str,
    loader: Callable[[], "LoadedModel"],
    prompts: Sequence[str],
    asking: Asking,
    k: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[str]]:
    """`k` answers to each prompt. Those of earlier calls come from the cache, whatever else was asked then;
    the checkpoint is loaded if one is missing.

    Args:
      checkpoint: fingerprint of the checkpoint that `loader` loads (`files.fingerprint`).
      loader: gives the loaded model.
      prompts: as text; each begins a document. Equal ones get equal answers.
      asking: how.
      k: answers to each.
      progress: called with (prompts done, of how many) after each batch.

    Raises:
      ValueError: no prompt, `k` below 1, or a prompt that fills the checkpoint's context.
    """
    if not prompts or k < 1:
        raise ValueError(f"{len(prompts)} prompts and k={k}; give one of each at least")
    with response_cache.open_records(cache_path(checkpoint, asking)) as (known, add):
        left = [p for p in dict.fromkeys(prompts) if not all(_key(p, j) in known for j in range(k))]
        for first in range(0, len(left), AT_ONCE):
            batch = left[first : first + AT_ONCE]
            said = _draw(loader(), batch, asking, k)
            add({_key(p, j): {"text": text} for p, texts in zip(batch, said) for j, text in enumerate(texts)})
            progress(first + len(batch), len(left))
        return [[known[_key(p, j)]["text"] for j in range(k)] for p in prompts]


def cache_path(checkpoint: str, asking: Asking) -> Path:
    """Where answers are kept: a file for each checkpoint and way of asking."""
    key = json.dumps([FORMAT, checkpoint, dataclasses.asdict(asking)])
    return cache_folder() / f"answers-{hashlib.sha256(key.encode()).hexdigest()[:32]}.jsonl"


def _key(prompt: str, j: int) -> int:
    """The number under which answer j to a prompt is kept: half of a sha256."""
    return int.from_bytes(hashlib.sha256(f"{j} {prompt}".encode()).digest()[:16])


def _seed(prompt: str, asking: Asking) -> int:
    """Of a prompt: with one for all, wordings of a question would agree by their common randomness."""
    return int.from_bytes(hashlib.sha256(f"{asking.seed} {prompt}".encode()).digest()[:4])


def _draw(loaded: "LoadedModel", prompts: Sequence[str], asking: Asking, k: int) -> list[list[str]]:
    from experiments.data.vocab import prompt_ids
    from models.decoding.sample import sample
    from models.decoding.settings import SamplingSettings
    from models.decoding.stop import StopCriteria

    vocab, context = loaded.vocab, loaded.config.seq_len
    tokens = [prompt_ids(vocab, prompt) for prompt in prompts]
    for prompt, encoded in zip(prompts, tokens):
        if len(encoded) >= context:
            raise ValueError(
                f"the prompt {prompt[:40]!r} has {len(encoded)} tokens; the context of this checkpoint, "
                f"{context}, leaves no room for an answer"
            )
    limits: dict[str, Any] = {"n": k, "max_tokens": asking.max_tokens, "context": context, "width": AT_ONCE}
    said = sample(
        *(loaded.model, loaded.params, tokens, [_seed(prompt, asking) for prompt in prompts]),
        SamplingSettings(asking.temperature, top_p=asking.top_p),
        **limits,
        eos_id=vocab.eos_id,
        stop=StopCriteria(strings=asking.stop, tokens=loaded.end_ids),
        token_bytes=loaded.token_bytes(),
    )
    return [[one.text or "" for one in each] for each in said]
