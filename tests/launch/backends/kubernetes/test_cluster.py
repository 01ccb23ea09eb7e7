"""Site files for Kubernetes: wrong tables are refused before anything is asked of a cluster."""

import tomllib
from pathlib import Path

import pytest

from launch.backends.kubernetes.cluster import Cluster, folder_in_pods, read_cluster

TABLE = {"image": "registry.example/isoflop:1", "claim": "studies"}
SLICE = TABLE | {"tpu": "tpu-v5-lite-podslice", "topology": "4x4"}


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ({}, "docs/howto/kubernetes.md"),
        ({"kubernetes": {"image": "x"}}, "lacks claim"),
        ({"kubernetes": TABLE | {"que": "x"}}, "did you mean 'queue'?"),
        ({"kubernetes": TABLE | {"gpus": "1"}}, "expected int"),
        ({"kubernetes": TABLE | {"env": {"A": 1}}}, "expected dict[str, str]"),
        ({"kubernetes": TABLE | {"tpu": "tpu-v6e-slice"}}, "belong together"),
        ({"kubernetes": SLICE | {"topology": "4 x 4"}}, "for example 4x4"),
        ({"kubernetes": SLICE | {"gpus": 1}}, "no gpus"),
        ({"kubernetes": SLICE | {"chips_per_host": 3}}, "does not divide"),
        ({"kubernetes": TABLE | {"workers": 0}}, "at least 1"),
        ({"kubernetes": TABLE | {"cpus": 0}}, "cpus = 0"),
        ({"kubernetes": TABLE | {"memory": "-4Gi"}}, 'memory = "-4Gi"; write bytes, or as 32Gi'),
        ({"kubernetes": TABLE | {"memory": "32 GB"}}, 'memory = "32 GB"'),
        ({"kubernetes": TABLE | {"env": {"A B": "x"}}}, "'A B' is no name"),
    ],
)
def test_wrong_tables_are_refused_in_plain_words(site, words):
    with pytest.raises(ValueError) as error:
        read_cluster(site)
    assert words in str(error.value)


def test_the_folder_must_lie_on_the_volume():
    cluster = read_cluster({"kubernetes": TABLE | {"here": "/mnt/nfs"}})
    assert folder_in_pods(Path("/mnt/nfs/out/one"), cluster) == "/studies/out/one"
    with pytest.raises(ValueError, match="not below /mnt/nfs"):
        folder_in_pods(Path("/home/me/out/one"), cluster)


def test_the_site_files_of_the_documentation_are_valid():
    text = Path("docs/howto/kubernetes.md").read_text()
    tables = [tomllib.loads(block.partition("```")[0]) for block in text.split("```toml\n")[1:]]
    assert len(tables) == 2
    for table in tables:
        assert read_cluster(table).workers > 1
    for name in Cluster.__dataclass_fields__:
        assert f"`{name}`" in text, "every key is explained"
