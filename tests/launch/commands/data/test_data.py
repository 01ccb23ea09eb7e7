"""`isoflop data`: the table, the JSON, the page, and what is refused."""

import json

import pytest

from launch import cli

TEXT = {
    "de": "Das alte Haus am Fluss hatte viele Jahre leer gestanden.",
    "en": "The old house was empty for years.",
}


@pytest.fixture
def corpus(tmp_path):
    lines = [{"body": f"{TEXT[lang]} {i}", "source": lang} for lang in TEXT for i in range(30)] + [
        {"body": " "}
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_corpus_is_described(corpus, tmp_path, capsys):
    page = tmp_path / "page.html"
    command = [
        "data",
        str(corpus),
        "--text_field",
        "body",
        "--by",
        "source",
        "--vocab",
        "bytes",
        "--workers",
        "1",
    ]
    assert cli.main([*command, "--out", str(page), "--filters=default"]) == 0
    printed = capsys.readouterr().out
    assert "60 documents" in printed and "German (de)" in printed and "left out: 1 empty" in printed
    assert "filters would remove" in printed and "gopher.word_count" in printed and "50 – 100,000" in printed
    assert "German" in page.read_text() and "Quality" in page.read_text()
    assert cli.main([*command, "--json", "--sample", "20"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["documents"] == 60 and found["looked_at"] == 20 and found["skipped"] == {"empty": 1}
    assert found["tokens"] == found["bytes"]
    shares = {row["value"]: row["share"] for row in found["groups"]["source"]}
    assert (
        shares["de"]["lo"] < 0.5 < shares["de"]["hi"] and shares["de"]["value"] + shares["en"]["value"] == 1
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "data.path=nowhere: no such file or folder"),
        (["c4"], "c4: this task's documents cannot be listed"),
        (["corpus", "--filters=classifier"], "--filters classifier: learns from text of its own"),
        (["corpus", "--filters=gophr"], "no filter 'gophr'; did you mean 'gopher'"),
        (["corpus", "--domains=x"], "--domains x; expected FILE:FIELD"),
        (["corpus", "--parallel=id"], "--parallel FIELD needs --by"),
        (["corpus", "--sample", "-1"], "--sample -1"),
        (["corpus"], "no string 'text' in this line (it has body, source)"),
        (["corpus", "--text_field", "body", "--vocab", "x.json"], "vocabulary 'x.json'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(corpus, capsys, arguments, message):
    arguments = [str(corpus) if word == "corpus" else word for word in arguments]
    assert cli.main(["data", *arguments, "--workers", "1"]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
