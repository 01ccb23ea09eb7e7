"""How to install what isoflop can do without: the extras of setup.py."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install_command(extra: str) -> str:
    """The command that adds an extra to this Python: from the clone that is running, else from the index that
    isoflop was installed from. It can be pasted anywhere: its paths are absolute."""
    pip = f"{sys.executable} -m pip install"
    if (ROOT / "setup.py").is_file():
        return f"{pip} -c {ROOT / 'constraints.txt'} -e '{ROOT}[{extra}]'"
    return f"{pip} 'isoflop[{extra}]'"
