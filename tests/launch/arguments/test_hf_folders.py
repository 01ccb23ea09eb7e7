"""Files that belong to a Hugging Face checkpoint."""

import pytest

from launch.arguments.hf_folders import copy_tokenizer_files


def test_links_are_followed_into_the_hubs_cache_and_nowhere_else(tmp_path):
    snapshot, blobs, out = tmp_path / "model/snapshots/1", tmp_path / "model/blobs", tmp_path / "out"
    for folder in (snapshot, blobs, out):
        folder.mkdir(parents=True)
    (blobs / "abc").write_text("{}")
    (snapshot / "tokenizer.json").symlink_to("../../blobs/abc")
    copy_tokenizer_files(snapshot, out)
    assert (out / "tokenizer.json").read_text() == "{}" and not (out / "tokenizer.json").is_symlink()
    (tmp_path / "private").write_text("mine")
    (snapshot / "vocab.json").symlink_to(tmp_path / "private")
    with pytest.raises(ValueError, match=r"vocab\.json is a link to .*private; put the file itself there"):
        copy_tokenizer_files(snapshot, out)
    assert not (out / "vocab.json").exists()
