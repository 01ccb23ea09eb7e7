"""Who may ask."""

import pytest

from launch.serve.access import is_loopback, may_ask


@pytest.mark.parametrize(
    "host, expected",
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True)]
    + [
        (host, False)
        for host in ("0.0.0.0", "::", "10.0.0.7", "localhost.example.org", "", "127.0.0.1.nip.io")
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) == expected
    assert may_ask(None, "", host) == may_ask(None, "Bearer x", host) == expected


def test_a_token_is_asked_for_wherever_the_request_comes_from():
    assert may_ask("é", "Bearer é", "example.org") and may_ask("x", "x", "localhost")
    for sent in ("", "Bearer ", "Bearer xx", "Bearer \udcff", "bearer x"):
        assert not may_ask("x", sent, "localhost")
