"""Expressions over named values, as `--where` takes them: read with Python's grammar, never run as Python.

    optimizer.lr <= 2e-3 and model.family in ["transformer", "moe"]
    n_tokens / n_params > 10 or status == "diverged"

Names may have dots; any other name stands between backticks: `loss web-en` > 3. There are numbers, strings,
lists, true, false, null and inf; comparisons, `in`, `and`, `or`, `not` and arithmetic. A value that is
missing (None or NaN) is equal to null alone, is neither less nor more than anything, and what is computed
from it is missing too.
"""

import ast
import difflib
import functools
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CONSTANTS = {"true": True, "false": False, "null": None, "inf": float("inf")}
EQUALITY: dict[type, Callable[[Any, Any], bool]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
ORDER: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, power: float(base) ** power,  # of integers it could fill the memory
}
ALLOWED = "comparisons, in, and, or, not, + - * / // % **, names, numbers, strings and lists"


@dataclass(frozen=True)
class Expression:
    """A parsed expression; `names` are the values that it reads, each once."""

    text: str
    names: tuple[str, ...]
    _tree: ast.expr

    def value(self, values: Mapping[str, Any]) -> Any:
        """What it comes to for these values by name: a number, string, bool, list or None.

        Raises:
          ValueError: a name that is not among `values`, or an operation that its values do not have.
        """
        check_names(self, values)
        try:
            return _evaluate(self._tree, values)
        except (TypeError, ArithmeticError) as error:
            raise ValueError(f"{self.text!r}: {error.args[-1]}") from None

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is true of these values; what is missing is not.

        Raises:
          ValueError: as `value`, or what it comes to is neither true nor false.
        """
        found = self.value(values)
        if found is not None and not isinstance(found, bool):
            raise ValueError(f"{self.text!r} is {found!r}; a condition is true or false, such as lr < 0.01")
        return bool(found)


@functools.lru_cache
def parse(text: str) -> Expression:
    """The expression that a text says.

    Raises:
      ValueError: it is no expression, or has what is not allowed in one, such as a call.
    """
    quoted: list[str] = []

    def stand_in(found: re.Match[str]) -> str:
        if found["name"] is None:  # a string, which may have backticks
            return found[0]
        quoted.append(found["name"])
        return f"_quoted_{len(quoted) - 1}"

    plain = re.sub(r"""'[^']*'|"[^"]*"|`(?P<name>[^`]*)`""", stand_in, text)
    try:
        tree = _resolve(ast.parse(plain.strip(), mode="eval").body, quoted)
    except (SyntaxError, RecursionError, MemoryError):
        hint = "; equal is written ==" if re.search(r"[^=<>!]=[^=]", text) else ""
        raise ValueError(f"{text!r} is no expression{hint}; allowed are {ALLOWED}") from None
    except TypeError as error:
        raise ValueError(f"{text!r}: {error}; allowed are {ALLOWED}") from None
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return Expression(text, tuple(dict.fromkeys(names)), tree)


def check_names(expression: Expression, known: Iterable[str]) -> None:
    """Refuses an expression that reads a name which is not known; the nearest one is suggested."""
    for name in expression.names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"{expression.text!r}: there is no {name!r}; {hint}")


def _resolve(node: ast.AST, quoted: list[str]) -> ast.expr:
    """The tree with dotted and quoted names as one Name each, and named constants as such.

    Raises:
      TypeError: a part that is not allowed.
    """
    match node:
        case ast.Name() | ast.Attribute():
            name = ast.unparse(node)
            if not re.fullmatch(r"[^\W\d]\w*(\.\w+)*", name):
                raise TypeError(f"{name!r} is no name")
            if name in CONSTANTS:
                return ast.Constant(CONSTANTS[name])
            is_quoted = re.fullmatch(r"_quoted_(\d+)", name)
            return ast.Name(quoted[int(is_quoted[1])] if is_quoted else name)
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return ast.List([_resolve(part, quoted) for part in parts])
        case ast.BoolOp(values=parts):
            return ast.BoolOp(node.op, [_resolve(part, quoted) for part in parts])
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=part):
            return ast.UnaryOp(node.op, _resolve(part, quoted))
        case ast.BinOp(left=left, right=right) if type(node.op) in ARITHMETIC:
            return ast.BinOp(_resolve(left, quoted), node.op, _resolve(right, quoted))
        case ast.Compare(left=left, comparators=parts) if not any(
            isinstance(op, ast.Is | ast.IsNot) for op in node.ops
        ):
            return ast.Compare(_resolve(left, quoted), node.ops, [_resolve(part, quoted) for part in parts])
    raise TypeError(f"{ast.unparse(node)!r} is not understood")


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            value = values[name]
            if isinstance(value, tuple):
                return list(value)
            return None if value != value else value  # NaN
        case ast.Constant(value=value):
            return value
        case ast.List(elts=parts):
            return [_evaluate(part, values) for part in parts]
        case ast.BoolOp(op=op, values=parts):
            settled_by = isinstance(op, ast.Or)  # the later parts are not looked at then, as in Python
            return settled_by if any(_truth(part, values) is settled_by for part in parts) else not settled_by
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return not _truth(part, values)
        case ast.UnaryOp(op=op, operand=part):
            value = _number(_evaluate(part, values))
            return -value if value is not None and isinstance(op, ast.USub) else value
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _number(_evaluate(left, values)), _number(_evaluate(right, values))
            return None if a is None or b is None else ARITHMETIC[type(op)](a, b)
        case ast.Compare(left=left, ops=ops, comparators=parts):
            sides = [_evaluate(part, values) for part in (left, *parts)]
            return all(_compare(op, a, b) for op, a, b in zip(ops, sides, sides[1:], strict=False))
    raise AssertionError(f"{ast.dump(node)} was not refused when it was read")


def _compare(op: ast.cmpop, a: Any, b: Any) -> bool:
    if type(op) in EQUALITY:
        return EQUALITY[type(op)](a, b)
    if isinstance(op, ast.In | ast.NotIn):
        if not isinstance(b, list) and not (isinstance(a, str) and isinstance(b, str)):
            raise TypeError(f"{a!r} in {b!r}: there must be a list or a text on the right")
        return (a in b) is isinstance(op, ast.In)
    if a is None or b is None:
        return False
    if isinstance(a, str) is not isinstance(b, str) or isinstance(a, list) or isinstance(b, list):
        raise TypeError(f"{a!r} and {b!r} have no order")
    return ORDER[type(op)](a, b)


def _truth(node: ast.expr, values: Mapping[str, Any]) -> bool:
    """As a part of and, or, not; what is missing is not true."""
    value = _evaluate(node, values)
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{ast.unparse(node)} is {value!r}, where true or false is needed")
    return bool(value)


def _number(value: Any) -> Any:
    if value is not None and not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value
