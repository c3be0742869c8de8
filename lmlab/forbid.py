"""What an exercise rules out, as claims: a call, a loop, a name.

`calls` watches while code runs; `loops` and `names` read a function's source. All of
them raise `checks.ClaimError`, the error of claims, and say what is ruled out and why.

They are made for honest mistakes and obvious short cuts, not for a contest: each says
what it cannot see.
"""

import ast
import contextlib
import importlib
import inspect
import sys
import textwrap
import types

from lmlab import checks, parameters

LOOPS = {
    ast.For: "a for loop",
    ast.AsyncFor: "a for loop",
    ast.While: "a while loop",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a generator expression",
}
# Functions that only hide a loop.
HIDDEN = ("map", "filter", "vectorize", "apply_along_axis", "frompyfunc", "nditer")


@contextlib.contextmanager
def calls(*paths, why):
    """`with forbid.calls("torch.softmax", why="…"):` no call of these in the block.

    paths: dotted paths of functions, classes or methods ("torch.Tensor.softmax").
    why: a sentence, shown when one is called. The claim fails at the call; where that
    error is swallowed, it fails at the end of the block. All is restored at any exit.

    Seen, too, is the same object under another name: in the package that it comes from,
    in lmlab and in the user's variables (`from torch import softmax as s`); of a class
    each new object, and each of a subclass. Not seen: what was put away before (in a
    closure, a default, a `partial`, an attribute), and another function that does the
    same (`torch.softmax`, `torch.Tensor.softmax` and `torch.nn.functional.softmax` are
    three). A call by the library's own code counts as any other.
    Raises ValueError for a path that leads nowhere, or to what cannot be watched.
    """
    if not paths:
        raise ValueError("forbid.calls() needs the path of something to forbid")
    called = []
    with contextlib.ExitStack() as stack:
        for path in paths:
            _watch(path, _refuser(path, why, called), stack)
        yield
    if called:
        raise called[0]


def _refuser(path, why, called):
    def refuse(*_, **__):
        called.append(checks.ClaimError(f"no call of {path}", f"  {why}"))
        raise called[-1]

    return refuse


def _watch(path, refuse, stack):
    """Put refuse in the place of what the path names, until the stack closes."""
    owner, name = _find(path)
    original = getattr(owner, name)
    if not callable(original):
        raise ValueError(f"forbid.calls({path!r}): that is nothing to call")
    if isinstance(original, type):
        with contextlib.suppress(TypeError):  # one written in C cannot be changed
            _replace(original, "__init__", refuse, stack)
            return
    try:
        _replace(owner, name, refuse, stack)
    except TypeError:
        said = f"forbid.calls({path!r}): {owner.__name__} is written in C and cannot"
        raise ValueError(f"{said} be watched; forbid.names can") from None
    if inspect.isclass(owner):
        return
    for space in _spaces(path.partition(".")[0]):
        for other in [key for key, value in space.items() if value is original]:
            space[other] = refuse
            stack.callback(space.__setitem__, other, original)


def _find(path):
    """(what holds it, its name there) of a dotted path."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        with contextlib.suppress(AttributeError):
            for part in parts[cut:-1]:
                owner = getattr(owner, part)
            getattr(owner, parts[-1])
            return owner, parts[-1]
    raise ValueError(f"forbid.calls({path!r}): there is no such thing")


def _replace(owner, name, new, stack):
    own = vars(owner).get(name)  # as it stands there: perhaps a staticmethod
    setattr(owner, name, new)
    if own is None:  # it was inherited
        stack.callback(delattr, owner, name)
    else:
        stack.callback(setattr, owner, name, own)


def _spaces(package):
    """Where another name of the same object may stand."""
    yield parameters.namespace()
    for name, module in list(sys.modules.items()):
        ours = name.partition(".")[0] in (package, "lmlab")
        if ours and isinstance(module, types.ModuleType):
            yield vars(module)


def loops(function, *, apart=()):
    """Claim that a function, or a class's methods, are written without a loop.

    No for, while or comprehension, no map, vectorize and the like, and no call of
    itself; nor in the functions beside it that it calls, except those in apart, which
    are given. What a library does inside is not seen.
    """
    text = f"{_named(function)} has no loop"
    for name, tree, lines in _sources(text, function, apart):
        for node in ast.walk(tree):
            found = LOOPS.get(type(node))
            if isinstance(node, ast.Call):
                called = _chain(node.func).rpartition(".")[2]
                if called in HIDDEN:
                    found = f"{called}, which hides one"
                elif called == name and isinstance(node.func, ast.Name):
                    found = "a call of itself"
            if found:
                where = "" if name == _named(function) else f" in {name}"
                _fail(text, f"there is {found}{where}: {lines[node.lineno - 1]}")
    checks.holds(text, True)


def names(function, *forbidden, why="", apart=()):
    """Claim that a function, or a class's methods, do not use these names.

    forbidden: names ("softmax"), which may stand alone, behind a dot, in an import or
    in quotation marks, or the end of a dotted path ("linalg.inv"). why: a sentence, for
    the message. Functions beside it that it calls are read, too, except those in apart.
    A name that is put together while the code runs is not seen.
    """
    if not forbidden:
        raise ValueError("forbid.names() needs a name to forbid")
    text = f"{_named(function)} does without {', '.join(forbidden)}"
    for name, tree, lines in _sources(text, function, apart):
        for node in ast.walk(tree):
            used = [f".{each}" for each in _uses(node)]
            found = [n for n in forbidden if any(u.endswith(f".{n}") for u in used)]
            if found:
                where = "" if name == _named(function) else f" in {name}"
                said = f"there is {found[0]}{where}: {lines[node.lineno - 1]}"
                _fail(text, said, *([why] if why else []))
    checks.holds(text, True)


def _uses(node):
    """The dotted names that one node of a source stands for."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield _chain(node)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Import | ast.ImportFrom):
        of = getattr(node, "module", None)
        yield from (f"{of}.{a.name}" if of else a.name for a in node.names)


def _chain(node):
    """a.b.c of an attribute, also of one of something that has no name."""
    if isinstance(node, ast.Attribute):
        return f"{_chain(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _named(function):
    return getattr(function, "__name__", None) or type(function).__name__


def _fail(text, *lines):
    raise checks.ClaimError(text, "\n".join(f"  {line}" for line in lines))


def _sources(text, function, apart):
    """(name, syntax tree, lines) of a function, or a class's methods, and its helpers.

    These are the functions of the same notebook or module that their sources name.
    """
    left, seen = _methods(function), set()
    if not left:
        _fail(text, f"expected what a def makes, got {function!r:.80}")
    while left:
        each = left.pop(0)
        if each in seen or each.__name__ in apart:
            continue
        seen.add(each)
        try:
            source = textwrap.dedent(inspect.getsource(each))
            tree = ast.parse(source)
        except (OSError, TypeError, SyntaxError):
            _fail(
                text, f"the source of {each.__name__} cannot be read: write it with def"
            )
        yield each.__name__, tree, [line.strip() for line in source.splitlines()]
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        beside = (each.__globals__.get(name) for name in sorted(used))
        for other in beside:
            own = (f for f in _methods(other) if f.__globals__ is each.__globals__)
            left += own


def _methods(thing):
    """The Python functions of a function, or of a class's body."""
    thing = _unwrapped(thing)
    if inspect.isfunction(thing):
        return [thing]
    if not inspect.isclass(thing):
        return []
    parts = (getattr(part, "__func__", part) for part in vars(thing).values())
    parts = (_unwrapped(getattr(part, "fget", part)) for part in parts)
    return [part for part in parts if inspect.isfunction(part)]


def _unwrapped(thing):
    while "__wrapped__" in getattr(thing, "__dict__", {}):
        thing = thing.__wrapped__
    return thing
