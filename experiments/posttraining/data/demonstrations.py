"""Prompts with the responses to learn, as tokens and masks: from conversations, or from the gold world."""

from collections.abc import Iterator

import numpy as np

from experiments.config import RunConfig
from experiments.objective_configs import ExamplesConfig, GoldConfig
from experiments.posttraining import gold
from experiments.posttraining.data.chat_template import ChatTemplate
from experiments.posttraining.data.conversations import read_conversations
from experiments.posttraining.data.examples import (
    SPLITS,
    Example,
    Examples,
    RaggedColumn,
)
from experiments.posttraining.data.prepared import open_rendered


def open_demonstrations(config: RunConfig) -> dict[str, Examples]:
    """Both splits, columns "tokens" and "mask" (true at what the assistant says).

    Raises:
      ValueError: examples of another kind, or that cannot be prepared.
    """
    assert config.examples is not None
    if config.examples.task == "gold":
        world = config.examples.gold or GoldConfig()
        return {split: of_gold_world(world, split) for split in SPLITS}
    if config.examples.task != "conversations":
        raise ValueError(
            f"examples.task={config.examples.task!r}; supervised fine-tuning takes 'conversations' or 'gold'"
        )
    return open_rendered(config, rendered)


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
        {
            "tokens": RaggedColumn(rows["tokens"][inside], offsets),
            "mask": RaggedColumn(said[inside], offsets),
        },
        {},
    )
