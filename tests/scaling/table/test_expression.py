import math

import pytest

from scaling.table.expression import check_names, parse

RUN = {
    "optimizer.lr": 2e-3,
    "optimizer.name": "muon",
    "n_params": 1000,
    "n_tokens": 20_000,
    "loss": math.nan,
    "tied": True,
    "data.langs": ("en", "de"),
    "loss web-en": 3.5,
    "model.n_experts": None,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("optimizer.lr == 2e-3 and optimizer.name in ['muon', 'adamw']", True),
        ('optimizer.name == "adamw" or not tied', False),
        ("n_tokens / n_params", 20.0),
        ("-n_params + 7 // 2 * 2 ** 3 - 9 % 4", -977.0),
        ("1 < n_params <= 1000 < n_tokens", True),
        ("'de' in data.langs and 'fr' not in data.langs and data.langs == ['en', 'de']", True),
        ("'mu' in optimizer.name", True),
        ("tied == true and model.n_experts == null and loss == None", True),
        ("`loss web-en` > 3 and `optimizer.lr` < inf", True),
        ("loss > 0 or loss <= 0 or loss + 1 > 0 or -loss < 0", False),  # missing
        ("not loss > 0 and loss != 3", True),
        ("'`n_params`' == 'n_params'", False),
        ("tied or optimizer.name", True),  # settled by its first part
    ],
)
def test_an_expression_comes_to_what_python_would_say_of_values_that_are_there(text, value):
    assert parse(text).value(RUN) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optimizer.lr = 3", "equal is written =="),
        ("__import__('os')", "is not understood"),
        ("optimizer.name.upper()", "is not understood"),
        ("'a'.join", "is no name"),
        ("[x for x in data.langs]", "is not understood"),
        ("tied is true", "is not understood"),
        ("data.langs[0]", "is not understood"),
        ("(" * 5000, "is no expression"),
        ("not " * 100_000 + "tied", "is no expression"),
        ("", "is no expression"),
        ("1 +", "is no expression"),
        ("1j > 2", "is not understood"),
    ],
)
def test_what_is_no_expression_is_refused_when_it_is_read(text, said):
    with pytest.raises(ValueError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optimiser.lr > 0", "no 'optimiser.lr'; did you mean 'optimizer.lr'"),
        ("optimizer.name == 'muon' or 'adamw'", None),
        ("optimizer.name == 'adamw' or 'muon'", "'muon' is 'muon', where true or false"),
        ("optimizer.name < 3", "have no order"),
        ("optimizer.name * 3 == 'x'", "is no number"),
        ("n_params in 3", "there must be a list"),
        ("9 ** 9 ** 9 > 0", "out of range"),
        ("1 / (n_params - 1000) > 0", "division by zero"),
        ("n_tokens / n_params", "is 20.0; a condition is true or false"),
    ],
)
def test_a_condition_that_makes_no_sense_for_its_values_is_refused_in_one_line(text, said):
    if said is None:
        assert parse(text).holds(RUN)
        return
    with pytest.raises(ValueError, match=said) as refused:
        parse(text).holds(RUN)
    assert "\n" not in str(refused.value)


def test_names_are_known_before_there_are_values():
    expression = parse("model.d_model * 4 == d_ff and model.d_model in [1, 2]")
    assert set(expression.names) == {"model.d_model", "d_ff"}
    check_names(expression, ["model.d_model", "d_ff"])
    with pytest.raises(ValueError, match=r"there is no 'd_ff'; did you mean 'model\.d_ff'"):
        check_names(expression, ["model.d_model", "model.d_ff"])
