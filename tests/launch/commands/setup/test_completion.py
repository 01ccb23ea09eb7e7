"""`isoflop completion`: what the scripts offer, asked of a real shell."""

import shutil
import subprocess

import pytest

from launch import cli

TRY = """source "$1"; shift
while [ $# -gt 0 ]; do
  COMP_WORDS=($1); [[ $1 == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
  _isoflop; echo "${COMPREPLY[*]}"; shift
done"""
OFFERED = {  # words as bash cuts them
    "isoflop compl": "completion",
    "isoflop --v": "--version",
    "isoflop study quicks": "quickstart",
    "isoflop study quickstart --wor": "--workers",
    "isoflop submit x --on ": "kubernetes local slurm",
    "isoflop submit x --on = k": "kubernetes",
    "isoflop plan quickstart --set family = rwkv": "rwkv4 rwkv7",
    "isoflop list fam": "families",
    "isoflop completion z": "zsh",
    "isoflop fit runs.c": "",  # a file, which bash itself completes
}


def script(shell: str, tmp_path, capsys) -> str:
    assert cli.main(["completion", shell]) == 0
    (tmp_path / shell).write_text(capsys.readouterr().out)
    return str(tmp_path / shell)


def test_bash_completes_commands_flags_studies_families_and_values(tmp_path, capsys):
    command = ["bash", "-c", TRY, "bash", script("bash", tmp_path, capsys), *OFFERED]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert dict(zip(OFFERED, ran.stdout.split("\n"))) == OFFERED


def test_zsh_has_every_command_flag_and_value(tmp_path, capsys):
    path = script("zsh", tmp_path, capsys)
    with open(path) as file:
        text = file.read()
    assert text.startswith("#compdef isoflop\n")
    assert all(f"    {verb}) _arguments " in text for verb in cli.VERBS)
    for part in (":value:(kubernetes local slurm)", "family=rwkv7", "compadd quickstart"):
        assert part in text
    if shutil.which("zsh"):
        subprocess.run(["zsh", "-n", path], check=True)


@pytest.mark.parametrize("wrong", [[], ["fish"], ["bash", "zsh"]])
def test_another_shell_is_refused(wrong, capsys):
    assert cli.main(["completion", *wrong]) == 2
    assert "expected bash or zsh" in capsys.readouterr().err


def test_the_version_is_that_of_what_is_installed(capsys):
    assert cli.main(["--version"]) == 0
    words = capsys.readouterr().out.split()
    assert words[0::3] == ["isoflop", "jax", "jaxlib"] and all(word[0].isdigit() for word in words[1::3])
