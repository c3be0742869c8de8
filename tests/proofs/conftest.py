"""Makes each file of answers, NN_name.py, a file of tests: those of suite.py.

So several processes can share the lessons, and one lesson can be tested alone.
"""

import pytest

from proofs import suite


def pytest_pycollect_makemodule(module_path, parent):
    """The file's module, with the tests of suite.py in it."""
    module = pytest.Module.from_parent(parent, path=module_path)
    tests = {name: f for name, f in vars(suite).items() if name.startswith("test_")}
    vars(module.obj).update(tests)
    module.add_marker(pytest.mark.timeout(60))
    return module


def pytest_generate_tests(metafunc):
    """Give each test its lesson's name, and each of its answers or exercises."""
    name = metafunc.definition.path.stem
    metafunc.parametrize("name", [name])
    if "answer" in metafunc.fixturenames:
        answers = metafunc.module.ANSWERS
        names = [f"{answer.cell}-{answer.name}" for answer in answers]
        metafunc.parametrize("answer", answers, ids=names)
    if "number" in metafunc.fixturenames:
        found = suite.parts(suite.source(name))[1]
        metafunc.parametrize("number", [exercise.number for exercise in found])
