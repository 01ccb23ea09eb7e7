"""Bits a byte under a checkpoint, asked in another process: as scored here, and a filter that has a limit."""

import math
import shutil

import numpy as np
import pytest

from experiments.data.cleaning.source import identity
from experiments.data.composition.survey import Questions, survey
from experiments.data.document import Document
from experiments.data.quality import chain, model_perplexity
from experiments.data_configs import DataConfig, QualityConfig
from experiments.evaluate.language_modelling.bits_per_byte import bits_per_byte
from experiments.evaluate.language_modelling.token_losses import _window_losses, token_losses
from experiments.evaluate.loaded_model import load_model

pytestmark = pytest.mark.usefixtures("cache_of_run")
CLEAN = [f"Returns the part {k} of it, and says why." for k in range(60)]


def test_a_text_costs_what_its_windows_cost_whatever_is_asked_beside_it(run):
    loaded = load_model(run)
    context, vocab = loaded.config.seq_len, loaded.vocab
    texts = ["a" * n for n in (1, context - 1, context, context + 1, 3 * context)] + ["Zwei Wörter"]
    together = bits_per_byte(loaded, texts)
    for text, bits in zip(texts, together):
        stream = np.array([vocab.eos_id, *vocab.encode(text)])
        nats = token_losses(loaded.model, loaded.params, stream, context)
        assert bits == pytest.approx(nats.sum() / math.log(2) / len(text.encode()), rel=1e-5)
    n_programs = _window_losses._cache_size()
    for n in (1, 50, 400):  # one batch or several
        assert bits_per_byte(loaded, texts[:1] * n) == pytest.approx([together[0]] * n, rel=1e-5)
    assert _window_losses._cache_size() == n_programs


def test_the_filter_has_its_limit_from_clean_text_and_asks_another_process(run):
    documents = [Document(text) for text in CLEAN]
    config = QualityConfig(("markup", "model_perplexity"), clean="clean", model=str(run))
    filters = chain.make(config, lambda path: documents)
    asked = filters["model_perplexity"]
    bits = bits_per_byte(load_model(run), CLEAN)
    assert asked.most == pytest.approx(np.quantile(bits, 0.99), rel=1e-4)  # type: ignore[attr-defined]
    order = np.argsort(bits)
    some = [Document("<html>"), documents[order[0]], documents[order[-1]]]
    expected = ["markup.page", "", "model_perplexity"]
    assert [name for name, _ in chain.judge_all(filters, some)] == expected
    assert [chain.judge(filters, document)[0] for document in some] == expected
    found = survey(documents, Questions(identify=None, filters=filters))
    assert found.removed_by["model_perplexity"] == 1
    assert sum(found.scores["model_perplexity"].documents.values()) == len(CLEAN)


def test_the_content_of_the_checkpoint_is_part_of_the_identity(run, tmp_path):
    def of(model) -> str:
        quality = QualityConfig(("model_perplexity",), model=str(model))
        return identity(DataConfig(quality=quality))["model"]

    copy = shutil.copytree(run, tmp_path / "copy")
    assert of(copy) == of(run)
    largest = max((copy / "checkpoints").rglob("params/**/d/*"), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[::-1])
    assert of(copy) != of(run)


def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"data.quality.model=.*: no checkpoint there \(no config.json\)"):
        model_perplexity.identity(str(tmp_path))
    with pytest.raises(ValueError, match="asks a checkpoint; give the folder of a run"):
        chain.make(QualityConfig(("model_perplexity",), clean="clean"), lambda path: [])


@pytest.mark.slow
def test_what_the_other_process_cannot_do_is_said_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"data.quality.model=.* is neither a run .* nor a study") as error:
        model_perplexity.bits_per_byte(str(tmp_path), ["text"])
    assert "\n" not in str(error.value)
