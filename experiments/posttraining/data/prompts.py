"""Prompts for runs that sample the responses themselves: from a file, from the gold world, or of questions
with exact answers."""

from collections.abc import Iterator

import numpy as np

from experiments.config import RunConfig
from experiments.data.batches import shuffled
from experiments.objective import RunData
from experiments.objective_configs import ExamplesConfig, GoldConfig, GRPOConfig, PPOConfig, RejectionConfig
from experiments.posttraining import gold
from experiments.posttraining.data import questions
from experiments.posttraining.data.chat_template import ChatTemplate
from experiments.posttraining.data.conversations import read_prompts
from experiments.posttraining.data.examples import SPLITS, Example, RaggedColumn
from experiments.posttraining.data.prepared import manifest, open_rendered

Arrays = dict[str, np.ndarray]
VALIDATION = 0x76616C  # in the place of a step, for the seeds of validation rows


def data(config: RunConfig) -> RunData:
    """Batches {"tokens": int32[B,P], "lengths": int32[B], "seeds": uint32[B]} with P = seq_len - max_new; for
    the reward "exact" with "answers": int32[B,2,max_new], the right response and the one that abstains.

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
    found, fingerprint = open_prompts(config)
    splits = {split: fitted(config, each, width) for split, each in found.items()}
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
        manifest=manifest(
            config,
            fingerprint,
            {split: {"n_prompts": len(each["lengths"])} for split, each in splits.items()},
        ),
    )


def group_size(objective: PPOConfig | GRPOConfig | RejectionConfig) -> int:
    """Responses to each prompt of a batch."""
    if isinstance(objective, GRPOConfig):
        return objective.group_size
    return objective.n if isinstance(objective, RejectionConfig) else 1


def row_seeds(seed: int, step: int, n_rows: int) -> np.ndarray:
    """uint32[n_rows]: what each row of a step samples with."""
    return np.random.SeedSequence([seed, step]).generate_state(n_rows, np.uint32)


def open_prompts(config: RunConfig) -> tuple[dict[str, Arrays], str]:
    """{"tokens": int32[n,P], "lengths": int32[n]} by split, with "answers" for the reward "exact", and their
    fingerprint, "" of those that are made.

    Raises:
      ValueError: examples that are not prompts, lack the answers that are needed, or cannot be prepared.
    """
    examples, exact = config.examples, getattr(config.objective, "reward", "") == "exact"
    if examples is None or examples.task not in ("prompts", "gold", *questions.TASKS):
        task = None if examples is None else examples.task
        raise ValueError(
            f"examples: task={task!r}; reinforcement learning takes 'prompts' or 'gold', or questions: "
            f"{', '.join(questions.TASKS)}"
        )
    if exact and examples.task not in questions.TASKS:
        raise ValueError(
            f"examples: task={examples.task!r} with reward='exact', which needs the answers of questions: "
            f"task={' or '.join(map(repr, questions.TASKS))}"
        )
    if examples.task == "gold":
        if config.data.vocab != "bytes":
            raise ValueError(
                f"examples: task='gold' with data.vocab={config.data.vocab!r}; that world speaks bytes: "
                "start from a run of data.vocab='bytes', or take prompts of your own"
            )
        return {split: gold.prompts(examples.gold or GoldConfig(), split) for split in SPLITS}, ""
    if examples.task in questions.TASKS:
        asked, max_new = questions.open_questions(config), getattr(config.objective, "max_new", 0)
        rows = {split: _rows(each.columns["prompt"]) for split, each in asked.items()}
        for split, each in asked.items() if exact else ():
            rows[split]["answers"] = questions.reference_answers(config, each, max_new)
        return rows, asked["train"].fingerprint
    prepared = open_rendered(config, rendered)
    rows = {split: _rows(found.columns["tokens"]) for split, found in prepared.items()}
    return rows, prepared["train"].fingerprint


def _rows(column: RaggedColumn) -> Arrays:
    tokens = column.padded(np.arange(len(column)), int(column.lengths.max()))
    return {"tokens": tokens, "lengths": column.lengths.astype(np.int32)}


def rendered(examples: ExamplesConfig, template: ChatTemplate) -> Iterator[Example]:
    """The tokens of each prompt; raises ValueError, with file and line, for one without any."""
    for place, conversation in read_prompts(examples.path):
        tokens = template.prompt(conversation)
        if not len(tokens):
            raise ValueError(f"{place}: the prompt has no tokens; leave the record out")
        yield Example({"tokens": tokens})


def fitted(config: RunConfig, prompts: Arrays, width: int) -> Arrays:
    """The same in rows of `width` tokens.

    Raises:
      ValueError: the longest does not fit.
    """
    longest = int(prompts["lengths"].max())
    if longest > width:
        raise ValueError(
            f"run: the longest prompt has {longest} tokens, but seq_len={config.seq_len} leaves {width} "
            "beside responses of objective.max_new; make seq_len larger"
        )
    tokens = prompts["tokens"][:, :width]
    tokens = np.pad(tokens, ((0, 0), (0, width - tokens.shape[1])))
    return prompts | {"tokens": tokens.astype(np.int32)}


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
