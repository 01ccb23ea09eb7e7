"""isoflop mixture, as it is called."""

import copy
import json

import numpy as np
import pytest

import scaling
from launch.commands.laws import mixture as command
from scaling.design import mixture_grid
from scaling.table.runs import check


@pytest.fixture(scope="module")
def fits():
    """Loss of web 1 + e^(-2 web), of code 1 + 2 e^(-1.5 code)."""
    table = mixture_grid(20, ("web", "code"))
    noise = np.exp(1e-4 * np.random.default_rng(0).standard_normal(20))
    found = {}
    for domain, k, slope in (("web", 1.0, 2.0), ("code", 2.0, 1.5)):
        loss = (1 + k * np.exp(-slope * table[f"share_{domain}"])) * noise
        runs = check(table.assign(loss=loss), {}, needed=("share_web", "share_code", "loss"))
        found[domain] = scaling.fit(runs, law="mixture_exponential:web,code", n_bootstrap=20)
    return found


@pytest.fixture(autouse=True)
def folder(tmp_path, fits, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    for domain, fit in fits.items():
        (tmp_path / f"{domain}.json").write_text(json.dumps(fit.to_json()))
    monkeypatch.chdir(tmp_path)


def call(*arguments) -> int:
    values = copy.deepcopy(command.FLAGS)
    values.set_gnu_getopt(True)
    return command.run(values(["isoflop mixture", *map(str, arguments)])[1:], values)


def test_a_weighted_target_has_its_best_mixture(capsys):
    assert call("web.json", "code.json", "--weights", "3,1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shares"]["web"] == pytest.approx(np.log(6 / (3 * np.exp(-1.5))) / 3.5, abs=2e-3)
    assert found["lo"]["web"] < found["shares"]["web"] < found["hi"]["web"]


def test_few_unique_tokens_cap_a_share(capsys):
    call("web.json", "code.json", "--unique_tokens", "web=1e9", "--tokens", "2e10", "--epochs", "2")
    said = capsys.readouterr().out
    assert "web              0.1000  [0.1000, 0.1000]  (at its cap)" in said
    assert "code.json: loss 1.5" in said and "for one new run" in said


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "expected one or more fit.json"),
        (("web.json", "--unique_tokens", "web=1e9"), "go together"),
        (("web.json", "--caps", "web"), "--caps web: expected COLUMN=NUMBER, for example code=0.2"),
        (("web.json", "--caps", "book=0.2"), "the domains are web, code"),
    ],
)
def test_what_cannot_be_answered_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        call(*arguments)
