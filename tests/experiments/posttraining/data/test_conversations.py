"""Conversations and prompts of every published form; what is wrong is named with file and line."""

import json
import sys
from types import SimpleNamespace

import pytest

from experiments.posttraining.data.conversations import Turn, read_conversations, read_prompts
from experiments.posttraining.data.records import find, identity

ASKED, ANSWERED = Turn("user", "2 + 2?"), Turn("assistant", "4")
MESSAGES = {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}
SHAREGPT = {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]}
ALPACA = {"instruction": "2 + 2?", "input": "", "output": "4"}


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.mark.parametrize("record", [MESSAGES, SHAREGPT, ALPACA], ids=["messages", "ShareGPT", "Alpaca"])
def test_forms(tmp_path, record):
    path = write(tmp_path / "a.jsonl", [record])
    assert list(read_conversations(path)) == [(f"{path}:1", (ASKED, ANSWERED))]
    assert list(read_prompts(path)) == [(f"{path}:1", (ASKED,))]


def test_alpaca_input_follows_the_instruction(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"instruction": "Add.", "input": "2, 2", "output": "4"}])
    [(_, turns)] = read_conversations(path)
    assert turns == (Turn("user", "Add.\n\n2, 2"), ANSWERED)


def test_kinds_of_files(tmp_path):
    import pyarrow
    import pyarrow.parquet

    records = [MESSAGES, {"messages": [*MESSAGES["messages"], *MESSAGES["messages"]]}]
    write(tmp_path / "a.jsonl", records)
    (tmp_path / "b.json").write_text(json.dumps(records))
    table = pyarrow.Table.from_pylist(records)
    pyarrow.parquet.write_table(table, tmp_path / "c.parquet")
    for name, new in (("d.arrow", pyarrow.ipc.new_stream), ("e.arrow", pyarrow.ipc.new_file)):
        with new(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
    read = {path.name: list(read_conversations(str(path))) for path in sorted(tmp_path.iterdir())}
    assert len(read) == 5
    for name, found in read.items():
        assert [turns for _, turns in found] == [(ASKED, ANSWERED), (ASKED, ANSWERED) * 2], name
    places = {name: found[1][0].removeprefix(f"{tmp_path}/") for name, found in read.items()}
    assert places["a.jsonl"] == "a.jsonl:2"
    assert places["b.json"] == "b.json: item 2"
    assert places["c.parquet"] == "c.parquet: row 2"


def test_of_a_folder_with_several_splits_the_training_split_is_read(tmp_path):
    for name in ("data/train-00000.jsonl", "data/test-00000.jsonl", "dataset_info.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, [MESSAGES])
    assert [path.name for path in find(str(tmp_path))] == ["train-00000.jsonl"]
    (tmp_path / "data/train-00000.jsonl").unlink()
    assert [path.name for path in find(str(tmp_path))] == ["test-00000.jsonl"]


def test_identity_changes_with_the_file(tmp_path):
    path = write(tmp_path / "a.jsonl", [MESSAGES])
    before = identity(path)
    write(tmp_path / "a.jsonl", [MESSAGES, MESSAGES])
    assert identity(path) != before


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"messages": [{"role": "user", "content": "?"}]}, r"a.jsonl:2: no turn of the assistant \(user\)"),
        ({"messages": []}, r"a.jsonl:2: no turn of the assistant \(no turns\)"),
        ({"messages": [{"role": "assistant", "content": " \n"}]}, "a.jsonl:2: response 1 is empty"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "a.jsonl:2: turn 1 has role 'tool'; known are"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, r"a.jsonl:2: turn 1 has content \['x'\]"),
        ({"messages": "text"}, "a.jsonl:2: expected a list of objects"),
        (SHAREGPT, "a.jsonl:2: in ShareGPT form, those before it in messages form"),
        ({"text": "x"}, r"a.jsonl:2: no conversation \(it has text\)"),
        ([1], "a.jsonl:2: a JSON list"),
    ],
)
def test_bad_records_are_named(tmp_path, record, said):
    path = write(tmp_path / "a.jsonl", [MESSAGES, record])
    with pytest.raises(ValueError, match=said):
        list(read_conversations(path))


def test_bad_files_are_named(tmp_path):
    for line in (b'{"messages": [', b"[" * 100_000, b"1" * 5000):
        (tmp_path / "a.jsonl").write_bytes(line + b"\n")
        with pytest.raises(ValueError, match=r"a\.jsonl:1: not JSON"):
            list(read_conversations(str(tmp_path / "a.jsonl")))
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"a\.json: not JSON"):
        list(read_conversations(str(tmp_path / "a.json")))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"b\.parquet cannot be read"):
        list(read_conversations(str(tmp_path / "b.parquet")))
    with pytest.raises(ValueError, match="no such file or folder"):
        list(read_conversations(str(tmp_path / "c")))
    (tmp_path / "d.csv").write_text("x")
    with pytest.raises(ValueError, match=r"unknown kind of file '\.csv'"):
        list(read_conversations(str(tmp_path / "d.csv")))
    with pytest.raises(ValueError, match=r"examples\.path is empty"):
        list(read_conversations(""))


def test_a_name_of_the_hub_needs_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install .*hf-datasets"):
        list(read_conversations("HuggingFaceH4/no_robots"))
    with pytest.raises(ValueError, match="no such file or folder"):  # a file that is not there
        list(read_conversations("data/mine.jsonl"))


def test_a_name_of_the_hub_gives_the_rows_of_its_training_split(monkeypatch):
    def load_dataset(name, split):
        if name != "someone/chats":
            raise ConnectionError("no such data set")
        assert split == "train"
        return [MESSAGES]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert list(read_conversations("someone/chats")) == [("someone/chats: row 1", (ASKED, ANSWERED))]
    assert identity("someone/chats") == {"dataset": "someone/chats"}
    with pytest.raises(ValueError, match=r"does not give it \(ConnectionError: no such data set\)"):
        list(read_conversations("someone/nothing"))


def test_an_empty_prompt_is_named(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "x"}, {"prompt": " "}])
    with pytest.raises(ValueError, match=r"a\.jsonl:2: the prompt is empty"):
        list(read_prompts(path))
