"""The table [slurm] of a site file: read whole, refused with the nearest name, written back as it was."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from launch.backends.slurm.site import Controller, Site, as_toml, read_site

FILE = """
[slurm]
partition = "gpu"
gpus = 1
time = "1-12:00:00"
setup = ["module load cuda", 'source "$HOME/venv/bin/activate"']
env = { XLA_FLAGS = "--xla_a=b --xla_c", MOTTO = "it's \\"so\\" ÷" }
controller = { partition = "cpu" }

[cost]
gpu_hour = 2.5
"""


def test_a_site_file_is_read():
    site = read_site(tomllib.loads(FILE))
    assert (site.partition, site.gpus, site.time, site.workers) == ("gpu", 1, "1-12:00:00", 8)
    assert site.env == (("XLA_FLAGS", "--xla_a=b --xla_c"), ("MOTTO", 'it\'s "so" ÷'))
    assert site.controller == Controller(partition="cpu")


def test_without_a_file_all_is_left_to_the_cluster():
    assert read_site({}) == Site()


def test_the_manuals_example_is_one_and_its_table_names_every_key():
    manual = Path("docs/howto/slurm.md").read_text()
    read_site(tomllib.loads(re.findall(r"```toml\n(.*?)```", manual, re.DOTALL)[0]))
    for field in fields(Site):
        assert f"`{field.name}`" in manual or f"[slurm.{field.name}]" in manual


def test_what_is_written_is_read_as_the_same():
    site = tomllib.loads(FILE)
    assert tomllib.loads(as_toml(site)) == site


@pytest.mark.parametrize(
    "text, words",
    [
        ('[slurm]\npartitoin = "gpu"', "[slurm] has no field 'partitoin'; did you mean 'partition'?"),
        ('[slurm.controller]\nmemm = "1G"', "did you mean 'mem'?"),
        ('partition = "gpu"', "the site file has no table [slurm]; it has partition"),
        ("[slurm]\ntime = 60", "[slurm].time=60; expected a value of type str"),
        ('[slurm]\ntime = "2h"', "[slurm].time='2h'; Slurm takes minutes, HH:MM:SS or DAYS-HH:MM:SS"),
        ("[slurm]\nworkers = 0", "[slurm].workers=0; it must be at least 1"),
        ('[slurm]\ngres = "gpu:1"\ngpus = 1', "give one of them"),
        ("[slurm]\nenv = { A = 1 }", "expected a table of strings"),
        ('[slurm.env]\n"A B" = "1"', "'A B' is no name of a variable"),
        ('[slurm]\naccount = "a\\nb"', "it must be one line"),
    ],
)
def test_what_is_wrong_is_named(text, words):
    with pytest.raises(ValueError) as error:
        read_site(tomllib.loads(text))
    assert words in str(error.value)
