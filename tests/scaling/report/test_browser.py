"""The page in headless Chromium: draws, stays silent and offline, fits a phone, follows light and dark."""

import io
import json
import shutil
import threading
import time
from dataclasses import replace

import pandas as pd
import pytest

import scaling
from experiments.study_report import read_data, write_report
from launch.monitor.live_page import LivePage, server_of
from launch.store import Store
from scaling.outlook.cost import cost
from scaling.report import MissingRuns, live_page
from tests.scaling.report.synthetic_study import write_study
from tests.scaling.report.test_report import EVIL

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="no chromium and chromedriver found; apt-get install chromium chromium-driver",
    ),
]
IMAGE = "<img src=x onerror=owned=1>"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-quic --hide-scrollbars"
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study whose name, first run and conventions try to run a script."""
    study = write_study(tmp_path_factory.mktemp("study"), name=EVIL)
    table = pd.read_csv(study / "runs.csv", dtype={"run_id": str})
    first = table.index[table["stage"] == "grid"][0]
    (study / "runs" / table.loc[first, "run_id"]).rename(study / "runs" / IMAGE)
    table.loc[first, "run_id"] = IMAGE
    table.to_csv(study / "runs.csv", index=False)
    about = json.loads((study / "runs.json").read_text())
    about["conventions"]["loss"] = EVIL
    (study / "runs.json").write_text(json.dumps(about))
    write_report(study, study / "report.html")
    return study


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def open_page(browser, study, width=1280, scheme="light", media=""):
    """Loads the page at a width and colour scheme and waits until all figures are drawn."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(f"file://{study / 'report.html'}")
    wait_for(browser, "return document.documentElement.dataset.ready")


def wait_for(browser, condition):
    until = time.monotonic() + 60
    while not browser.execute_script(condition):
        assert time.monotonic() < until, browser.get_log("browser")
        time.sleep(0.05)


def marks(browser, figure, layer):
    """How many marks a layer of a figure shows."""
    return browser.execute_script(
        f"return document.querySelectorAll('#figure-{figure} g.{layer}_marks path').length"
    )


def test_page_draws_silently_and_asks_the_network_for_nothing(browser, study):
    open_page(browser, study)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_foreign_text_does_not_run(browser, study):
    open_page(browser, study)
    assert browser.execute_script("return typeof window.owned") == "undefined"
    assert EVIL in browser.execute_script("return document.querySelector('.kicker').textContent")


def test_each_figure_shows_every_run_it_should(browser, study):
    open_page(browser, study)
    runs = pd.read_csv(study / "runs.csv")
    done = runs[runs["status"] == "done"]
    tune, grid = done[done["stage"] == "tune"], done[done["stage"].isin(["grid", "extend"])]
    assert marks(browser, "frontier", "runs") == len(grid) + 1
    assert marks(browser, "predicted", "runs") == len(grid) + 1
    assert marks(browser, "residuals", "runs") == len(grid) + 1
    assert marks(browser, "frontier_params", "optima") == 3 + 1
    assert marks(browser, "isoflop", "runs") == len(grid)
    assert marks(browser, "isoflop", "minima") == marks(browser, "isoflop", "curves") == 3
    assert marks(browser, "lr_sweep", "runs") == len(tune)
    assert marks(browser, "lr_sweep", "optima") == marks(browser, "lr_sweep", "curves") == 3
    assert marks(browser, "lr_sweep", "diverged") == len(runs) - len(done)
    assert marks(browser, "lr_law", "runs") == len(grid) + 1
    assert marks(browser, "curves", "curves") == len(runs)


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser, study, width):
    open_page(browser, study, width)
    wide = """
        const limit = document.documentElement.clientWidth;
        const inside = (e) => e.closest('.scroll') && !e.matches('.scroll');
        const over = (e) => e.checkVisibility() && e.getBoundingClientRect().right > limit + 1;
        return [document.documentElement.scrollWidth - limit,
                [...document.querySelectorAll('main *, header *')]
                  .filter((e) => !inside(e) && over(e))
                  .map((e) => e.outerHTML.slice(0, 120))];
    """
    assert browser.execute_script(wide) == [0, []]


def test_dark_mode_changes_page_and_charts_and_paper_is_light(browser, study):
    seen = []
    for scheme, media in (("light", ""), ("dark", ""), ("dark", "print")):
        open_page(browser, study, scheme=scheme, media=media)
        seen.append(
            browser.execute_script("""
            const of = (css, name) => getComputedStyle(document.querySelector(css))[name];
            return [of('body', 'backgroundColor'), of('h1', 'color'), of('.role-axis-label text', 'fill'),
                    of('#figure-frontier .runs_marks path', 'fill'),
                    of('#figure-isoflop .curves_marks path', 'stroke')];
        """)
        )
    light, dark, printed = seen
    assert all(a != b for a, b in zip(light, dark)), seen
    assert printed == light


def test_table_sorts_and_filters(browser, study):
    open_page(browser, study)
    runs = pd.read_csv(study / "runs.csv")
    column = """
        const heads = [...document.querySelectorAll('#runs-table th')];
        const at = heads.findIndex((head) => head.textContent === 'Loss');
        heads[at].firstElementChild.click();
        const rows = [...document.querySelectorAll('#runs-table tbody tr')];
        return rows.map((row) => Number(row.cells[at].dataset.v));
    """
    rising, falling = browser.execute_script(column), browser.execute_script(column)
    losses = sorted(runs.loc[runs["status"] == "done", "loss"])
    assert rising[: len(losses)] == pytest.approx(losses)
    assert falling[: len(losses)] == pytest.approx(losses[::-1])
    browser.execute_script("""
        const box = document.querySelector('.filter input');
        box.value = 'TUNE diverged';
        box.dispatchEvent(new Event('input'));
    """)
    shown = browser.execute_script(
        "return [...document.querySelectorAll('#runs-table tbody tr')].filter((r) => !r.hidden).length"
    )
    assert shown == (runs["status"] == "diverged").sum()
    assert browser.execute_script("return document.querySelector('.filter output').textContent") == str(shown)


def saved_by(browser, buttons: str) -> dict[str, str]:
    """Presses these buttons: name -> text of each file that the page saves."""
    pressed = browser.execute_script("""
        window.saved = [];
        save = (name, url) => saved.push([name, decodeURIComponent(url)]);
        const buttons = [...document.querySelectorAll(arguments[0])];
        buttons.forEach((button) => button.click());
        return buttons.length;
    """, buttons)  # fmt: skip
    until = time.monotonic() + 30
    while len(saved := browser.execute_script("return saved")) < pressed and time.monotonic() < until:
        time.sleep(0.05)
    return {name: text.removeprefix("data:text/csv;charset=utf-8,") for name, text in saved}


def test_figure_downloads_are_made_in_the_page(browser, study):
    open_page(browser, study)
    files = saved_by(browser, "#figure-isoflop button")
    assert files["isoflop.png"].startswith("data:image/png;base64,") and len(files["isoflop.png"]) > 20_000
    layers = pd.read_csv(io.StringIO(files["isoflop.csv"])).groupby("layer")
    runs = pd.read_csv(study / "runs.csv")
    assert layers.size()["runs"] == runs["stage"].isin(["grid", "extend"]).sum()
    assert layers["n_params"].count()["minima"] == 3


def test_every_table_and_figure_gives_its_numbers_as_csv(browser, study):
    open_page(browser, study)
    files = saved_by(browser, "[data-get=csv]")
    n_figures, n_tables = browser.execute_script(
        "return ['figure', 'table'].map((tag) => document.querySelectorAll(`main ${tag}`).length)"
    )
    assert len(files) == n_figures + n_tables
    runs, shown = pd.read_csv(study / "runs.csv"), pd.read_csv(io.StringIO(files["table_runs.csv"]))
    assert len(shown) == len(runs) and sorted(shown["FLOPs"]) == pytest.approx(sorted(runs["flops"]))
    fit = json.loads((study / "fit.json").read_text())
    params = pd.read_csv(io.StringIO(files["table_parameters.csv"]))
    assert list(params.iloc[:, 1]) == pytest.approx(list(fit["params"].values()))
    assert list(params.iloc[0, 2:]) == pytest.approx(fit["ci"]["E"])


def test_menu_of_the_loss_curves_fades_the_other_stages(browser, study):
    open_page(browser, study)
    faded = """
        const menu = document.querySelectorAll('#figure-curves select')[arguments[0]];
        menu.selectedIndex = menu.options.length - 1;
        menu.dispatchEvent(new Event('change'));
        const lines = [...document.querySelectorAll('#figure-curves g.curves_marks path')];
        return lines.filter((line) => Number(getComputedStyle(line).strokeOpacity) < 0.1).length;
    """
    runs = pd.read_csv(study / "runs.csv")
    names = browser.execute_script(
        "return [...document.querySelectorAll('.vega-bind-name')].map((name) => name.textContent.trim())"
    )
    browser.execute_script(faded, names.index("Stage"))
    time.sleep(0.3)
    faint = browser.execute_script(faded, names.index("Stage"))
    assert faint == (runs["stage"] != "verify").sum()


def test_pointing_at_a_curve_says_which_run_it_is(browser, study):
    from selenium.webdriver.common.action_chains import ActionChains

    open_page(browser, study)
    x, y = browser.execute_script("""
        const line = document.querySelector('#figure-curves g.handles_marks path');
        line.scrollIntoView({block: 'center', behavior: 'instant'});
        const middle = line.getPointAtLength(line.getTotalLength() / 2);
        const place = new DOMPoint(middle.x, middle.y + 4).matrixTransform(line.getScreenCTM());
        return [Math.round(place.x), Math.round(place.y)];
    """)
    pointer = ActionChains(browser)
    pointer.w3c_actions.pointer_action.move_to_location(x, y)
    pointer.perform()
    until = time.monotonic() + 10
    while not (
        tip := browser.execute_script("return document.querySelector('.vg-tooltip')?.textContent ?? ''")
    ):
        assert time.monotonic() < until
        time.sleep(0.05)
    ids = pd.read_csv(study / "runs.csv", dtype={"run_id": str})["run_id"]
    assert any(run_id in tip for run_id in ids) and "Final loss" in tip


def calculated(browser, **fields) -> dict[str, float]:
    """What the calculator answers to these fields by their names; what is not given is left empty."""
    return browser.execute_script(
        """
        const form = document.getElementById('calculate');
        for (const name of ['flops', 'n_params', 'n_tokens']) form[name].value = '';
        for (const [name, value] of Object.entries(arguments[0])) form[name].value = value;
        form.dispatchEvent(new Event('input', { bubbles: true }));
        const shown = form.querySelectorAll('output dd');
        if (!shown.length) return form.querySelector('output').textContent;
        return Object.fromEntries([...shown].map((dd) => [dd.dataset.name, Number(dd.dataset.value)]));
    """,
        fields,
    )


def test_calculator_agrees_with_python(browser, study):
    open_page(browser, study)
    data = read_data(study)
    machine = {"hardware": "a100", "n_devices": 16, "mfu": 0.3}
    for flops in (2.3e11, 7.7e12, 1.9e15):
        shown = calculated(browser, flops=f"{flops:g}", **machine)
        best = scaling.frontier(data.fit, flops)
        setting = data.lr.predict(best.n_params, best.n_tokens)
        spent = cost(flops, **machine)
        expected = {"flops": flops, "n_params": best.n_params, "n_tokens": best.n_tokens, "loss": best.loss}
        expected |= {"lr": setting.lr, "hours": spent.hours, "money": spent.money, "kwh": spent.kwh}
        assert shown == pytest.approx(expected, rel=0.01)
        by_size = calculated(browser, n_params=f"{best.n_params:.6g}", **machine)
        assert by_size == pytest.approx(shown, rel=0.02)
        by_data = calculated(browser, n_tokens=f"{best.n_tokens:.6g}", **machine)
        assert by_data == pytest.approx(shown, rel=0.02)


def test_calculator_off_the_optimum_agrees_with_python(browser, study):
    open_page(browser, study)
    fit = read_data(study).fit
    for n_params, n_tokens in ((2e4, 4e7), (4e5, 3e6), (7.3e4, 2.2e7)):
        shown = calculated(browser, n_params=f"{n_params / 1e3:g}k", n_tokens=f"{n_tokens / 1e6:g}M")
        assert shown["loss"] == pytest.approx(fit.predict(n_params, n_tokens).loss, rel=0.01)
        again = calculated(browser, flops=f"{shown['flops']:.8g}", n_params=f"{n_params:g}")
        assert again["n_tokens"] == pytest.approx(n_tokens, rel=1e-4)
        assert again["best_loss"] <= again["loss"]


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"flops": "1e30"}, "Outside"),
        ({"flops": "1e5"}, "Outside"),
        ({"n_params": "1e15"}, "Outside"),
        ({"flops": "1e12", "n_params": "9e9"}, "30 times off"),
        ({"flops": "a lot"}, "no number"),
        ({"flops": "-1"}, "no number"),
        ({"flops": "0"}, "no number"),
        ({}, "Give a budget"),
        ({"flops": "1e12", "n_params": "1e5", "n_tokens": "1e6"}, "empty"),
        ({"flops": "1e12", "mfu": "40"}, "MFU"),
        ({"flops": "1e12", "mfu": "0.4", "n_devices": "0"}, "Devices"),
    ],
)
def test_calculator_says_why_it_does_not_answer(browser, study, fields, said):
    open_page(browser, study)
    assert said in calculated(browser, **fields)


def test_snippet_is_copied(browser, study):
    open_page(browser, study)
    browser.execute_script("""
        window.copied = [];
        document.addEventListener('copy', () => copied.push(String(getSelection())));
    """)
    for button in browser.find_elements("css selector", ".snippet button"):
        browser.execute_script(
            "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", button
        )
        button.click()  # a real one: without a reader's hand nothing may be copied
        assert button.text == "Copied"
    copied, shown = browser.execute_script(
        "return [copied, [...document.querySelectorAll('.snippet pre')].map((pre) => pre.textContent)]"
    )
    assert [text.strip() for text in copied] == [text.strip() for text in shown] and len(shown) == 2


def test_a_served_page_is_renewed_where_its_reader_is(browser, study):
    """The newer version comes by itself; scroll, filter and the calculator stay as they were."""
    data = replace(read_data(study), missing=MissingRuns({"grid": {"left": 1}}, "noon", ("1 worker",)))
    page = LivePage(Store(study), str, str, live_page(data, "one"), "one", ["1 worker"])
    with server_of(page, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get(f"http://127.0.0.1:{server.server_address[1]}/")
        wait_for(browser, "return document.documentElement.dataset.ready")
        browser.execute_script("""
            const type = (input, text) => {
              input.value = text; input.dispatchEvent(new Event("input", { bubbles: true }));
            };
            type(document.querySelector(".filter input"), "verify");
            type(document.querySelector("#calculate [name=n_devices]"), "3");
            scrollTo(0, 1500);""")
        page.lines = ["2 workers"]
        wait_for(browser, "return document.getElementById('now').textContent == '2 workers'")
        page.html, page.version = live_page(data, "two"), "two"
        wait_for(browser, "return document.documentElement.dataset.version == 'two'")
        wait_for(browser, "return scrollY == 1500")
        shown = "return document.querySelectorAll('#runs-table tbody tr:not([hidden])').length"
        assert browser.execute_script(shown) == 1
        assert browser.execute_script("return document.getElementById('calculate').n_devices.value") == "3"
        server.shutdown()
    wait_for(browser, "return document.getElementById('now').textContent.startsWith('nobody serves')")
