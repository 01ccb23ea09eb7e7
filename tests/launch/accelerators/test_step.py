"""Steps compiled for accelerators that are not here: what is sent, whether it fits, what is said of it."""

import dataclasses
import json

import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import to_json
from launch.accelerators.cards import ACCELERATORS
from launch.accelerators.hlo import Collective, Program
from launch.accelerators.step import StepReport, compile_step, default_mesh
from launch.accelerators.topology import missing_plugin, parse_topology
from launch.accelerators.words import as_json, faults, report
from launch.cli import main
from models import TransformerConfig

MODEL = TransformerConfig(
    512, 512, 4, n_heads=4, n_kv_heads=2, d_head=128, d_ff=1024, dtype="bfloat16", remat=True
)


def needs(platform: str):
    extra = missing_plugin(platform)
    why = f"no compiler for it: pip install 'isoflop[{extra}]' brings one"
    return [pytest.mark.skipif(bool(extra), reason=why), pytest.mark.slow]


def run_of(model, rows: int = 8, seq_len: int = 512) -> RunConfig:
    tokens = rows * seq_len
    return RunConfig(
        model, DataConfig(), OptimizerConfig(1e-3), ScheduleConfig(), tokens, seq_len, 10 * tokens
    )


def reported(*collectives: Collective, **more) -> StepReport:
    numbers = {"arguments": 6 * 10**9, "temporaries": 3 * 10**9, "output": 0, "predicted": 9 * 10**9}
    numbers |= {"counted": 1e13, "useful": 8e12, "no_kernel": "", "program": Program(collectives, 1e13, 2)}
    topology = parse_topology("h100:2x4")
    return StepReport(run_of(MODEL), topology, {"data": 2, "fsdp": 4}, **numbers | more)


@pytest.mark.parametrize(
    "text, said",
    [
        ("h100", "write ACCELERATOR:SIZES"),
        ("h100:8y8", "write ACCELERATOR:SIZES"),
        ("h100:0", "write ACCELERATOR:SIZES"),
        ("mi300:8", "no accelerator 'mi300'; there are a100, h100"),
        ("v5e:16", "1 sizes; write v5e:4x4"),
        ("h100:2x4x8", "3 sizes; write h100:4x4"),
    ],
)
def test_a_topology_that_cannot_be_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        parse_topology(text)


def test_hosts_share_fast_links_and_slices_have_no_others():
    assert (parse_topology("h100:4x8").n_devices, parse_topology("h100:4x8").per_host) == (32, 8)
    assert (parse_topology("h100:8").n_devices, parse_topology("h100:8").per_host) == (8, 8)
    assert (parse_topology("v5p:2x2x4").n_devices, parse_topology("v5p:2x2x4").per_host) == (16, 16)
    assert (
        default_mesh(parse_topology("h100:4x8")) == {"fsdp": 32}
        and default_mesh(parse_topology("a100:1")) == {}
    )


def test_a_step_takes_as_long_as_its_products_or_its_messages():
    """2 hosts of 4 H100s, mesh data=2,fsdp=4: devices 0 to 3 are one host, 0 and 4 two."""
    within = Collective("all-gather", (("bf16", (2**20, 50)),), 100 * 2**20, 3, (0, 1, 2, 3))
    across = Collective("all-reduce", (("f32", (2**20, 5)),), 20 * 2**20, 1, (0, 4))
    each = reported(within, across)
    assert each.axes(within) == ("fsdp",) and each.axes(across) == ("data",)
    card = ACCELERATORS["h100"]
    link = 3 * 3 * 100 * 2**20 + 20 * 2**20 / 2
    assert each.seconds["messages"] == pytest.approx(max(link / card.link, 20 * 2**20 / 2 / card.network))
    assert each.seconds["products"] == pytest.approx(1e13 / 989e12)
    least, most = each.step_seconds
    assert least == max(each.seconds.values()) and most == sum(each.seconds.values())
    assert each.mfu[0] == pytest.approx(8e12 / (989e12 * least))
    assert each.fits and not reported(temporaries=80 * 10**9).fits


def test_what_is_wrong_is_said_in_words():
    whole = Collective("all-reduce", (("bf16", (4096, 4096)),), 2**25, 4, (0, 1, 2, 3))
    of_data = dataclasses.replace(whole, group=(0, 4))  # along data nothing else would do
    wide = Collective("all-gather", (("f32", (512, 4096)),), 2**23, 2, (0, 1, 2, 3))
    assert faults(reported(of_data)) == []
    (said,) = faults(reported(whole))
    assert "4 all-reduces of whole gradients along fsdp, such as bf16[4096,4096]" in said
    assert any("2 gathers in float32, such as f32[512,4096]" in said for said in faults(reported(wide)))
    (said,) = faults(reported(program=Program((), 2e13, 0)))
    assert "2.00 times the products" in said
    assert "does not fit" in faults(reported(temporaries=80 * 10**9, predicted=86 * 10**9))[-1]
    assert "no fused kernel: attention_softcap=50" in report(
        reported(program=Program((), 1e13, 0), no_kernel="attention_softcap=50")
    )
    assert json.loads(json.dumps(as_json(reported(whole))))["collectives"][0]["axes"] == ["fsdp"]


def test_without_the_compiler_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("launch.accelerators.topology.missing_plugin", lambda platform: "cuda")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(to_json(run_of(MODEL))))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert main(["plan", str(config), "--compile", "h100:8"]) == 2
    assert "pip install 'isoflop[cuda]'" in capsys.readouterr().err
    assert main(["plan", str(config), "--mesh", "fsdp=8"]) == 2
    assert "--mesh=fsdp=8 without --compile" in capsys.readouterr().err


@pytest.mark.parametrize("topology", [pytest.param("h100:8", marks=needs("gpu"))])
def test_a_layer_gathers_twice_in_half_precision_and_scatters_its_gradients(topology):
    each = compile_step(run_of(MODEL), parse_topology(topology), {"fsdp": 8})
    assert each.fits and each.program.attention_kernels == 3 * MODEL.n_layers
    assert not [said for said in faults(each) if "gradients" in said or "float32" in said or "scores" in said]
    large = [one for one in each.program.collectives if one.n_bytes * 8 >= 2**20]
    gathers = [one for one in large if one.kind == "all-gather"]
    assert {dtype for one in gathers for dtype in one.dtypes} == {"bf16"}
    in_layers = sum(one.n_bytes for one in gathers if one.times == MODEL.n_layers)
    layer = sum(x for x in (2 * 512 * 512, 2 * 512 * 256, 3 * 512 * 1024))
    assert in_layers == 2 * layer * 2 / 8  # forward and backward, two bytes, an eighth each
    assert not [one for one in large if one.kind == "all-reduce"]
