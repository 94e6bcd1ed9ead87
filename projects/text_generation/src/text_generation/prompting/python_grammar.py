"""A grammar for the body of a Python function, in llguidance's variant of Lark.

A context-free grammar cannot compare indentations, so that the blocks are written out for each depth: `block_2` stands
in `block_1` and is indented by eight blanks. The subset, chosen so that every text compiles:

- statements: assignments (also augmented and to several targets), expressions, `return`, `yield`, `raise`, `assert`,
  `pass`, `import`, `if`/`elif`/`else`, `for`, `while`, `with`, `try`/`except`, and `break` and `continue` within loops;
- expressions: names, numbers, strings in quotes on one line, tuples, lists, dicts, sets, comprehensions, calls,
  attributes, subscripts and slices, arithmetic, comparisons, `and`/`or`/`not`, `… if … else …`;
- comments on a line of their own, before a statement.

Left out: nested functions and classes, `lambda`, decorators, f-strings, annotations, `:=`, `*` and `**` in calls, blank
lines, and more than one keyword argument in a call (two might have one name, which no context-free grammar can
exclude). More than 200 brackets within each other are beyond Python's own limit and not excluded; few texts have the
tokens for it.

Of 1,500 function bodies of CPython 3.11's standard library (drawn from its top-level modules, up to 1,500 characters,
docstring taken out, written anew by `ast.unparse`), 71 % lie in the subset whole.
"""

import keyword

INDENT = "    "

# __debug__ cannot be assigned to, and __future__ cannot be imported within a function.
_FORBIDDEN = "|".join([*keyword.kwlist, "__debug__", "__future__"])

_COMMON = r"""
simple_0: assign | augmented | testlist | DOCSTRING | flow | "pass" | import
simple_1: simple_0 | "break" | "continue"
flow: "return" (" " testlist)? | "yield" (" " testlist)? | "raise" (" " test)? | "assert " test (", " test)?
import: "import " dotted | "from " dotted " import " NAME
dotted: NAME ("." NAME)*

assign: lvalues " = " testlist
augmented: lvalue AUGMENT test
lvalues: lvalue (", " lvalue)*
lvalue: NAME | NAME trailer* ("." NAME | "[" subscript "]")
targets: NAME (", " NAME)*
testlist: test (", " test)*

test: or_test (" if " or_test " else " test)?
or_test: and_test (" or " and_test)*
and_test: not_test (" and " not_test)*
not_test: "not " not_test | comparison
comparison: arithmetic (COMPARE arithmetic)*
arithmetic: unary (OPERATOR unary)*
unary: "-" unary | primary
primary: NUMBER | CONSTANT | atom trailer*
atom: NAME | STRING | bracketed
trailer: "." NAME | "(" arguments? ")" | "[" subscript "]"
arguments: test (", " test)* (", " NAME "=" test)? | NAME "=" test | test comprehension
subscript: test | test? ":" test?
bracketed: "(" ")" | "(" test ")" | "(" test ("," | (", " test)+) ")" | "(" test comprehension ")"
    | "[" (testlist | test comprehension)? "]"
    | "{" (pair (", " pair)* | pair comprehension)? "}" | "{" (testlist | test comprehension) "}"
pair: test ": " test
comprehension: " for " targets " in " or_test (" if " or_test)?

AUGMENT: / (\+|-|\*|\/|\/\/|%|\||&)= /
COMPARE: / (==|!=|<|<=|>|>=|in|not in|is|is not) /
OPERATOR: / (\+|-|\*|\/|\/\/|%|\*\*|&|\||\^|<<|>>) /
CONSTANT: "None" | "True" | "False"
NUMBER: /(0|[1-9][0-9]{0,15})(\.[0-9]{1,10})?/
STRING: /"([ !#-\[\]-~]|\\[nt"'\\])*"/ | /'([ -&(-\[\]-~]|\\[nt"'\\])*'/
DOCSTRING: /\"\"\"[A-Za-z0-9 .,:;()=_'\/<>+*-]*\"\"\"/
COMMENT: /# [ -~]*/
"""


def python_body_grammar(max_depth: int = 3, *, after_line_break: bool = False) -> str:
    """Return the grammar of a function's body with blocks down to a depth.

    Args:
        max_depth: blocks within blocks.
        after_line_break: the text begins with the line break that ends the line above the body. Tokenizers join it
            with the indentation behind it.

    Raises:
        ValueError: the depth is not 1 to 6.
    """
    if not 1 <= max_depth <= 6:
        raise ValueError(f"max_depth must be 1 to 6, got {max_depth}")
    start = 'start: "\\n" block_1_0' if after_line_break else "start: block_1_0"
    rules = [start, f"NAME: /[A-Za-z_][A-Za-z0-9_]{{0,40}}/ & ~/{_FORBIDDEN}/"]
    for depth in range(1, max_depth + 1):
        for in_loop in (0, 1):
            rules += _block(depth, in_loop, deepest=depth == max_depth)
    return "\n".join(rules) + _COMMON


def _block(depth: int, in_loop: int, *, deepest: bool) -> list[str]:
    """Rules of a block at one depth. `in_loop`: `break` and `continue` may stand in it."""
    indent, here = f'"{INDENT * depth}"', f"{depth}_{in_loop}"
    lines = [f'{indent} simple_{in_loop} "\\n"']
    if not deepest:
        inner, loop = f'":\\n" block_{depth + 1}_{in_loop}', f'":\\n" block_{depth + 1}_1'
        lines += [
            f'{indent} "if " test {inner} ({indent} "elif " test {inner})* ({indent} "else" {inner})?',
            f'{indent} "for " targets " in " testlist {loop}',
            f'{indent} "while " test {loop}',
            f'{indent} "with " test (" as " NAME)? {inner}',
            f'{indent} "try" {inner} ({indent} "except " dotted (" as " NAME)? {inner})+',
        ]
    return [
        f"block_{here}: line_{here}+",
        f'line_{here}: ({indent} COMMENT "\\n")* statement_{here}',
        f"statement_{here}: " + "\n    | ".join(lines),
    ]
