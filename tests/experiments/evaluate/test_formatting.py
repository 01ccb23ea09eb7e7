"""What was found, said three ways: JSON without nan, rows of a table and tables for people; all by hand."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.data.vocab import ByteVocab
from experiments.evaluate import formatting
from experiments.evaluate.checkpoint_comparison import CheckpointResponses
from experiments.evaluate.checkpoint_paths import Checkpoint
from experiments.evaluate.language_modelling import perplexity
from experiments.evaluate.language_modelling.text_score import TextScore
from experiments.evaluate.language_modelling.tokenized_text import TokenizedText
from experiments.evaluate.tasks.task import InvalidItem
from tests.experiments.evaluate.answered import answered, choice, marked, run

VOCAB, CONTEXT = ByteVocab(), 6
HALF = 0.5 * 36 / (24 * math.log(2))  # bits per byte of 12 documents "ab" at half a nat a token


def text_score(nats: float, n_documents: int = 12, by: tuple[str, ...] = ()) -> TextScore:
    """Documents "ab", each token of which costs as much."""
    pieces = [[VOCAB.eos_id], *([*VOCAB.encode("ab"), VOCAB.eos_id] for _ in range(n_documents))]
    text = TokenizedText(
        np.concatenate(pieces), np.cumsum([len(piece) for piece in pieces]), (), (InvalidItem(3, "empty"),)
    )
    cost = np.full(3 * n_documents, nats, np.float32)
    tally = perplexity.document_losses(cost, text, VOCAB)
    groups = {
        "position": perplexity.by_position(cost, tally, CONTEXT),
        "lang": perplexity.by_document(tally, ["de", "en", "en"] * (n_documents // 3), CONTEXT),
    }
    whole = perplexity.summarise(cost, text, VOCAB, CONTEXT)
    return TextScore(Path("out/a"), "t.jsonl", text, tally, whole, {name: groups[name] for name in by})


def cells(line: str) -> list[str]:
    return line.replace(" ± ", "±").split()


def test_what_was_left_out_is_reported_of_the_first_checkpoint_alone():
    task = replace(marked("1"), invalid=(InvalidItem(7, "too long"),))
    scores = [CheckpointResponses(Checkpoint(Path(name)), {"parity": task}) for name in "ab"]
    assert formatting.invalid_items(scores, [text_score(1)] * 2) == [
        "t.jsonl:3: left out: empty",
        "parity:7: left out: too long",
    ]
    assert (
        formatting.invalid_items(scores, [])[0].startswith("parity:7")
        and formatting.invalid_items([], []) == []
    )


def test_rows_of_texts_come_before_those_of_tasks():
    of_run = {"run_id": "r1", "loss": "2.5", "metric": "not the study's"}
    made = formatting.rows(
        [CheckpointResponses(Checkpoint(Path("a"), of_run), {"t": marked("10")})], [text_score(0.5)]
    )
    assert [(one["run_id"], one["metric"]) for one in made[:3]] == [
        ("r1", "bits_per_byte"),
        ("r1", "loss"),
        ("r1", "acc"),
    ]
    assert [one["value"] for one in made[:3]] == pytest.approx([HALF, 0.5, 0.5])
    assert (made[0]["task"], made[0]["n"], made[0]["chance"], made[0]["loss"]) == ("t.jsonl", 12, None, "2.5")
    assert list(made[0]) == list(made[2])


def test_json_of_one_checkpoint_has_null_where_there_is_too_little():
    task = replace(marked("1"), invalid=(InvalidItem(7, "too long"),))
    one = CheckpointResponses(Checkpoint(Path("a")), {"parity": task})
    found = json.loads(json.dumps(formatting.as_json([one], [text_score(0.5, 1)]), allow_nan=False))
    assert found["run"] == "a" and found["text"] == "t.jsonl" and "by" not in found
    assert (found["loss"], found["loss_se"], found["loss_ci"]) == (0.5, None, [None, None])
    parity = found["tasks"]["parity"]
    assert (parity["n"], parity["n_broken"], parity["chance"]) == (1, 1, 0.5)
    assert parity["acc"]["value"] == 1 and parity["acc"]["se"] is None
    [only] = parity["calibration"]["bins"]
    assert only["n"] == 1 and only["accuracy"]["value"] == 1


def test_json_has_calibration_for_choices_and_a_text_by_its_groups():
    said = answered("cloze", (choice("x", -1, -2)[0], {"logprob": -1.5, "greedy": True}))
    [task] = formatting.as_json([CheckpointResponses(Checkpoint(Path("a")), {"u": said})], [])[
        "tasks"
    ].values()
    assert "calibration" not in task and task["nats"]["value"] == 1.5
    found = formatting.as_json(
        [CheckpointResponses(Checkpoint(Path("a")), {})], [text_score(0.5, by=("position", "lang"))]
    )
    assert "tasks" not in found and found["bits_per_byte"] == pytest.approx(HALF)
    assert found["by"]["position"]["2-3"]["loss"]["value"] == 0.5
    english = found["by"]["lang"]["en"]
    assert (english["n_documents"], english["n_bytes"]) == (8, 16)
    assert english["bits_per_byte"]["value"] == pytest.approx(HALF)


@pytest.fixture
def three(tmp_path) -> list[CheckpointResponses]:
    """The second is right where the first is wrong; the third is the first with another seed."""
    row = {"stage": "grid", "n_params": "1234", "n_tokens": "2e9", "loss": "3.14159"}
    about = [
        ("a", row, {"seed": 0, "lr": 1}),
        ("b", row, {"seed": 0, "lr": 2}),
        ("c", row, {"seed": 1, "lr": 1}),
    ]
    marks = ["0" * 40, "1" * 40, "0" * 40]
    return [
        CheckpointResponses(run(tmp_path, name, dict(row), **config), {"u": marked(each)})
        for (name, row, config), each in zip(about, marks)
    ]


def test_json_of_several_has_differences_from_the_first_and_seeds(three):
    found = formatting.as_json(three, [text_score(nats) for nats in (0.5, 0.25, 0.5)])
    assert [one["run"] for one in found["checkpoints"]] == [str(one.checkpoint.folder) for one in three]
    better, same = found["differences"]
    assert {one["against"] for one in found["differences"]} == {str(three[0].checkpoint.folder)}
    assert better["run"] == str(three[1].checkpoint.folder)
    assert better["u"]["value"] == 1 and better["bits_per_byte"]["value"] == pytest.approx(-HALF / 2)
    assert same["u"]["value"] == same["bits_per_byte"]["value"] == 0
    [seeds] = found["seeds"]
    assert (seeds["runs"], seeds["task"], seeds["value"], seeds["between_sd"]) == (["a", "c"], "u", 0, 0)
    assert "bits_per_byte" not in formatting.as_json(three, [])["differences"][0]


def test_one_item_has_no_interval_in_any_form(tmp_path):
    two = [
        CheckpointResponses(run(tmp_path, name, seed=seed), {"u": marked("1")})
        for name, seed in (("a", 0), ("b", 1))
    ]
    found = json.loads(json.dumps(formatting.as_json(two, []), allow_nan=False))
    assert found["seeds"][0]["value"] == 1 and found["seeds"][0]["se_items"] is None
    assert "nan to nan" not in formatting.as_text(two, []) + formatting.as_text(two[:1], [])


def test_a_text_for_people():
    lines = formatting.as_text(
        [CheckpointResponses(Checkpoint(Path("a")), {})], [text_score(0.5)]
    ).splitlines()
    assert lines[0] == "out/a on t.jsonl: 12 documents, 36 tokens, 24 bytes"
    assert cells(lines[1]) == [
        "loss",
        "0.5000±0.0000",
        "nats/token",
        *("90%", "interval", "0.5000", "to", "0.5000"),
    ]
    assert cells(lines[2])[:4] == ["bits", "per", "byte", f"{HALF:.4f}±0.0000"]
    assert cells(lines[3]) == ["perplexity", f"{math.exp(0.5):.3f}"]
    assert lines[4] == "windows of 6 tokens; intervals over documents"
    alone = formatting.as_text([CheckpointResponses(Checkpoint(Path("a")), {})], [text_score(0.5, 1)])
    assert "no interval: the text is a single window" in alone and "±" not in alone


def test_groups_for_people_have_the_columns_that_they_know():
    found = formatting.as_text(
        [CheckpointResponses(Checkpoint(Path("a")), {})], [text_score(0.5, by=("position", "lang"))]
    )
    position, lang = found.split("\n\n")[1:]
    assert position.splitlines()[0].split() == ["by", "position", "nats/token"]
    assert cells(position.splitlines()[3]) == ["2-3", "0.5000±0.0000"]
    assert " ".join(lang.splitlines()[0].split()) == "by lang nats/token bits per byte documents bytes"
    assert cells(lang.splitlines()[2]) == ["en", "0.5000±0.0000", f"{HALF:.4f}±0.0000", "8", "16"]


def test_tasks_for_people():
    found = formatting.as_text(
        [CheckpointResponses(Checkpoint(Path("a")), {"parity": marked("1110")})], []
    ).splitlines()
    assert found[0] == "a" and found[1].split()[:3] == ["task", "metric", "value"]
    assert cells(found[2])[:3] == ["parity", "acc", "0.750±0.250"] and found[2].split()[-2:] == ["4", "0.5"]
    assert [line.split()[0] for line in found[3:]] == ["acc_norm", "acc_bytes", "prob", "brier", "ECE"]
    assert len({len(line) for line in found[1:5]}) == 1  # columns end together


def test_several_for_people_are_marked_where_they_are_surely_better_or_worse(three):
    texts = [text_score(nats) for nats in (0.5, 0.25, 0.75)]
    table, seeds = formatting.as_text(three, texts).split("\n\n")
    head, a, b, c, legend, chance = table.splitlines()
    assert head.split() == ["run", "stage", "n_params", "n_tokens", "loss", "t.jsonl", "u"]
    known = ["grid", "1,234", "2e+09", "3.1416"]
    assert cells(a) == ["a", *known, f"{HALF:.4f}±0.0000", "0.000±0.000"]
    assert cells(b) == ["b", *known, f"{HALF / 2:.4f}±0.0000+", "1.000±0.000+"]  # fewer bits are better
    assert cells(c) == ["c", *known, f"{HALF * 1.5:.4f}±0.0000-", "0.000±0.000"]
    assert legend.startswith("t.jsonl: bits per byte; accuracy") and chance == "chance: u 0.5"
    assert seeds.splitlines()[1].split()[0] == "u" and seeds.splitlines()[1].endswith("0.000  a, c")


def test_a_difference_within_rounding_is_a_tie(three):
    lines = formatting.as_text(three, [text_score(nats) for nats in (0.5, 0.500001, 0.50002)]).splitlines()
    assert [cells(line)[5][-1] for line in lines[1:4]] == ["0", "0", "-"]


def test_what_one_run_does_not_say_is_no_column_and_no_seeds_are_no_table(three):
    three[1].checkpoint.row.clear()
    found = formatting.as_text(three[:2], [])
    assert found.splitlines()[0].split() == ["run", "u"] and "over seeds" not in found
