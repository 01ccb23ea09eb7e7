"""Print a script that completes isoflop's commands, flags and the names that there are, for bash or zsh.

bash: isoflop completion bash > ~/.local/share/bash-completion/completions/isoflop
zsh:  isoflop completion zsh > ~/.zfunc/_isoflop, with fpath+=~/.zfunc before compinit in ~/.zshrc

Example: isoflop completion bash
"""

import re
import shlex

from absl import flags

from launch.cli import GROUPS, command_flags, command_module

FLAGS = flags.FlagValues()
USAGE = "isoflop completion bash|zsh"
SHELLS = ("bash", "zsh")


def run(args: list[str], flags) -> int:
    """Prints the script, made from the commands and their flags."""
    if len(args) != 1 or args[0] not in SHELLS:
        raise ValueError(f"expected {' or '.join(SHELLS)}, got {args}; usage: {USAGE}")
    print(bash() if args[0] == "bash" else zsh())
    return 0


def bash() -> str:
    """A function for `complete -F`. Bash cuts words at "=": --on=local is three."""
    cases, values = [], [f'*" family") words={shlex.quote(" ".join(families()))} ;;']
    for verb in _summaries():
        names = [f"--{flag.name}" for flag in own_flags(verb)]
        cases.append(f"{verb}) words={shlex.quote(' '.join([*arguments(verb), *names, '--help']))} ;;")
        values += [
            f"{verb + ' --' + flag.name!r}) words={shlex.quote(' '.join(allowed(flag)))} ;;"
            for flag in own_flags(verb)
            if allowed(flag)
        ]
    first = shlex.quote(" ".join([*_summaries(), "--help", "--version"]))
    lines = [
        "_isoflop() {",
        "  local words='' cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}",
        "  if [[ $cur == '=' ]]; then cur=''",
        "  elif [[ $prev == '=' ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi",
        f"  if ((COMP_CWORD == 1)); then words={first}",
        '  else case "${COMP_WORDS[1]} $prev" in',
        *(f"    {line}" for line in values),
        '    *) case "${COMP_WORDS[1]}" in',
        *(f"      {line}" for line in cases),
        "    esac ;;",
        "  esac; fi",
        '  COMPREPLY=($(compgen -W "$words" -- "$cur"))',
        "}",
        "complete -o default -F _isoflop isoflop",
    ]
    return "\n".join(lines)


def zsh() -> str:
    """A function of zsh's completion system, with what commands and flags are for."""
    verbs = [shlex.quote(f"{verb}:{_described(about)}") for verb, about in _summaries().items()]
    cases = []
    for verb in _summaries():
        specs = [_zsh_flag(flag) for flag in own_flags(verb)] + ["--help[what it does, with an example]"]
        words = " ".join(arguments(verb))
        specs.append(f"*:argument:{{compadd {words}; _files}}" if words else "*:file:_files")
        cases.append(f"    {verb}) _arguments {' '.join(map(shlex.quote, specs))} ;;")
    lines = [
        "#compdef isoflop",
        "_isoflop() {",
        "  if ((CURRENT == 2)); then",
        f"    local -a verbs=({' '.join(verbs)})",
        "    _describe command verbs; return",
        "  fi",
        "  local verb=$words[2]; shift words; ((CURRENT--))",
        "  case $verb in",
        *cases,
        "  esac",
        "}",
        '_isoflop "$@"',
    ]
    return "\n".join(lines)


def own_flags(verb: str) -> list[flags.Flag]:
    """The flags of a command, by name."""
    values = command_flags(verb)
    return [values[name] for name in sorted(values) if name == values[name].name]


def allowed(flag: flags.Flag) -> list[str]:
    """The values of a flag that has only some; of a setting, the families."""
    if flag.name == "set":
        return ["family=", "seed=", "data.task=", "data.path="]
    return list(getattr(flag.parser, "enum_values", ()))


def arguments(verb: str) -> list[str]:
    """The names that a command takes as an argument."""
    if verb in ("study", "plan"):
        from experiments.studies import STUDIES

        return list(STUDIES)
    kinds = {"list": lambda: list(command_module("list").KINDS), "completion": lambda: list(SHELLS)}
    return kinds.get(verb, list)()


def families() -> list[str]:
    """The model families."""
    from models import FAMILIES

    return list(FAMILIES)


def _summaries() -> dict[str, str]:
    return {verb: about for verbs in GROUPS.values() for verb, about in verbs.items()}


def _zsh_flag(flag: flags.Flag) -> str:
    about = f"[{_described(flag.help or '')}]"
    again = "*" if isinstance(flag, flags.MultiFlag) else ""
    if flag.boolean:
        return f"--{flag.name}{about}"
    values = [f"family={name}" for name in families()] if flag.name == "set" else allowed(flag)
    return f"{again}--{flag.name}={about}:value:{f'({chr(32).join(values)})' if values else '_files'}"


def _described(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)
