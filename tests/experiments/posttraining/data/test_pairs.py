"""Published pairs in all forms as the same pair; tokens, batches and what is refused."""

import json

import pytest

from experiments.data.vocab import ByteVocab
from experiments.posttraining.data.chat_template import default_template
from experiments.posttraining.data.conversations import Turn
from experiments.posttraining.data.pairs import Pair, examples_of, read_pairs

TEMPLATE = default_template(ByteVocab())
PAIR = Pair((Turn("user", "2 + 2?"),), "4", "five")


def written(tmp_path, *records) -> str:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def messages(*said: str) -> list[dict]:
    return [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(said)]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "2 + 2?", "chosen": "4", "rejected": "five"},
        {"prompt": messages("2 + 2?"), "chosen": "4", "rejected": "five"},
        {"prompt": "2 + 2?", "chosen": messages("2 + 2?", "4"), "rejected": messages("2 + 2?", "five")},
        {
            "prompt": messages("2 + 2?"),
            "chosen": messages("2 + 2?", "4"),
            "rejected": messages("2 + 2?", "five"),
        },
        {
            "prompt": messages("2 + 2?"),
            "chosen": [{"role": "assistant", "content": "4"}],
            "rejected": [{"role": "assistant", "content": "five"}],
        },
        {"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: five"},
        {"prompt": "2 + 2?", "responses": {"a": "4", "b": "five"}, "ranking": "a > b"},
    ],
)
def test_every_form_of_a_pair_is_read(record, tmp_path):
    assert [pair for _, pair in read_pairs(written(tmp_path, record))] == [PAIR]


def test_conversations_of_several_turns_keep_them_all(tmp_path):
    hh = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: 2 + 2?\n\nAssistant:"
    said = ("Hi", "Yes?", "2 + 2?")
    record = {"chosen": messages(*said, "4"), "rejected": messages(*said, "five")}
    path = written(tmp_path, {"chosen": f"{hh} 4", "rejected": f"{hh} five"}, record)
    (_, one), (_, other) = read_pairs(path)
    assert one == other
    assert one.prompt == (Turn("user", "Hi"), Turn("assistant", "Yes?"), Turn("user", "2 + 2?"))


def test_a_ranking_of_three_makes_three_pairs_of_which_equal_ones_are_ties(tmp_path):
    record = {"prompt": "?", "responses": {"a": "x", "b": "y", "c": "z"}, "ranking": "c > a > b"}
    tied = record | {"ranking": ["a = b > c", "b = a"]}
    same = record | {"responses": {"a": "x", "b": "x", "c": "z"}, "ranking": "a = b > c"}
    pairs = [pair for _, pair in read_pairs(written(tmp_path, record, tied, same))]
    assert [pair.chosen + pair.rejected for pair in pairs] == ["zx", "zy", "xy", "xz", "yz", "xy", "xz", "xz"]
    assert [pair.tie for pair in pairs] == [False] * 5 + [True] + [False] * 2


def test_only_a_set_with_ties_has_a_column_of_them():
    turns = (Turn("user", "?"),)
    plain = [("1", Pair(turns, "a", "b")), ("2", Pair(turns, "c", "d"))]
    tied = [plain[0], ("2", Pair(turns, "c", "d", tie=True))]
    assert all("tie" not in example.columns for example in examples_of(plain, TEMPLATE))
    assert [float(example.columns["tie"]) for example in examples_of(tied, TEMPLATE)] == [0, 1]


def test_margins_are_given_or_the_difference_of_scores(tmp_path):
    record = {"prompt": "2 + 2?", "chosen": "4", "rejected": "five"}
    path = written(
        tmp_path, record | {"score_chosen": 8.5, "score_rejected": 6}, record | {"margin": 0.5}, record
    )
    assert [pair.margin for _, pair in read_pairs(path)] == [2.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "?", "chosen": "same", "rejected": "same"}, "both responses are 'same'"),
        ({"prompt": "?", "chosen": " ", "rejected": "x"}, "the chosen response is empty"),
        ({"prompt": "?", "chosen": "x", "rejected": ""}, "the rejected response is empty"),
        ({"prompt": "", "chosen": "x", "rejected": "y"}, "the prompt is empty"),
        ({"prompt": "?", "chosen": "x"}, "no 'rejected'"),
        ({"prompt": "?", "chosen": "x", "rejected": messages("?", "y")}, "both texts, or both lists"),
        ({"chosen": "x", "rejected": "y"}, "no 'prompt'"),
        ({"chosen": messages("?", "x"), "rejected": messages("!", "y")}, "differ before their last turn"),
        (
            {"chosen": messages("?"), "rejected": messages("?", "y")},
            "does not end with a turn of the assistant",
        ),
        ({"prompt": "?", "chosen": "x", "rejected": "y", "margin": -1}, "margin -1"),
        ({"prompt": "?", "chosen": "x", "rejected": "y", "margin": "much"}, "margin 'much'"),
        (
            {"prompt": "?", "chosen": "x", "rejected": "y", "score_chosen": 1, "score_rejected": 2},
            "margin -1.0; the chosen one is better",
        ),
        ({"prompt": "?", "responses": {"a": "x"}, "ranking": "a > b"}, "ranking of 'b'"),
        (
            {"prompt": "?", "responses": {"a": "x", "b": "y"}, "ranking": ["a > b", "b > a"]},
            "> a is a cycle|> b is a cycle",
        ),
        ({"prompt": "?", "responses": ["x", "y"], "ranking": "a > b"}, "object of texts by name"),
        ({"prompt": "?", "responses": {"a": "x", "b": "y"}}, "'ranking' is a text"),
    ],
)
def test_what_is_no_pair_is_refused_with_its_line(record, message, tmp_path):
    path = written(tmp_path, {"prompt": "2 + 2?", "chosen": "4", "rejected": "five"}, record)
    with pytest.raises(ValueError, match=message) as error:
        list(read_pairs(path))
    assert str(error.value).startswith(f"{path}:2: ")


def test_tokens_are_the_prompt_and_the_response_with_its_end():
    (example,) = examples_of([("here", PAIR)], TEMPLATE)
    prompt, vocab = TEMPLATE.prompt(PAIR.prompt), ByteVocab()
    for name, said in (("chosen", "4"), ("rejected", "five")):
        expected = [*prompt, *vocab.encode(said), vocab.eos_id]
        assert example.columns[name].tolist() == expected  # type: ignore[union-attr]
    assert example.columns["prompt_length"] == len(prompt) and example.columns["margin"] == 0


def test_what_a_template_cannot_say_is_refused_with_its_place():
    with pytest.raises(ValueError, match=r"file:3: a turn has '\\x06' in its text"):
        list(examples_of([("file:3", Pair(PAIR.prompt, "\x06", "x"))], TEMPLATE))
