"""`isoflop consistency`: a user's questions, asked again and otherwise; asked twice they cost nothing."""

import json

import pytest

from experiments.evaluate.trust import questions
from tests.tiny_run import isoflop

pytestmark = pytest.mark.usefixtures("cache_of_run")
QUESTIONS = [
    {"prompt": "Returns", "paraphrases": ["the part"], "answer": "the"},
    {"prompt": "of", "choices": ["it", "the"]},
]


@pytest.mark.slow
def test_a_users_questions(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ISOFLOP_CACHE", str(run.parents[2] / "cache"))
    file, out = tmp_path / "questions.jsonl", tmp_path / "r.json"
    file.write_text("\n".join(map(json.dumps, QUESTIONS)) + "\n")
    flags = ["--k", "3", "--temperatures", "0,1", "--slips", "1", "--max_tokens", "4", "--out", str(out)]
    assert isoflop("consistency", str(run), str(file), *flags) == 0
    printed = capsys.readouterr().out
    assert "determinism: logits differ by at most" in printed and "orders of choices, 1 questions" in printed
    found = json.loads(out.read_text())
    greedy = found["temperatures"]["0.0"]
    assert greedy["agreement"]["value"] == 1 and greedy["flips"]["value"] == 0
    assert greedy["entropy"]["value"] == 0
    assert [row["line"] for row in found["questions"]] == [1, 2, 1, 2]
    assert found["questions"][1]["accuracy"] is None, "no answer to compare with"
    assert len(found["determinism"]) == 4

    monkeypatch.setattr("models.decoding.sample.sample", None)  # what was asked is not asked again
    assert isoflop("consistency", str(run), str(file), *flags) == 0
    assert json.loads(out.read_text()) == found


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["a"]', "a JSON list; every line is an object"),
        ('{"answer": "a"}', "no prompt"),
        ('{"prompt": "a", "coices": []}', "unknown field 'coices'"),
        ('{"prompt": "a", "paraphrases": "b"}', "it is a list of texts"),
        ('{"prompt": ""}', "none of it empty"),
        ('{"prompt": "a", "choices": ["b", "b"]}', "all different"),
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path, line, words):
    file = tmp_path / "q.jsonl"
    file.write_text('{"prompt": "fine"}\n\n' + line)
    with pytest.raises(ValueError, match=words) as error:
        questions.read_questions(file)
    assert str(error.value).startswith(f"{file}:3: ")


def test_wrong_flags_are_refused(run, capsys):
    assert isoflop("consistency", str(run)) == 2
    assert isoflop("consistency", str(run), "q.jsonl", "--temperatures", "0,cold") == 2
    assert "give different numbers from 0 on" in capsys.readouterr().err
    for flag in ("--k=1e9", "--slips=1e9"):  # which no memory holds
        assert isoflop("consistency", str(run), "q.jsonl", flag) == 2
        assert flag in capsys.readouterr().err
