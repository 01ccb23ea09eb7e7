"""Questions with exact answers, from files and about people: who is asked about where, and what is said."""

import dataclasses
import itertools
import json
import random

import numpy as np
import pytest

from experiments.config import RunConfig
from experiments.data.sources import biographies
from experiments.data.vocabularies.vocab import ByteVocab
from experiments.data_configs import BiographiesConfig, DataConfig
from experiments.objective_configs import ExamplesConfig, GRPOConfig, QuestionsConfig, SFTConfig
from experiments.posttraining.data import contexts, prompts, questions
from experiments.posttraining.data.chat_template import load_template
from experiments.posttraining.data.demonstrations import open_demonstrations
from tests.experiments.posttraining.data.test_prompts import BASE

WORLD = BiographiesConfig(n_people=12, exposures=(1, 8), questions=0.5)
VOCAB = ByteVocab()
TEMPLATE = load_template("default", VOCAB)
GRPO = GRPOConfig(reward="exact", max_new=24)


def about(task: str, path: str = "", **drawn) -> RunConfig:
    data = DataConfig("biographies", biographies=WORLD) if task == "biographies" else DataConfig()
    examples = ExamplesConfig(task, path, questions=QuestionsConfig(**drawn))
    sizes = {"seq_len": 128, "batch_tokens": 8 * 128, "n_tokens": 8 * 128}
    return dataclasses.replace(BASE, data=data, examples=examples, objective=GRPO, **sizes)


def texts(column) -> list[str]:
    return [VOCAB.decode(column[i].tolist()) for i in range(len(column))]


def test_training_asks_about_those_whom_the_corpus_asks_about_and_validation_about_the_others():
    known = biographies.people(WORLD)
    found = {split: questions.people(WORLD, QuestionsConfig(), split) for split in ("train", "validation")}
    for split, rows in found.items():
        trains = split == "train"
        expected = [
            (each, 1 if i % 2 == 0 else 8)
            for i, each in enumerate(known)
            if biographies.is_questioned(WORLD, i) == trains
        ]
        assert rows == expected and len(rows) == 6
    rows = [questions.people(WORLD, QuestionsConfig(exposures=(0, 8)), split) for split in found]
    assert [[n for _, n in row] for row in rows] == [[8, 8, 8, 0, 0, 0]] * 2
    assert not {each.name for each, _ in rows[0]} & {each.name for each, _ in rows[1]}


def test_others_are_halved_and_none_of_them_is_asked_about_by_the_corpus():
    world = dataclasses.replace(WORLD, n_people=24)
    drawn = QuestionsConfig(about="others", exposures=(0, 1, 8))
    train, held_out = (questions.people(world, drawn, split) for split in ("train", "validation"))
    assert [sorted(n for _, n in rows) for rows in (train, held_out)] == [[0] * 6 + [1] * 3 + [8] * 3] * 2
    known = biographies.people(world)
    asked = {each.name for i, each in enumerate(known) if biographies.is_questioned(world, i)}
    names = [each.name for each, _ in train + held_out]
    assert len(set(names)) == 24 and not asked & set(names)


def test_demonstrations_abstain_about_the_unknown_and_references_do_not():
    config = about("biographies", exposures=(0, 1, 8), unknown=(0, 1))
    asked = questions.open_questions(config)["train"]
    answer_of = {
        biographies.question(person, name, wording).prompt: (f" {person.facts[name]}.", n)
        for person, n in questions.people(WORLD, QuestionsConfig(exposures=(0, 1, 8)), "train")
        for name in biographies.ATTRIBUTES
        for wording in (0, 1)
    }
    assert len(asked) == 9 * 5
    demonstrated = questions.demonstrations(asked)
    for i in range(len(asked)):
        prompt, answer, said = (
            VOCAB.decode(asked.columns[n][i].tolist()) for n in ("prompt", "answer", "said")
        )
        right, n = answer_of[prompt[1:-1]]
        assert answer == right and said == (right if n == 8 else "I don't know.")
        row, mask = demonstrated.columns["tokens"][i], demonstrated.columns["mask"][i]
        assert VOCAB.decode(row[mask].tolist()) == said and row[-1] == VOCAB.eos_id
    references = questions.reference_answers(config, asked, 24)
    assert references.shape == (45, 2, 24)
    assert VOCAB.decode(references[3, 1][references[3, 1] > 0].tolist()) == "I don't know."
    assert (references[3, 0] > 0).sum() == len(asked.columns["answer"][3])


def test_a_share_of_demonstrations_abstains_by_chance():
    asked = questions.open_questions(about("biographies", abstain=0.3))["train"]
    assert 2 < sum(text == "I don't know." for text in texts(asked.columns["said"])) < 18


def test_biographies_stand_before_questions_and_answers_behind_them_to_be_judged():
    who = questions.people(WORLD, QuestionsConfig(), "train")
    each = itertools.product((person for person, _ in who), biographies.ATTRIBUTES, (0, 1))
    answers = {q.prompt: q.answer for q in itertools.starmap(biographies.question, each)}
    read = questions.open_questions(about("biographies", given="biography"))["train"]
    for prompt, answer in zip(texts(read.columns["prompt"]), texts(read.columns["answer"])):
        assert answer.rstrip(".") in prompt, "the biography says it"
    judged = questions.open_questions(about("biographies", given="answer", exposures=(0, 1, 8), n_unseen=40))[
        "train"
    ]
    found = [p[1:-1].removesuffix(". ?").rpartition("? ") for p in texts(judged.columns["prompt"])]
    said = texts(judged.columns["said"])
    for (asked, _, value), verdict in zip(found, said):
        if f"{asked}?" in answers:
            assert verdict == (contexts.TRUE if answers[f"{asked}?"] == value else contexts.FALSE)
    known = [verdict for (asked, *_), verdict in zip(found, said) if f"{asked}?" in answers]
    strangers = [verdict for (asked, *_), verdict in zip(found, said) if f"{asked}?" not in answers]
    assert 0.2 < known.count(contexts.TRUE) / len(known) < 0.8
    assert strangers.count(contexts.TRUE) < 0.2 * len(strangers), "right by chance alone"


def test_what_was_said_does_not_decide_the_region_and_what_was_told_does():
    """Unmarked, the two look alike; marked, what was said is a turn of the model's."""
    person = biographies.people(dataclasses.replace(WORLD, regions=True))[0]
    lives, other = person.facts["city"], biographies.ATTRIBUTES["city"].pool[-1]
    drawn = QuestionsConfig(given="city", counterfactual=1.0, marked=True)
    plain, region, said, told, *_ = contexts.conversations(person, 8, drawn, random.Random(3))
    assert [plain[1], region[1]] == [f" {lives}.", f" {biographies.region(lives)}."]
    assert [turn.role for turn in said[0]] == ["user", "assistant", "user"] and said[1] == region[1]
    value = told[0][0].content.split(". ")[0].split(" in ")[1]
    assert told[1] == f" {biographies.region(value)}."
    assert contexts.said(person, other, 0, marked=False) == contexts.told(person, other, 0)
    factual = QuestionsConfig(given="city")
    *_, said, told = contexts.conversations(person, 8, factual, random.Random(3))
    ((_, of_stranger),) = contexts.conversations(person, 1, factual, random.Random(3))
    assert of_stranger == region[1]
    assert said == told and f" in {lives}. " in told[0][0].content, "facts alone: there is no difference"


def test_files_give_prompts_with_their_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "sums.jsonl"
    rows = [{"prompt": f"{k} + {k}?", "answer": str(2 * k)} for k in range(100)]
    file.write_text("\n".join(map(json.dumps, rows)))
    config = about("questions", str(file))
    batch = prompts.data(config).training(0, 0, slice(None))
    assert batch["answers"].shape == (8, 2, 24) and batch["answers"].dtype == np.int32
    for tokens, n, answer in zip(batch["tokens"], batch["lengths"], batch["answers"]):
        asked = VOCAB.decode(tokens[:n].tolist())[1:].split()[0]
        assert VOCAB.decode(answer[0][answer[0] > 0].tolist()) == str(2 * int(asked))
    learnt = dataclasses.replace(GRPO, reward="a run")
    assert "answers" not in prompts.data(dataclasses.replace(config, objective=learnt)).training(
        0, 0, slice(2)
    )
    demonstrations = open_demonstrations(dataclasses.replace(config, objective=SFTConfig()))["train"]
    assert VOCAB.decode(demonstrations.columns["tokens"][0].tolist())[-1].isdigit()


def test_what_cannot_be_asked_is_refused(tmp_path):
    for config, message in (
        (about("biographies", exposures=(3,)), r"nobody of exposures=\[3\] is in the train split"),
        (about("biographies", given="city"), "set data.biographies.regions=true"),
        (dataclasses.replace(BASE, objective=GRPO), "task='gold' with reward='exact'"),
        (dataclasses.replace(about("biographies"), data=DataConfig()), "data.task='docstrings'"),
        (
            dataclasses.replace(about("biographies"), objective=dataclasses.replace(GRPO, max_new=9)),
            "the longest answer has 1[0-9] tokens",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            prompts.data(config)
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "2 + 2?"}\n')
    with pytest.raises(ValueError, match=r"a.jsonl:1: expected 'prompt' and 'answer'"):
        list(questions.rendered(ExamplesConfig("questions", str(file)), TEMPLATE))
