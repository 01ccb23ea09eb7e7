"""Questions with exact answers: prompts with the answer for reinforcement learning, or demonstrations.

From a file, a record {"prompt": "2 + 2?", "answer": "4"} each, or about the people of a corpus of biographies
(`experiments.data.sources.biographies`), of whom it is known how often a model has read about them.
"""

import random
from collections.abc import Iterator

import numpy as np

from experiments.config import RunConfig
from experiments.data.sources import biographies
from experiments.data.vocab import load_vocab
from experiments.data_configs import BiographiesConfig
from experiments.objective_configs import ExamplesConfig, QuestionsConfig
from experiments.posttraining.data import contexts
from experiments.posttraining.data.chat_template import ChatTemplate, load_template
from experiments.posttraining.data.conversations import Turn
from experiments.posttraining.data.examples import SPLITS, Example, Examples, RaggedColumn
from experiments.posttraining.data.prepared import open_rendered
from experiments.posttraining.data.records import records

TASKS = ("questions", "biographies")


def open_questions(config: RunConfig) -> dict[str, Examples]:
    """Both splits, columns "prompt", "answer" and "said": tokens up to where the assistant speaks, of the
    right response, and of the one to demonstrate, which may abstain; ends of turns included.

    Raises:
      ValueError: a file that cannot be read, or a run without such people.
    """
    examples = config.examples
    assert examples is not None and examples.task in TASKS
    if examples.task == "questions":
        found = open_rendered(config, rendered)
        return {split: _with(each, said=each.columns["answer"]) for split, each in found.items()}
    if config.data.task != "biographies":
        raise ValueError(
            f"examples: task='biographies' with data.task={config.data.task!r}; the people are those of the "
            "corpus: start from a run of data.task='biographies'"
        )
    template = load_template(examples.template, load_vocab(config.data))
    world, drawn = config.data.biographies or BiographiesConfig(), examples.questions or QuestionsConfig()
    return {split: about_people(world, drawn, split, template, examples.abstention) for split in SPLITS}


def rendered(examples: ExamplesConfig, template: ChatTemplate) -> Iterator[Example]:
    """The tokens of each question and answer of a file.

    Raises:
      ValueError: a record without one of them, with its file and line.
    """
    for place, record in records(examples.path):
        prompt, answer = (record.get(name) for name in ("prompt", "answer"))
        if not (isinstance(prompt, str) and prompt.strip() and isinstance(answer, str) and answer.strip()):
            raise ValueError(f"{place}: expected 'prompt' and 'answer', texts that are not empty")
        asked = template.prompt((Turn("user", prompt),))
        yield Example({"prompt": asked, "answer": response(template, answer)}, key=asked.tobytes())


def response(template: ChatTemplate, text: str) -> np.ndarray:
    """int32[n]: what the assistant's turn with this text is, its end included."""
    tokens, mask = template.render((Turn("user", "?"), Turn("assistant", text)))
    return tokens[mask]


def about_people(
    world: BiographiesConfig, drawn: QuestionsConfig, split: str, template: ChatTemplate, abstention: str
) -> Examples:
    """Questions about each person of a split, in one of the wordings of training, as `drawn.given` says.

    Args:
      world: of the people.
      drawn: which of them, and where demonstrations abstain.
      split: "train" or "validation".
      template: how questions are asked.
      abstention: what is said to abstain.

    Raises:
      ValueError: there is nobody, or no regions where they are asked for.
    """
    if drawn.given == "city" and not world.regions:
        raise ValueError("questions: given='city' asks for regions; set data.biographies.regions=true")
    rng = random.Random(f"questions {drawn.seed} {split}")
    who = people(world, drawn, split)
    if drawn.given == "city":
        who += [(person, 1) for person in biographies.people(world, "junk")[: contexts.N_STRANGERS]]
    asked = [
        (prompt, answer, n)
        for person, n in who
        for prompt, answer in contexts.conversations(person, n, drawn, rng)
    ]
    if not asked:
        raise ValueError(
            f"questions: nobody of exposures={list(drawn.exposures)} is in the {split} split; the corpus has "
            f"{list(world.exposures)}, and questions about {world.questions:.0%} of its people"
        )
    rng.shuffle(asked)
    prompts = [template.prompt(prompt) for prompt, *_ in asked]
    answers = [response(template, answer) for _, answer, _ in asked]
    nothing = response(template, abstention)
    abstains = [n in drawn.unknown or rng.random() < drawn.abstain for *_, n in asked]
    said = [nothing if no else answer for no, answer in zip(abstains, answers)]
    columns = {"prompt": prompts, "answer": answers, "said": said}
    return Examples({name: RaggedColumn.of(rows) for name, rows in columns.items()}, {})


def people(
    world: BiographiesConfig, drawn: QuestionsConfig, split: str
) -> list[tuple[biographies.Person, int]]:
    """(person, exposures) of a split. Of those without a biography each has half."""
    trains, counts = split == "train", drawn.exposures or world.exposures
    known = biographies.people(world)
    found = [
        (person, biographies.exposures(world, i))
        for i, person in enumerate(known)
        if _is_of(split, world, drawn, i)
    ]
    n_unseen = drawn.n_unseen or 2 * (-(-len(known) // len(world.exposures)) // 2)
    unseen = biographies.people(world, "unseen")[:n_unseen]
    found += [(person, 0) for person in unseen[0 if trains else 1 :: 2]]
    return [(person, n) for person, n in found if n in counts]


def _is_of(split: str, world: BiographiesConfig, drawn: QuestionsConfig, i: int) -> bool:
    """Whether the i-th known person is in a split."""
    asked, trains = biographies.is_questioned(world, i), split == "train"
    if drawn.about == "asked":
        return asked == trains
    level = i // len(world.exposures)
    before = sum(not biographies.is_questioned(world, k * len(world.exposures)) for k in range(level))
    return not asked and (before % 2 == 0) == trains


def demonstrations(questions: Examples) -> Examples:
    """Columns "tokens" and "mask", of the prompt and what is said."""
    prompts, said = questions.columns["prompt"], questions.columns["said"]
    tokens = [np.concatenate([prompts[i], said[i]]) for i in range(len(questions))]
    masks = [np.arange(len(row)) >= n for row, n in zip(tokens, prompts.lengths)]
    columns = {"tokens": RaggedColumn.of(tokens), "mask": RaggedColumn.of(masks)}
    return Examples(columns, questions.manifest)


def reference_answers(config: RunConfig, questions: Examples, max_new: int) -> np.ndarray:
    """int32[n,2,max_new]: of each question the right response and the one that abstains, padded with 0.

    Raises:
      ValueError: one does not fit.
    """
    assert config.examples is not None
    template = load_template(config.examples.template, load_vocab(config.data))
    answers, nothing = questions.columns["answer"], response(template, config.examples.abstention)
    longest = max(int(answers.lengths.max()), len(nothing))
    if longest > max_new:
        raise ValueError(
            f"run: the longest answer has {longest} tokens, its end included, but objective.max_new={max_new}"
        )
    right = answers.padded(np.arange(len(answers)), max_new)
    abstains = np.broadcast_to(np.pad(nothing, (0, max_new - len(nothing))), right.shape)
    return np.stack([right, abstains], axis=1).astype(np.int32)


def _with(questions: Examples, **columns: RaggedColumn) -> Examples:
    return Examples({**questions.columns, **columns}, questions.manifest)
