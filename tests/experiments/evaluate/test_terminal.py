"""Text that nobody vouches for, as a terminal may show it."""

from experiments.evaluate.terminal import printable


def test_a_model_cannot_steer_the_terminal():
    assert printable("a\x1b[2J\n\tb\x07\x9b\r") == "a\ufffd[2J\n\tb\ufffd\ufffd\ufffd"
