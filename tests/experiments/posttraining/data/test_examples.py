"""Examples on disk: what is written is what is read, whatever order it came in; damage is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.batches import shuffled
from experiments.posttraining.data.examples import (
    SPLITS,
    Example,
    RaggedColumn,
    open_examples,
    prepare,
    read_manifest,
    write_examples,
)


def pairs(n=200):
    """Examples of n pairs, two of each prompt."""
    for i in range(n):
        prompt = [i // 2 + 3, 9]
        chosen, rejected = [*prompt, 100 + i, 1], [*prompt, *range(i % 5)]
        columns = {"chosen": chosen, "rejected": rejected, "prompt_length": 2, "margin": i / 4}
        yield Example(columns, key=str(prompt).encode())


def as_lists(examples):
    return [
        tuple(tuple(np.asarray(value).tolist()) for value in examples[i].values())
        for i in range(len(examples))
    ]


def test_what_is_written_is_what_is_read(tmp_path):
    write_examples(tmp_path, pairs(), "preferences")
    train, validation = (open_examples(tmp_path, split) for split in SPLITS)
    expected = [
        (
            tuple(e.columns["chosen"]),
            tuple(e.columns["rejected"]),
            (e.columns["prompt_length"],),
            (e.columns["margin"],),
        )
        for e in pairs()
    ]
    assert sorted(as_lists(train) + as_lists(validation)) == sorted(expected)
    assert train.columns["margin"].values.dtype == np.float32
    assert (train.columns["prompt_length"].scalars == 2).all()
    assert len(validation) > 0


def test_order_of_arrival_changes_nothing(tmp_path):
    for name, order in (("a", 1), ("b", -1)):
        (tmp_path / name).mkdir()
        write_examples(tmp_path / name, list(pairs())[::order], "preferences")
    assert read_manifest(tmp_path / "a") == read_manifest(tmp_path / "b")
    one, other = (open_examples(tmp_path / name, "train") for name in "ab")
    assert as_lists(one) == as_lists(other)
    chosen = [row[0][2] for row in as_lists(one)]
    assert chosen != sorted(chosen)  # shuffled


def test_another_token_is_another_fingerprint(tmp_path):
    found = set()
    for name, last in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        examples = [*pairs(), Example({"chosen": [5], "rejected": [last], "prompt_length": 1, "margin": 0.0})]
        write_examples(tmp_path / name, examples, "preferences")
        found.add(read_manifest(tmp_path / name)["fingerprint"])
    assert len(found) == 2


def test_a_prompt_is_on_one_side_of_the_split_only(tmp_path):
    write_examples(tmp_path, pairs(2000), "preferences")
    prompts = {split: {row[0][:2] for row in as_lists(open_examples(tmp_path, split))} for split in SPLITS}
    assert not prompts["train"] & prompts["validation"]
    assert 30 <= len(prompts["validation"]) <= 75  # one of twenty of 1,000; five standard deviations are 34
    side = {split: set(as_lists(open_examples(tmp_path, split))) for split in SPLITS}
    (tmp_path / "half").mkdir()
    write_examples(tmp_path / "half", pairs(1000), "preferences")
    for split in SPLITS:  # more examples move none to the other side
        assert set(as_lists(open_examples(tmp_path / "half", split))) <= side[split]


def test_prepared_once_and_found_by_fingerprint(tmp_path):
    calls = []

    def read():
        calls.append(1)
        return pairs()

    folder = prepare("preferences", {"file": "a"}, read, root=tmp_path)
    assert prepare("preferences", {"file": "a"}, read, root=tmp_path) == folder
    assert len(calls) == 1
    fingerprint = read_manifest(folder)["fingerprint"]
    assert prepare("preferences", {"file": "changed"}, read, fingerprint, tmp_path) == folder
    assert len(calls) == 1
    with pytest.raises(ValueError, match=r"examples\.fingerprint=000000000000… but"):
        prepare("preferences", {"file": "b"}, read, "0" * 64, tmp_path)


def test_an_error_while_reading_leaves_nothing(tmp_path):
    def read():
        yield from pairs(10)
        raise ValueError("line 11: not JSON")

    with pytest.raises(ValueError, match="line 11"):
        prepare("preferences", {}, read, root=tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("name", ["manifest.json", "train/chosen.bin", "validation/margin.offsets.bin"])
def test_damage_is_named_and_mended(tmp_path, name):
    folder = prepare("preferences", {}, pairs, root=tmp_path)
    whole = as_lists(open_examples(folder, "train"))
    (folder / name).write_bytes((folder / name).read_bytes()[:-3])
    with pytest.raises(ValueError, match=name.rpartition("/")[2]):
        [open_examples(folder, split) for split in SPLITS]
    assert prepare("preferences", {}, pairs, root=tmp_path) == folder
    assert as_lists(open_examples(folder, "train")) == whole


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([], "too few, a split is empty"),
        ([Example({"a": [1]}), Example({"b": [1]})], r"number 2 has columns b .*, others a"),
        ([Example({"a": [1]}), Example({"a": [1.5]})], r"number 2 has columns a \(float32\)"),
        ([Example({"a": [[1]]})], r"number 1, 'a' is int64\[1, 1\]"),
        ([Example({"a": "text"})], "number 1, 'a' is <U4"),
    ],
)
def test_bad_examples_are_named(tmp_path, examples, said):
    with pytest.raises(ValueError, match=said):
        write_examples(tmp_path, examples, "preferences")


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=5), st.integers(1, 8))
def test_padded_rows_are_the_leading_values_and_zeros(arrays, width):
    offsets = np.cumsum([0, *map(len, arrays)])
    column = RaggedColumn(np.array([x for array in arrays for x in array], np.int32), offsets)
    found = column.padded(np.arange(len(arrays))[::-1], width)
    assert found.tolist() == [(array + [0] * width)[:width] for array in arrays[::-1]]


def test_a_column_of_arrays_is_not_read_as_numbers():
    with pytest.raises(ValueError, match="one number an example"):
        _ = RaggedColumn(np.arange(3), np.array([0, 1, 3])).scalars


def test_each_example_is_seen_once_an_epoch():
    seen = np.concatenate([shuffled(7, seed=5, step=step, batch_size=3) for step in range(7)])
    for epoch in range(3):
        assert sorted(seen[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert list(seen[:7]) != list(seen[7:14])
    assert np.array_equal(shuffled(7, 5, 2, 3), seen[6:9])
    assert len(shuffled(2, 5, 0, 9)) == 9  # over several epochs
