"""Walks through the table: steps followed again, an answer that guessing does not find, and a fixed test."""

from collections import Counter

from experiments.data.sources import walks


def test_problems_are_walks_and_test_problems_are_not_in_the_corpus():
    assert all(sorted(row) == list(range(10)) for row in walks.TABLE)
    lines = b"".join(walks.documents()).decode().splitlines()
    training, test = walks.numbers()
    assert len(lines) == len(training) == 10**walks.N_DIGITS - walks.N_TEST
    asked = {walks.problem(number)[0] for number in test}
    assert not asked & {line[: walks.N_DIGITS + 1] for line in lines}
    for line in lines[:: len(lines) // 50]:
        digits, states = line.split("=")
        steps = zip("0" + states, digits, states)
        assert all(walks.TABLE[int(a)][int(digit)] == int(b) for a, digit, b in steps)


def test_problems_differ_by_their_digits_which_are_always_five():
    a = walks.TABLE[0][0]
    b = walks.TABLE[a][0]
    digits, states = walks.problem(7)
    assert digits == "00007=" and states[:2] == f"{a}{b}" and len(states) == 5
    assert states[-1] == str(walks.TABLE[int(states[-2])][7])
    assert walks.problem(99999)[0] == "99999="


def test_every_state_is_the_answer_of_a_tenth_of_all_problems():
    answers = Counter(walks.problem(number)[1][-1] for number in range(10**walks.N_DIGITS))
    assert set(answers.values()) == {10**walks.N_DIGITS * walks.CHANCE}


def test_the_test_is_the_same_every_time_and_each_number_is_in_one_part():
    training, test = walks.numbers()
    assert (training, test) == walks.numbers()
    assert sorted(training + test) == list(range(10**walks.N_DIGITS))
    assert test != sorted(test)  # drawn, not the last or first ones


def test_documents_are_whole_lines():
    documents = list(walks.documents())
    assert all(one.endswith(b"\n") for one in documents)
    n_lines = [one.count(b"\n") for one in documents]
    assert set(n_lines[:-1]) == {walks.PER_DOCUMENT} and 0 < n_lines[-1] <= walks.PER_DOCUMENT
