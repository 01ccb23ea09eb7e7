"""Prompts for runs that sample the responses themselves: from a file, or from the gold world."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import RunConfig
from experiments.data.batches import shuffled
from experiments.data.vocab import load_vocab
from experiments.objective import RunData
from experiments.objective_configs import GoldConfig, GRPOConfig, PPOConfig, RejectionConfig
from experiments.posttraining import gold
from experiments.posttraining.data import records
from experiments.posttraining.data.chat_template import load_template
from experiments.posttraining.data.conversations import read_prompts
from experiments.posttraining.data.examples import Example, open_examples, prepare

Arrays = dict[str, np.ndarray]
VALIDATION = 0x76616C  # in the place of a step, for the seeds of validation rows


def data(config: RunConfig) -> RunData:
    """Batches {"tokens": int32[B,P], "lengths": int32[B], "seeds": uint32[B]} with P = seq_len - max_new.

    Algorithms that compare the responses to one prompt get it in adjacent rows. Seeds are a function of
    (run's seed, step, row), those of validation of the row alone.

    Raises:
      ValueError: no prompts, prompts that do not fit, or a batch that groups do not divide.
    """
    assert isinstance(config.objective, PPOConfig | GRPOConfig | RejectionConfig)
    width, size = config.seq_len - config.objective.max_new, config.batch_size
    group = group_size(config.objective)
    if size % group:
        raise ValueError(
            f"run: batch_tokens={config.batch_tokens} makes {size} rows of seq_len={config.seq_len}; they "
            f"must be a multiple of the {group} responses to each prompt"
        )
    splits = {split: open_prompts(config, split, width) for split in ("train", "validation")}
    training, held_out = splits["train"], splits["validation"]
    n_prompts = len(training["lengths"])

    def read(seed: int, step: int, rows: slice) -> Arrays:
        chosen = np.repeat(shuffled(n_prompts, seed, step, size // group), group)
        return {name: array[chosen][rows] for name, array in training.items()} | {
            "seeds": row_seeds(seed, step, size)[rows]
        }

    return RunData(
        training=read,
        validation=validation_batches(held_out, size, config.n_val_tokens // config.seq_len),
        tokens_per_byte=0,
        n_train_tokens=int(training["lengths"].sum()),
        tokens_an_epoch=n_prompts * group * config.seq_len,
        manifest={
            "task": config.examples.task if config.examples else "",
            "source": config.examples.path if config.examples else "",
            "licence": "the user's own",
            "tokenizer": {"name": config.data.vocab, "size": config.data.vocab_size},
            "fingerprint": fingerprint(config),
            "splits": {split: {"n_prompts": len(found["lengths"])} for split, found in splits.items()},
        },
    )


def fingerprint(config: RunConfig) -> str:
    """sha256 of the prompts of a file; "" of those that a configuration makes."""
    if config.examples is None or config.examples.task == "gold":
        return ""
    return open_examples(prepare_prompts(config), "train").fingerprint


def group_size(objective: PPOConfig | GRPOConfig | RejectionConfig) -> int:
    """Responses to each prompt of a batch."""
    if isinstance(objective, GRPOConfig):
        return objective.group_size
    return objective.n if isinstance(objective, RejectionConfig) else 1


def row_seeds(seed: int, step: int, n_rows: int) -> np.ndarray:
    """uint32[n_rows]: what each row of a step samples with."""
    return np.random.SeedSequence([seed, step]).generate_state(n_rows, np.uint32)


def open_prompts(config: RunConfig, split: str, width: int) -> Arrays:
    """{"tokens": int32[n,width], "lengths": int32[n]} of a split, prepared if they are not there.

    Args:
      config: the run.
      split: "train" or "validation".
      width: tokens of the longest prompt that fits.

    Raises:
      ValueError: examples that are not prompts, cannot be prepared, or do not fit.
    """
    examples = config.examples
    if examples is None or examples.task not in ("prompts", "gold"):
        task = None if examples is None else examples.task
        raise ValueError(f"examples: task={task!r}; reinforcement learning takes 'prompts' or 'gold'")
    if examples.task == "gold":
        if config.data.vocab != "bytes":
            raise ValueError(
                f"examples: task='gold' with data.vocab={config.data.vocab!r}; that world speaks bytes: "
                "start from a run of data.vocab='bytes', or take prompts of your own"
            )
        found = gold.prompts(examples.gold or GoldConfig(), split)
        tokens, lengths = found["tokens"], found["lengths"]
        longest = int(lengths.max())
        tokens = np.pad(tokens, ((0, 0), (0, max(0, width - tokens.shape[1]))))[:, :width]
    else:
        column = open_examples(prepare_prompts(config), split).columns["tokens"]
        lengths, longest = column.lengths.astype(np.int32), int(column.lengths.max())
        tokens = column.padded(np.arange(len(column)), max(width, 1))
    if longest > width:
        raise ValueError(
            f"run: the longest prompt has {longest} tokens, but seq_len={config.seq_len} leaves {width} "
            "beside responses of objective.max_new; make seq_len larger"
        )
    return {"tokens": tokens.astype(np.int32), "lengths": lengths}


def prepare_prompts(config: RunConfig) -> Path:
    """The folder of the tokens of the prompts at `examples.path`, as the template renders them.

    Raises:
      ValueError: they cannot be read, or are others than those of `examples.fingerprint`.
    """
    assert config.examples is not None
    examples, vocab = config.examples, load_vocab(config.data)
    template = load_template(examples.template, vocab)
    identity: dict[str, Any] = {
        "file": records.identity(examples.path),
        "template": template.identity,
        "vocab": [config.data.vocab, config.data.vocab_size],
    }

    def read():
        for place, conversation in read_prompts(examples.path):
            tokens = template.prompt(conversation)
            if not len(tokens):
                raise ValueError(f"{place}: the prompt has no tokens; leave the record out")
            yield Example({"tokens": tokens})

    return prepare("prompts", identity, read, examples.fingerprint)


def validation_batches(prompts: Arrays, batch_size: int, n_rows: int) -> list[Arrays]:
    """The leading `n_rows` rows in batches of equal size, with seeds of their own."""
    n_rows = max(2, min(n_rows, len(prompts["lengths"])))  # a standard error needs two
    size = min(batch_size, n_rows)
    n_rows -= n_rows % size
    rows = {name: array[:n_rows] for name, array in prompts.items()}
    rows["seeds"] = row_seeds(0, VALIDATION, n_rows)
    return [
        {name: array[start : start + size] for name, array in rows.items()}
        for start in range(0, n_rows, size)
    ]
