"""The page of a study that runs: what is served, to whom, and when it is made anew."""

import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from launch.monitor.live_page import LivePage, server_of
from launch.store import Store
from tests.launch.monitor.test_progress import planned, result, say_progress


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path)
    store.create()
    store.plan.add([planned(k) for k in range(3)])
    return store


@contextmanager
def served(page: LivePage):
    with server_of(page, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", server
        server.shutdown()


def get(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read().decode()


def test_the_page_follows_the_study_and_ends_as_the_file_that_it_wrote(store):
    page = LivePage(store, make=lambda version: f"page of {version}", final=lambda: "the file")
    a, *_ = store.plan.runs()
    store.claim(a)
    say_progress(store, a, 50)
    assert page.look()
    with served(page) as (url, _):
        assert get(url) == "page of 0 of 3, 50 steps"
        now = json.loads(get(f"{url}/now.json"))
        assert now["version"] == "0 of 3, 50 steps"
        assert now["lines"][0].startswith("grid · 0/3 runs · 1 running · 2 left")
        assert now["lines"][1] == "1 worker at work" and "50/100" in now["lines"][2]
        store.finished.write_text("well\n")
        assert not page.look()
        assert get(url) == "the file" and json.loads(get(f"{url}/now.json"))["version"] == "finished"


def test_the_page_is_made_anew_when_something_is_new_but_not_at_once_again(store):
    made = []
    page = LivePage(store, make=lambda version: made.append(version) or version, final=str)
    page.look()
    page.look()
    assert len(made) == 1  # nothing is new
    a, b, _ = store.plan.runs()
    store.finish(store.claim(a), result())
    page._due = 0.0
    page.look()
    assert made[1:] == ["1 of 3, 0 steps"]
    store.finish(store.claim(b), result())
    page._due = float("inf")
    page.look()
    assert len(made) == 2 and "2/3 runs" in page.lines[0]  # what runs is said in the meantime


def test_only_this_machine_is_answered_and_only_what_there_is(store):
    page = LivePage(store, make=str, final=str, html="page")
    with served(page) as (url, server):
        assert server.server_address[0] == "127.0.0.1"
        for path, headers, code in (("/", {"Host": "evil.example:80"}, 403), ("/../study.json", {}, 404)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(url + path, **headers)
            assert refused.value.code == code
        with pytest.raises(ValueError, match=r"--port \d+: Address already in use; give another one"):
            server_of(page, server.server_address[1])
