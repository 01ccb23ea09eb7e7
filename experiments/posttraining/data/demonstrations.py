"""Prompts with the responses to learn, as tokens and masks: from conversations, or from the gold world."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.config import RunConfig
from experiments.data.vocab import load_vocab
from experiments.fields import to_json
from experiments.objective_configs import ExamplesConfig, GoldConfig
from experiments.posttraining import gold
from experiments.posttraining.data import records
from experiments.posttraining.data.chat_template import ChatTemplate, load_template
from experiments.posttraining.data.conversations import read_conversations
from experiments.posttraining.data.examples import (
    SPLITS,
    Column,
    Example,
    Examples,
    find,
    open_examples,
    prepare,
)


def open_demonstrations(config: RunConfig) -> dict[str, Examples]:
    """Both splits, columns "tokens" and "mask" (true at what the assistant says).

    Raises:
      ValueError: examples of another kind, or that cannot be prepared.
    """
    assert config.examples is not None
    if config.examples.task == "gold":
        world = config.examples.gold or GoldConfig()
        return {split: of_gold_world(world, split) for split in SPLITS}
    folder = prepare_conversations(config)
    return {split: open_examples(folder, split) for split in SPLITS}


def prepare_conversations(config: RunConfig) -> Path:
    """The folder of the run's prepared conversations; raises ValueError if they cannot be prepared."""
    examples = config.examples
    assert examples is not None
    if examples.task != "conversations":
        raise ValueError(
            f"examples.task={examples.task!r}; supervised fine-tuning takes 'conversations' or 'gold'"
        )
    if found := find(examples.task, examples.fingerprint):
        return found
    template = load_template(examples.template, load_vocab(config.data))
    identity = {
        "source": records.identity(examples.path),
        "template": template.identity,
        "vocab": to_json(config.data),
    }
    return prepare(examples.task, identity, lambda: rendered(examples, template), examples.fingerprint)


def rendered(examples: ExamplesConfig, template: ChatTemplate) -> Iterator[Example]:
    """Each conversation as tokens and mask; conversations that begin with the same prompt share a split.

    Raises:
      ValueError: one that cannot be read or rendered, with its file and line.
    """
    for place, conversation in read_conversations(examples.path):
        try:
            tokens, mask = template.render(conversation)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        prompt = tokens[: mask.argmax()]
        yield Example({"tokens": tokens, "mask": mask}, key=prompt.tobytes())


def of_gold_world(world: GoldConfig, split: str) -> Examples:
    """The demonstrations of a world with a known reward."""
    rows = gold.demonstrations(world, split)
    lengths, columns = rows["lengths"], np.arange(rows["tokens"].shape[1])
    inside = columns < lengths[:, None]
    said = (columns >= rows["prompt_lengths"][:, None]) & inside
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Examples(
        {"tokens": Column(rows["tokens"][inside], offsets), "mask": Column(said[inside], offsets)}, {}
    )
