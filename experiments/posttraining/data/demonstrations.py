"""Prompts with the responses to learn, as tokens and masks: from conversations, the gold world, or questions
with their queries or exact answers."""

import itertools
import json
from collections.abc import Iterator

import numpy as np

from experiments.config import RunConfig
from experiments.data.sources import queries
from experiments.data.vocab import load_vocab
from experiments.objective_configs import ExamplesConfig, GoldConfig, QueriesConfig
from experiments.posttraining import gold
from experiments.posttraining.data import questions
from experiments.posttraining.data.chat_template import ChatTemplate, load_template
from experiments.posttraining.data.conversations import Turn, read_conversations
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
    if config.examples.task == "queries":
        template = load_template(config.examples.template, load_vocab(config.data))
        drawn = config.examples.queries or QueriesConfig()
        return {split: of_queries(drawn, split, template) for split in SPLITS}
    if config.examples.task in questions.TASKS:
        asked = questions.open_questions(config)
        return {split: questions.demonstrations(each) for split, each in asked.items()}
    if config.examples.task != "conversations":
        raise ValueError(
            f"examples.task={config.examples.task!r}; supervised fine-tuning takes conversations, gold, "
            f"queries, {', '.join(questions.TASKS)}"
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


def of_queries(drawn: QueriesConfig, split: str, template: ChatTemplate) -> Examples:
    """The first questions of a split, answered by their queries as JSON."""
    found = itertools.islice(queries.questions(drawn.seed, split), drawn.n_examples)
    turns = ((Turn("user", each.text), Turn("assistant", json.dumps(each.query))) for each in found)
    tokens, masks = zip(*map(template.render, turns))
    return Examples({"tokens": RaggedColumn.of(tokens), "mask": RaggedColumn.of(masks)}, {})


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
