"""`isoflop diversity`: measures of what `isoflop sample --prompts` printed."""

import json

import pytest

from tests.tiny_run import isoflop


@pytest.fixture
def samples(tmp_path):
    said = [["a b c d", "a b c e"], ["x y", "x y"]]
    lines = [{"prompt": "", "samples": [{"text": text} for text in texts]} for texts in said]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_samples_are_measured_within_prompts_across_them_and_against_a_corpus(samples, tmp_path, capsys):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"text": "so a b c d"}\n{"text": "x"}\n')
    assert isoflop("diversity", str(samples), "--corpus", str(corpus), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_prompts"], found["n_samples"]) == (2, 4)
    assert found["within"]["distinct_1"] == (5 / 8 + 2 / 4) / 2
    assert found["within"]["unique"] == 0.75 and found["across"]["unique"] == 0.75
    assert found["within"]["distinct_4"] == "nan"  # the second prompt's samples have none
    assert found["novelty"]["longest_copied"] == (4 + 3 + 1 + 1) / 4
    assert found["novelty"]["novel"] == 0.75
    assert isoflop("diversity", str(samples), "--by=letters") == 0
    assert "4 samples of 2 prompts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [('{"prompt": "a"}', r"samples.jsonl:1: no 'samples'"), ('{"samples": [{"text": "a"}]}', "2 or more")],
)
def test_what_is_no_output_of_sample_is_refused_in_one_line(line, said, tmp_path, capsys):
    path = tmp_path / "samples.jsonl"
    path.write_text(line + "\n")
    assert isoflop("diversity", str(path)) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error
    assert isoflop("diversity") == 2
