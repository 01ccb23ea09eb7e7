"""BuiltinTask tasks: pure, solvable, and no better than chance for whoever does not read the prompt."""

from collections import Counter

import pytest

from experiments.data.vocab import SentencePieceVocab
from experiments.data.vocabularies.words import train_words
from experiments.data_configs import DataConfig
from experiments.evaluate.tasks import builtin_tasks
from experiments.evaluate.tasks.builtin_tasks import BUILTIN_TASKS, builtin_task, item
from experiments.evaluate.tasks.loglikelihood import encode_choices
from tests.tiny_run import make_cache

OPENING = {closing: opening for opening, closing in builtin_tasks.CLOSING.items()}


@pytest.fixture(autouse=True)
def corpus(tmp_path_factory, monkeypatch):
    """A small default corpus; "the", "part" and so on are its words."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("tests.tiny_run.DOCUMENTS", {s: TEXTS for s in ("train", "validation", "test")})
    make_cache(folder / "docstrings-tiny")
    monkeypatch.setattr("experiments.data.prepare.prepare", lambda config: folder / "docstrings-tiny")
    for cached in (builtin_tasks._corpus, builtin_tasks._words):
        cached.cache_clear()
    yield
    for cached in (builtin_tasks._corpus, builtin_tasks._words):
        cached.cache_clear()


TEXTS = [
    "Returns the number of elements in the array, counted along the given axis. The result is an integer "
    f"with the type of the index number {i} and nothing else is ever returned from this function, whatever "
    "arguments are passed by those who call it."
    for i in range(12)
]


def solve(name: str, prompt: str) -> str:
    """The answer by another way than the generator's."""
    if name == "copy":
        return prompt.removeprefix("copy ").removesuffix(":")
    if name == "reverse":
        return "".join(reversed(prompt.removeprefix("reverse ").removesuffix(":")))
    if name == "arithmetic":
        return str(eval(prompt.split(" mod")[0]) % 10)
    stack = []
    for sign in prompt:
        if sign in builtin_tasks.CLOSING:
            stack.append(sign)
        elif sign in OPENING:
            assert stack.pop() == OPENING[sign]
    return builtin_tasks.CLOSING[stack.pop()]


@pytest.mark.parametrize("name", [name for name in BUILTIN_TASKS if name not in ("next_word", "word_end")])
def test_the_prompt_tells_the_answer(name):
    for i in range(300):
        one = item(name, i)
        assert one.target == solve(name, one.prompt) and one.target in one.choices
        assert len(set(one.choices)) == 4


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_items_are_a_function_of_seed_task_and_number(name):
    few, many = builtin_task(name, 5, seed=3), builtin_task(name, 20, seed=3)
    assert few.items == many.items[:5] and few.content == many.content
    assert few.items[4] == item(name, 4, seed=3) != item(name, 4, seed=4)
    assert few.content != builtin_task(name, 5, seed=4).content


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_guessing_without_the_prompt_is_right_once_in_four(name):
    """Neither the place of a choice nor which choice it is helps: by place, by order of the alphabet, and by
    how often a choice is right in other items."""
    n = 2000
    items = [item(name, i) for i in range(n)]
    often = Counter(one.target for one in (item(name, i, seed=1) for i in range(n)))
    for guess in (
        lambda choices: choices[0],
        lambda choices: choices[-1],
        min,
        lambda choices: max(choices, key=lambda choice: (often[choice], choice)),
    ):
        hits = sum(guess(one.choices) == one.target for one in items)
        assert abs(hits - n / 4) < 4 * (n * 3 / 16) ** 0.5


def test_words_stand_in_the_corpus_after_their_prompt():
    documents = builtin_tasks._corpus()
    for i in range(50):
        word, end = item("next_word", i), item("word_end", i)
        assert f"{word.prompt} {word.target}" in documents[int(word.document)]
        assert end.prompt + end.target in documents[int(end.document)]
        assert len(word.prompt) <= builtin_tasks.CONTEXT and {len(c) for c in word.choices} == {
            len(word.target)
        }


def test_words_may_be_of_any_corpus_and_script():
    greek = {"integer": "ἀριθμός", "index": "τιμήν"}
    texts = [" ".join(greek.get(word, word) for word in text.split(" ")) for text in TEXTS]
    own = {"greek": texts, "short": ["no words"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin_tasks, "_corpus", lambda data=None: own[data.path] if data else TEXTS)
        task = builtin_task("next_word", 300, data=DataConfig(task="files", path="greek"))
        with pytest.raises(ValueError, match="test split of corpus files has too few words"):
            builtin_task("word_end", data=DataConfig(task="files", path="short"))
    assert "τιμήν" in {one.target for one in task.items}
    assert all(f"{one.prompt} {one.target}" in texts[int(one.document)] for one in task.items)
    assert task.content != builtin_task("next_word").content


@pytest.mark.parametrize("name", ["next_word", "word_end"])
def test_who_finds_all_tokens_equally_likely_is_at_chance_though_words_are_tokens(name, tmp_path):
    """The rest of a word merges with its beginning, endings of other words do not: that must not tell."""
    (tmp_path / "vocab.model").write_bytes(train_words(TEXTS, 300))
    vocab, right = SentencePieceVocab(tmp_path / "vocab.model"), []
    for one in (item(name, i) for i in range(300)):
        endings = [BUILTIN_TASKS[name].delimiter + choice for choice in one.choices]
        n_tokens = [len(row.continuation) for row in encode_choices(vocab, one.prompt, endings)]
        best = [n == min(n_tokens) for n in n_tokens]
        right.append(best[one.choices.index(one.target)] / sum(best))
    assert sum(right) / 300 == pytest.approx(0.25, abs=0.08)  # three standard deviations
