"""Sources and mixtures as configurations: from the command line, and refused when they make no sense."""

import dataclasses
import json
import math

import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.prepare import cache_name
from experiments.data_configs import DataConfig, MixtureConfig, SourceConfig
from experiments.fields import Numbers, apply_overrides, from_json, to_json
from models import ladder

DATA = DataConfig("files", by="lang", mixture=MixtureConfig(Numbers(de=1, en=2)))
RUN = RunConfig(
    ladder(16, 259), DATA, OptimizerConfig(1e-3), ScheduleConfig(warmup_tokens=512), 512, 128, 10**6
)
SOURCES = (SourceConfig("text", "docstrings", where="package=scipy|numpy"), SourceConfig("walks", "walks"))


def test_the_command_line_sets_parts_of_a_mixture_that_was_not_there():
    sources = json.dumps([to_json(source) for source in SOURCES])
    assignments = [
        "task=mixture",
        f"sources={sources}",
        "mixture.weights.text=3",
        "mixture.weights.walks=1e0",
    ]
    expected = DataConfig("mixture", sources=SOURCES, mixture=MixtureConfig(Numbers(text=3, walks=1)))
    assert apply_overrides(DataConfig(), assignments) == expected
    assert apply_overrides(DataConfig(), ["by=package", "mixture.temperature=3"]).mixture == MixtureConfig(
        temperature=3
    )
    assert apply_overrides(DATA, ['mixture={"max_epochs": 4}']).mixture == MixtureConfig(max_epochs=4)
    with pytest.raises(ValueError, match=r"mixture has no field 'weight'; did you mean 'weights'\?"):
        apply_overrides(DataConfig(), ["by=package", "mixture.weight.text=3"])
    with pytest.raises(ValueError, match=r"weights\.en='much'; expected a value of type float"):
        apply_overrides(DATA, ["mixture.weights.en=much"])


def test_json_gives_it_back_and_the_order_of_names_is_no_part_of_a_run():
    again = from_json(RunConfig, json.loads(json.dumps(to_json(RUN))))
    assert again == RUN and again.run_id == RUN.run_id and hash(again.data) == hash(RUN.data)
    other = dataclasses.replace(DATA, mixture=MixtureConfig(Numbers(en=2, de=1)))
    assert dataclasses.replace(RUN, data=other).run_id == RUN.run_id
    assert "mixture" not in to_json(DataConfig()) and "sources" not in to_json(DataConfig())


def test_a_mixture_is_a_setting_of_the_run_and_not_of_the_prepared_tokens(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    data = dataclasses.replace(DATA, path=str(tmp_path / "a.txt"))
    other = dataclasses.replace(data, mixture=MixtureConfig(temperature=2))
    assert cache_name(other) == cache_name(data) != cache_name(dataclasses.replace(data, by="source"))
    assert cache_name(dataclasses.replace(data, by="", mixture=None)) != cache_name(data)
    assert dataclasses.replace(RUN, data=other).run_id != dataclasses.replace(RUN, data=data).run_id


def test_runs_whose_shares_depend_on_their_length_share_no_steps():
    by_length = dataclasses.replace(DATA, mixture=MixtureConfig(max_epochs=4))
    assert RUN.prefix_key and not dataclasses.replace(RUN, data=by_length).prefix_key


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: MixtureConfig(Numbers(en=-1)),
            r"weights\.en=-1; weights are proportions: finite, and at least 0",
        ),
        (lambda: MixtureConfig(Numbers(en=math.nan)), r"weights\.en=nan; weights are"),
        (lambda: MixtureConfig(Numbers(en=math.inf)), r"weights\.en=inf; weights are"),
        (lambda: MixtureConfig(Numbers(en=0, de=0)), r"all weights are 0 \(en, de\)"),
        (lambda: MixtureConfig(temperature=0), "temperature=0; it must be above 0"),
        (lambda: MixtureConfig(max_epochs=-1), "max_epochs=-1; it must be above 0, or 0"),
        (lambda: MixtureConfig(Numbers(en=1), max_epochs=2), "weights, temperature and max_epochs exclude"),
        (lambda: MixtureConfig(unique_tokens=Numbers(en=0)), r"unique_tokens\.en=0; it must be at least 1"),
        (lambda: SourceConfig("a,b"), "source: name='a,b' cannot name a component"),
        (lambda: SourceConfig(""), "source: name='' cannot"),
        (lambda: SourceConfig("a", where="lang"), "source a: where='lang'; write field=value|value"),
        (lambda: DataConfig("mixture"), "data.task='mixture' with 0 data.sources"),
        (lambda: DataConfig("files", sources=SOURCES), "data.task='files' with 2 data.sources"),
        (lambda: DataConfig("mixture", sources=SOURCES, by="lang"), "data.by='lang' with data.sources"),
        (
            lambda: DataConfig("mixture", sources=SOURCES[:1] * 2),
            "text, text; each component has a name of its own",
        ),
        (lambda: DataConfig(mixture=MixtureConfig()), "data.mixture: this corpus has no components"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
