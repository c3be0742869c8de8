"""Read the lessons' parameters, and which values a run gets: default, profile or -p.

A lesson has one cell tagged `parameters`. Its defaults are the quick profile;
notebooks/full.yaml holds the full one. papermill neither refuses an unknown
parameter nor checks a type or a range, so all of it is done here, before anything runs.
"""

import ast
import difflib

from lmlab.parameters import TYPES, Parameter, ParameterError, check, convert
from lmlab.runner.lessons import LessonError, find, folder, read_notebook

PROFILES = ("quick", "full")


def inspect(lesson):
    """The parameters of a lesson, by name, as papermill reads them.

    Raises LessonError when the notebook cannot be read, or when its parameters
    cell holds something that papermill would skip in silence, or an unreadable range.
    """
    import papermill

    notebook = read_notebook(lesson.path)
    try:
        # A notebook node: papermill expands braces in a path.
        found = papermill.inspect_notebook(notebook)
    except (ValueError, AttributeError) as error:  # it names no kernel or language
        raise LessonError(f"{lesson.name} cannot be inspected: {error}") from None
    known = {name: _parameter(lesson, entry) for name, entry in found.items()}
    try:
        missed = [name for name, _ in _assignments(notebook) if name not in known]
    except SyntaxError as error:
        raise LessonError(f"{lesson.name}: parameters cell: {error}") from None
    if missed:
        raise LessonError(
            f"{lesson.name}: papermill cannot read the parameter {missed[0]!r}. "
            "Write it on one line, with no second = (not in the comment either)."
        )
    return known


def assigned(notebook, tag="parameters"):
    """{name: value} of what the code cells with this tag assign, literals all."""
    return {k: ast.literal_eval(value) for k, value in _assignments(notebook, tag)}


def _assignments(notebook, tag="parameters"):
    """(name, the value's node) of each assignment in the code cells with this tag."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and tag in cell.metadata.get("tags", []):
            for node in ast.parse(cell.source).body:
                for target in getattr(node, "targets", [getattr(node, "target", None)]):
                    if isinstance(target, ast.Name):
                        yield target.id, node.value


def _parameter(lesson, entry):
    name, kind = entry["name"], entry["inferred_type_name"].replace(" ", "")
    try:
        default = ast.literal_eval(entry["default"])
    except (ValueError, SyntaxError):
        raise LessonError(
            f"{lesson.name}: the parameter {name!r} is not a literal; compute derived "
            "values in the set-up cell."
        ) from None
    if kind == "None":
        kind = type(default).__name__
    if kind not in TYPES:
        raise LessonError(f"{lesson.name}: the parameter {name!r} has type {kind!r}.")
    try:
        return Parameter(name, kind, default, entry["help"].strip())
    except ParameterError as error:
        raise LessonError(f"{lesson.name}: {error}") from None


def settings(lessons, profile="quick", assignments=()):
    """The values to give to each lesson: {lesson: {name: value}}.

    assignments: NAME=VALUE, for every lesson that has it, or LESSON.NAME=VALUE,
    which wins. Raises LessonError, naming the parameter and the ones that exist,
    for an unknown one, a value, default or not, of the wrong type or out of its range,
    or one given twice.
    """
    if profile not in PROFILES:
        raise LessonError(f"There is no profile {profile!r}: choose quick or full.")
    known = {lesson: inspect(lesson) for lesson in lessons}
    values = {lesson: {} for lesson in lessons}
    if profile == "full":
        for name, chosen in _full_profile().items():
            lesson = find(name)
            if lesson in values:
                values[lesson] |= _typed(lesson, known[lesson], chosen)
    given = {}
    for assignment in assignments:
        chosen, name, text = split(assignment)
        if (chosen, name) in given:
            raise LessonError(f"The parameter {name!r} is given twice.")
        given[chosen, name] = text
    for (chosen, name), text in sorted(given.items(), key=lambda one: bool(one[0][0])):
        for lesson in reached(chosen, name, known):
            values[lesson] |= _typed(lesson, known[lesson], {name: text})
    for lesson, declared in known.items():
        for name in declared.keys() - values[lesson].keys():
            _refuse_wrong(lesson, declared, check, name, declared[name].default)
    return values


def _profile_file():
    return folder() / "full.yaml"


def _full_profile():
    import yaml

    path = _profile_file()
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise LessonError(f"The full profile cannot be read: {error}") from None
    entries = [profile, *(profile.values() if isinstance(profile, dict) else [])]
    if not all(isinstance(entry, dict) for entry in entries):
        raise LessonError(f"{path.name} must map each lesson to its parameters.")
    return {str(name): chosen for name, chosen in profile.items()}


def of_a_profile(name, defaults, values):
    """Whether the values are those of a profile, whatever the seed.

    name: the lesson's, as full.yaml has it; defaults: the quick profile. What a lesson
    declares about chance, the band of a metric, was measured at these settings.
    """
    try:
        there = _profile_file().is_file()
    except LessonError:  # lmlab without its checkout, which can compare all the same
        there = False
    full = _full_profile().get(name, {}) if there else {}
    profiles = defaults, defaults | full
    return any(values | {"seed": 0} == each | {"seed": 0} for each in profiles)


def split(assignment):
    """(the lesson that is addressed, or None for every lesson; name; value's text).

    Raises LessonError for what is no assignment.
    """
    key, equals, text = assignment.partition("=")
    address, _, name = key.strip().rpartition(".")
    if not equals or not name:
        raise LessonError(
            f"-p {assignment}: write NAME=VALUE, or LESSON.NAME=VALUE for one lesson."
        )
    return find(address) if address else None, name, text


def reached(chosen, name, known):
    """The lessons of known, {lesson: parameters}, that the assignment addresses.

    Raises LessonError when there is none.
    """
    if chosen:
        if chosen not in known:
            raise LessonError(f"-p {name}: {chosen.name} is not being run.")
        return [chosen]
    having = [lesson for lesson in known if name in known[lesson]]
    if not having:
        raise _unknown(name, known)
    return having


def _typed(lesson, known, chosen):
    if unknown := [name for name in chosen if name not in known]:
        raise _unknown(unknown[0], {lesson: known})
    return {
        name: _refuse_wrong(lesson, known, convert, name, value)
        for name, value in chosen.items()
    }


def _refuse_wrong(lesson, known, judge, name, value):
    try:
        return judge(known[name], value)
    except ParameterError as error:
        said = f"{lesson.name}: {error}\n{listing({lesson: known})}"
        raise LessonError(said) from None


def _unknown(name, known):
    names = {each for parameters in known.values() for each in parameters}
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return LessonError(f"There is no parameter {name!r}.{hint}\n{listing(known)}")


def listing(known):
    """The parameters of the lessons, a line each. known: {lesson: parameters}."""
    lines = []
    for lesson, parameters in known.items():
        lines.append(f"The parameters of {lesson.name}:")
        lines += [f"  {parameter}" for parameter in parameters.values()] or ["  none"]
    return "\n".join(lines)
