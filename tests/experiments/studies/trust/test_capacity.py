"""The study of capacity: what it plans, how runs compare, and the whole of it, tiny."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.data.sources.biographies import people, records
from experiments.data.vocab import SentencePieceVocab
from experiments.data.vocabularies.words import train_words
from experiments.data_configs import BiographiesConfig
from experiments.studies.trust.capacity import measures, study
from tests.tiny_run import isoflop


def test_words_and_tokens_are_those_of_a_vocabulary_that_has_every_word(tmp_path):
    corpus = BiographiesConfig(n_people=20, exposures=(3,), questions=0.0, n_junk=9, source=True)
    n_words, n_tokens = measures.words_and_tokens(corpus)
    texts = [document.text for document in records(corpus)]
    (tmp_path / "vocab.model").write_bytes(train_words(texts, study.data_of(corpus).vocab_size))
    vocab = SentencePieceVocab(tmp_path / "vocab.model")
    encoded = [vocab.encode(text) for text in texts]
    assert sum(map(len, encoded)) + len(texts) == n_tokens
    assert len({token for tokens in encoded for token in tokens}) == n_words
    with pytest.raises(ValueError, match="bytes and words of this text"):
        train_words(texts, study.data_of(corpus).vocab_size + 1)


def test_runs_meet_facts_as_often_as_they_should_and_junk_takes_its_share_of_the_text():
    settings = study.Settings(n_people=(128, 256), junk=3)
    stages = study.planned(settings)
    data = {run.corpus: study.data_of(run.corpus) for stage in stages for run in stage}
    for run in (run for stage in stages for run in stage):
        config = study.configure(settings, data, run)
        epochs = config.n_tokens / measures.words_and_tokens(run.corpus)[1]
        assert epochs * run.corpus.exposures[0] == pytest.approx(run.exposures, rel=1e-3)
        if run.kind in ("junk", "source"):
            useful = run.corpus.n_people * run.corpus.exposures[0]
            assert len(people(run.corpus, "junk")) == settings.junk * useful
            assert run.corpus.source == (run.kind == "source")
    assert {run.kind for run in stages[2]} == {"most", "plain", "gated", "junk", "source"}
    assert {run.width for run in stages[1]} == {settings.widths[-1]}, "the law has not seen it"
    assert settings.widths[-1] not in {run.width for run in stages[0]}


def test_kinds_compare_in_pairs_of_a_seed():
    runs = [("plain", 1, 9.0), ("gated", 0, 4.0), ("plain", 0, 6.0), ("gated", 1, 6.0)]
    table = pd.DataFrame([{"kind": kind, "seed": seed, "run_id": f"{kind}{seed}"} for kind, seed, _ in runs])
    bits = {f"{kind}{seed}": np.array([value - 1, value + 1]) for kind, seed, value in runs}
    found = measures.compare(table, "plain", "gated", bits)
    assert found["bits_of_one"] == [6.0, 9.0] and found["bits_of_other"] == [4.0, 6.0]
    assert found["ratio"] == pytest.approx(1.5) and found["seeds_alike"] == 2
    assert found["p"] == pytest.approx(2 / np.pi * np.arctan(1 / 5), rel=1e-6)  # t = 5, one degree of freedom


def test_bits_of_runs_that_differ_by_seed_have_an_interval_over_seeds():
    rows = [(100, 5, 1.0), (100, 5, 1.4), (100, 5, 1.2), (200, 5, 9.0)]
    table = pd.DataFrame(rows, columns=["n_params", "exposures", "bits_with_names"])
    (found,) = measures.of_seeds(table.assign(kind="most", n_people=7), 0.9)
    half = 2.9199856 * 0.2 / 3**0.5  # Student's t of two degrees of freedom
    assert found["seeds"] == 3 and found["bits"] == pytest.approx(1.2)
    assert [found["lo"], found["hi"]] == pytest.approx([1.2 - half, 1.2 + half])


def test_too_few_runs_for_the_law_are_refused():
    with pytest.raises(ValueError, match="the law needs 4 runs or more"):
        study.study(["widths=[8,12]", "n_people=[64]", "exposures=[4,8,12]"])


@pytest.mark.slow
@pytest.mark.usefixtures("prepares_here")
def test_the_whole_study_tiny(tmp_path):
    small = {"widths": "[8,12,16]", "n_people": "[32]", "exposures": "[2,4]", "most_exposures": "8"}
    small |= {"compared_exposures": "4", "n_seeds": "2", "junk": "3", "n_bootstrap": "20"}
    options = [word for item in small.items() for word in ("--set", "=".join(item))]
    assert isoflop("study", "capacity", "--out", str(tmp_path / "out"), "--workers=1", *options) == 0
    found = json.loads((tmp_path / "out" / "capacity.json").read_text())
    said = json.loads((tmp_path / "out" / "prediction.json").read_text())["rows"]
    assert [row["predicted"] for row in said] == [row["predicted"] for row in found["verify"]["rows"]]
    assert len(found["compared"]) == len(measures.COMPARED)
    assert found["verify"]["rms_error"] >= 0 and found["verify"]["rms_unchanged"] >= 0
    table = pd.read_csv(tmp_path / "out" / "capacity.csv")
    assert (table["bits_lo"] <= table["bits"]).all() and (table["bits"] <= table["bits_hi"]).all()
