"""Lessons are found by number or name; a wrong parameter is refused before a run."""

import nbformat
import pytest

from lmlab import files
from lmlab.runner import lessons, profiles
from lmlab.runner.lessons import LessonError

PARAMETERS = """\
epochs: int = 5  # passes over the training set
lr: float = 0.1
dataset: str = "digits"
shuffle: bool = True
sizes: list[int] = [1, 2]
"""


def write(path, source=PARAMETERS, *, outputs=()):
    """A lesson with this parameters cell and one more cell."""
    new = nbformat.v4
    cells = [
        new.new_code_cell(source, metadata={"tags": ["parameters"]}),
        new.new_code_cell("1 + 1", execution_count=2, outputs=list(outputs)),
    ]
    language = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": language, "language_info": {"name": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new.new_notebook(cells=cells, metadata=metadata), path)
    return path


@pytest.fixture
def course(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    write(folder / "01_backprop.ipynb", "seed: int = 0\nlr: float = 0.5  # above 0")
    write(folder / "02_mlp_numpy.ipynb")
    write(folder / "exercises" / "02_mlp_numpy.ipynb")
    write(folder / "deeper" / "02_mlp_numpy.ipynb", "seed: int = 0\nlr: float = 0.2")
    write(folder / "notes.ipynb")
    (folder / "full.yaml").write_text("02_mlp_numpy: {dataset: mnist, epochs: 9}\n")
    monkeypatch.setenv("LMLAB_NOTEBOOKS", str(folder))
    return folder


def names(found):
    return [lesson.name for lesson in found]


def refused(*assignments, names=(), profile="quick"):
    with pytest.raises(LessonError) as caught:
        profiles.settings(lessons.select(names), profile, assignments)
    return str(caught.value)


def chosen(*assignments, names=(), profile="quick"):
    values = profiles.settings(lessons.select(names), profile, assignments)
    return {lesson.name: given for lesson, given in values.items()}


class TestFind:
    @pytest.mark.parametrize(
        "name", ["2", "02", "mlp_numpy", "02_mlp_numpy", "notebooks/02_mlp_numpy.ipynb"]
    )
    def test_a_lesson_goes_by_number_or_name(self, course, name):
        assert lessons.find(name).path == course / "02_mlp_numpy.ipynb"

    def test_all_in_order_when_none_is_named(self, course):
        assert [x.name for x in lessons.select([])] == ["01_backprop", "02_mlp_numpy"]

    def test_each_once_and_in_order(self, course):
        found = lessons.select(["mlp_numpy", "1", "02"])
        assert [x.name for x in found] == ["01_backprop", "02_mlp_numpy"]

    @pytest.mark.parametrize("kind", ["deeper", "exercises"])
    def test_a_kind_comes_with_its_lesson_where_it_is_asked_for(self, course, kind):
        assert names(lessons.select(["2"])) == ["02_mlp_numpy"]
        both = ["02_mlp_numpy", f"02_mlp_numpy-{kind}"]
        assert names(lessons.select(["2"], [kind])) == both
        assert names(lessons.select([], [kind])) == ["01_backprop", *both]

    @pytest.mark.parametrize("kind", ["deeper", "exercises"])
    @pytest.mark.parametrize("also", [(), ("deeper",), lessons.KINDS])
    @pytest.mark.parametrize(
        "name",
        [
            "02-{}",
            "2-{}",
            "mlp_numpy-{}",
            "02_mlp_numpy-{}",
            "{}/02_mlp_numpy",
            "{}/2",
            "notebooks/{}/02_mlp_numpy.ipynb",
        ],
    )
    def test_a_notebook_of_a_kind_goes_by_its_own_name(self, course, name, kind, also):
        (found,) = lessons.select([name.format(kind)], also)
        assert found == lessons.find(name.format(kind))
        assert found.name == f"02_mlp_numpy-{kind}"
        assert found.path == course / kind / "02_mlp_numpy.ipynb"
        assert found.kind == kind

    def test_one_that_is_not_there_names_those_of_its_kind(self, course):
        message = r"'01-deeper'. Did you mean 02_mlp_numpy-deeper\?$"
        with pytest.raises(LessonError, match=message):
            lessons.find("01-deeper")
        (course / "deeper" / "02_mlp_numpy.ipynb").unlink()
        with pytest.raises(LessonError, match=r"mean 02_mlp_numpy or 01_backprop\?$"):
            lessons.find("02-deeper")

    def test_an_unknown_lesson_names_the_near_one(self, course):
        with pytest.raises(LessonError, match=r"'mlp_nump'.*mean 02_mlp_numpy\?$"):
            lessons.find("mlp_nump")

    @pytest.mark.parametrize("name", ["77", "²", "", "zzz"])
    def test_what_is_near_nothing_names_them_all(self, course, name):
        with pytest.raises(LessonError, match="01_backprop or 02_mlp_numpy"):
            lessons.find(name)

    def test_a_folder_that_is_not_there(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LMLAB_NOTEBOOKS", str(tmp_path / "none"))
        with pytest.raises(LessonError, match="LMLAB_NOTEBOOKS"):
            lessons.folder()

    def test_a_folder_without_lessons(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LMLAB_NOTEBOOKS", str(tmp_path))
        with pytest.raises(LessonError, match="holds no lesson"):
            lessons.select([])

    def test_without_a_checkout_the_message_says_how_to_get_one(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.delenv("LMLAB_NOTEBOOKS", raising=False)
        monkeypatch.setattr(files, "PACKAGE", tmp_path / "lmlab")
        with pytest.raises(LessonError, match=r"pip install -e \."):
            lessons.folder()

    def test_the_checkout_is_found_by_itself(self, monkeypatch):
        monkeypatch.delenv("LMLAB_NOTEBOOKS", raising=False)
        assert (lessons.folder().parent / "pyproject.toml").exists()


class TestParameters:
    def test_names_types_defaults_and_help_are_read(self, course):
        found = profiles.inspect(lessons.find("2"))
        assert {name: (p.type, p.default) for name, p in found.items()} == {
            "epochs": ("int", 5),
            "lr": ("float", 0.1),
            "dataset": ("str", "digits"),
            "shuffle": ("bool", True),
            "sizes": ("list[int]", [1, 2]),
        }
        assert str(found["epochs"]) == "epochs: int = 5  # passes over the training set"

    def test_a_lesson_without_parameters_has_none(self, course):
        path = write(course / "03_plain.ipynb", "")
        assert profiles.inspect(lessons.Lesson("03_plain", path)) == {}

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("lr: float = 0.1  # lr = 1 diverges", "cannot read the parameter 'lr'"),
            ("a = b = 1", "cannot read the parameter 'a'"),
            ("n: int | None = 3", "cannot read the parameter 'n'"),
            ("steps: int = 5 * 10", "'steps' is not a literal"),
            ("options: dict = {}", "'options' has type 'dict'"),
            ("epochs: int = ", "'epochs' is not a literal"),
            ("seed: int = 0\nn: int = 5 = 6", "parameters cell"),
            ("n: int = 3  # at least 2", "03_odd: the range of .* 'n' cannot be read"),
            ("n: int = 3  # from 3 to 1", "03_odd: the range of .* 'n' is empty"),
        ],
    )
    def test_a_parameter_that_papermill_would_skip_is_an_error(
        self, course, source, message
    ):
        path = write(course / "03_odd.ipynb", source)
        with pytest.raises(LessonError, match=message):
            profiles.inspect(lessons.Lesson("03_odd", path))

    @pytest.mark.parametrize(
        "text", ['{"cells": [', "", "[]", "{}", '{"nbformat": 4}', '{"nbformat": 99}']
    )
    @pytest.mark.parametrize("use", [profiles.inspect, lessons.start])
    def test_a_file_that_is_no_notebook(self, course, text, use):
        (course / "03_cut.ipynb").write_text(text)
        with pytest.raises(LessonError, match="03_cut is not a readable notebook"):
            use(lessons.find("3"))

    def test_one_that_goes_deeper_is_named_as_such(self, course):
        (course / "deeper" / "02_mlp_numpy.ipynb").write_text("{}")
        with pytest.raises(LessonError, match=r"^02_mlp_numpy-deeper is not a "):
            profiles.inspect(lessons.find("02-deeper"))

    def test_a_notebook_without_a_kernel(self, course):
        path = write(course / "03_plain.ipynb")
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata = {}
        nbformat.write(notebook, path)
        with pytest.raises(LessonError, match="03_plain cannot be inspected"):
            profiles.inspect(lessons.find("3"))

    def test_braces_in_the_path_are_only_braces(self, tmp_path, monkeypatch):
        folder = tmp_path / "{course}"
        write(folder / "02_mlp_numpy.ipynb")
        monkeypatch.setenv("LMLAB_NOTEBOOKS", str(folder))
        assert "epochs" in profiles.inspect(lessons.find("2"))


class TestValues:
    @pytest.mark.parametrize(
        ("assignment", "value"),
        [
            ("epochs=3", 3),
            ("epochs=-3", -3),
            ("epochs=60_000", 60000),
            ("lr=1e-3", 0.001),
            ("lr=3", 3.0),
            ("dataset=mnist", "mnist"),
            ("dataset=3", "3"),
            ("dataset=a=b", "a=b"),
            ("dataset=", ""),
            ("shuffle=false", False),
            ("shuffle=True", True),
            ("sizes=3,4", [3, 4]),
            ("sizes=[3, 4]", [3, 4]),
            ("sizes=", []),
        ],
    )
    def test_a_value_gets_the_declared_type(self, course, assignment, value):
        given = chosen(assignment)["02_mlp_numpy"]
        (found,) = given.values()
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        "assignment",
        [
            "epochs=three",
            "epochs=1e3",
            "epochs=3.0",
            "epochs=",
            "epochs=true",
            "epochs=٣",
            "lr=fast",
            "lr=nan",
            "lr=inf",
            "lr=-inf",
            "lr=1e999",
            "lr=true",
            "shuffle=yes",
            "shuffle=1",
            "sizes=1,two",
            "sizes=1,,2",
            "sizes=1.5",
        ],
    )
    def test_a_value_of_another_type_is_refused(self, course, assignment):
        message = refused(assignment, names=["2"])
        name = assignment.partition("=")[0]
        assert message.startswith(f"02_mlp_numpy: {name} must be ")
        assert "  epochs: int = 5  # passes over the training set" in message
        assert "  sizes: list[int] = [1, 2]" in message

    @pytest.mark.parametrize(
        ("assignment", "message"),
        [
            ("steps=0", "03_ranges: steps must be a whole number from 1, got 0\n"),
            ("03.steps=0", "03_ranges: steps must be a whole number from 1, got 0\n"),
            ("lr=0", "03_ranges: lr must be a finite number above 0, got 0.0\n"),
            ("sizes=2,0", "a list of whole numbers, each from 1, got [2, 0]\n"),
            ("on=tpu", 'on must be one of "cpu", "cuda", got \'tpu\'\n'),
        ],
    )
    def test_a_value_out_of_its_range_is_refused(self, course, assignment, message):
        ranges = "steps: int = 5  # updates, from 1\nlr: float = 0.1  # above 0\n"
        ranges += 'sizes: list[int] = [2]  # from 1\non: str = "cpu"  '
        ranges += '# one of "cpu", "cuda"'
        write(course / "03_ranges.ipynb", ranges)
        assert message in refused(assignment, names=["3"])
        assert chosen("steps=1", names=["3"]) == {"03_ranges": {"steps": 1}}

    def test_a_default_out_of_its_range_is_refused_unless_it_is_replaced(self, course):
        write(course / "03_ranges.ipynb", "steps: int = 0  # updates, from 1")
        assert "03_ranges: steps must be a whole" in refused(names=["3"])
        assert chosen("steps=1", names=["3"]) == {"03_ranges": {"steps": 1}}

    def test_an_unknown_parameter_names_the_near_one_and_lists_all(self, course):
        message = refused("epochz=3")
        assert "There is no parameter 'epochz'. Did you mean 'epochs'?" in message
        assert "The parameters of 01_backprop:\n  seed: int = 0" in message
        assert "  lr: float = 0.1" in message

    @pytest.mark.parametrize("assignment", ["epochs", "=3", "02.=3"])
    def test_what_is_no_assignment(self, course, assignment):
        assert "write NAME=VALUE" in refused(assignment)

    def test_a_name_reaches_every_lesson_that_has_it(self, course):
        assert chosen("lr=2", "epochs=1") == {
            "01_backprop": {"lr": 2.0},
            "02_mlp_numpy": {"lr": 2.0, "epochs": 1},
        }

    @pytest.mark.parametrize("address", ["2", "02", "mlp_numpy", "02_mlp_numpy"])
    def test_an_address_reaches_one_lesson_and_wins(self, course, address):
        given = chosen(f"{address}.lr=3", "lr=2")
        assert given["01_backprop"] == {"lr": 2.0}
        assert given["02_mlp_numpy"] == {"lr": 3.0}

    def test_an_address_tells_a_lesson_from_what_goes_deeper(self, course):
        given = chosen("02-deeper.lr=3", "02.lr=1", names=["2", "02-deeper"])
        assert given == {"02_mlp_numpy": {"lr": 1.0}, "02_mlp_numpy-deeper": {"lr": 3}}

    def test_an_address_that_does_not_have_it(self, course):
        message = refused("01.epochs=3")
        assert "There is no parameter 'epochs'" in message
        assert "01_backprop" in message
        assert "02_mlp_numpy" not in message

    def test_an_address_outside_the_selection(self, course):
        assert "01_backprop is not being run" in refused("01.lr=3", names=["2"])

    def test_the_same_parameter_twice(self, course):
        assert "'lr' is given twice" in refused("lr=1", "lr=2")
        assert "'lr' is given twice" in refused("02.lr=1", "mlp_numpy.lr=2")


class TestProfiles:
    def test_quick_is_the_defaults(self, course):
        assert chosen() == {"01_backprop": {}, "02_mlp_numpy": {}}

    def test_full_is_from_the_file_and_a_parameter_wins(self, course):
        given = chosen("epochs=1", profile="full")
        assert given["02_mlp_numpy"] == {"dataset": "mnist", "epochs": 1}
        assert chosen(names=["1"], profile="full") == {"01_backprop": {}}

    def test_what_goes_deeper_has_a_profile_of_its_own(self, course):
        (course / "full.yaml").write_text("02_mlp_numpy-deeper: {lr: 0.7}")
        both = {"names": ["2", "02-deeper"], "profile": "full"}
        given = {"02_mlp_numpy": {}, "02_mlp_numpy-deeper": {"lr": 0.7}}
        assert chosen(**both) == given

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("02_mlp_numpy: {epochz: 3}", "no parameter 'epochz'"),
            ("02_mlp_numpy: {epochs: three}", "whole number"),
            ("02_mlp_numpy: {epochs: true}", "whole number"),
            (
                "01_backprop: {lr: -1}",
                "01_backprop: lr must be a finite number above 0",
            ),
            ("02_mlp_numpy: {dataset: 3}", "a text"),
            ("02_mlp_numpy: {lr: .nan}", "finite"),
            ("02_mlp_numpy: {lr: true}", "finite"),
            ("02_mlp_numpy: {sizes: 3}", "a list"),
            ("02_mlp_numpi: {epochs: 3}", "no lesson '02_mlp_numpi'"),
            ("02_mlp_numpy: 3", "must map each lesson"),
            ("- 3", "must map each lesson"),
            ("{", "cannot be read"),
        ],
    )
    def test_the_file_is_checked_as_strictly(self, course, text, message):
        (course / "full.yaml").write_text(text)
        assert message in refused(profile="full")

    def test_yaml_reads_1e_3_as_text_but_the_type_is_declared(self, course):
        (course / "full.yaml").write_text("'02': {lr: 1e-3, sizes: [3]}")
        assert chosen(profile="full")["02_mlp_numpy"] == {"lr": 0.001, "sizes": [3]}

    def test_no_file_and_no_such_profile(self, course):
        (course / "full.yaml").unlink()
        assert "full profile cannot be read" in refused(profile="full")
        assert "no profile 'huge'" in refused(profile="huge")


class TestStart:
    def test_the_copy_has_no_outputs_and_the_lesson_keeps_its_own(self, course):
        outputs = [nbformat.v4.new_output("stream", name="stdout", text="2\n")]
        path = write(course / "03_more.ipynb", outputs=outputs)
        before = path.read_bytes()
        copy = lessons.start(lessons.find("3"))
        assert copy == course.parent / "work" / "03_more.ipynb"
        cells = lessons.read_notebook(copy).cells
        assert [cell.source for cell in cells] == [PARAMETERS, "1 + 1"]
        assert [(cell.outputs, cell.execution_count) for cell in cells] == 2 * [
            ([], None)
        ]
        assert path.read_bytes() == before

    def test_work_is_never_written_over(self, course):
        first = lessons.start(lessons.find("2"))
        first.write_text("my work")
        assert lessons.start(lessons.find("2")).name == "02_mlp_numpy-2.ipynb"
        assert lessons.start(lessons.find("2")).name == "02_mlp_numpy-3.ipynb"
        assert first.read_text() == "my work"

    def test_what_goes_deeper_is_copied_beside_its_lesson(self, course):
        copy = lessons.start(lessons.find("02-deeper"))
        assert copy == course.parent / "work" / "02_mlp_numpy-deeper.ipynb"
        assert "lr: float = 0.2" in lessons.read_notebook(copy).cells[0].source
        assert lessons.start(lessons.find("2")).name == "02_mlp_numpy.ipynb"

    def test_links_lead_from_the_copy_to_what_they_led_to(self, course):
        path = course / "deeper" / "02_mlp_numpy.ipynb"
        notebook = lessons.read_notebook(path)
        text = "[the core](../02_mlp_numpy.ipynb#run) [web](https://a.org) [no](x.md)"
        notebook.cells.append(nbformat.v4.new_markdown_cell(text))
        nbformat.write(notebook, path)
        copy = lessons.read_notebook(lessons.start(lessons.find("02-deeper")))
        led = text.replace("../02", f"../{course.name}/02")
        assert copy.cells[-1].source == led

    def test_a_folder_that_cannot_be_made(self, course):
        (course.parent / "work").write_text("a file")
        with pytest.raises(LessonError, match="cannot be written"):
            lessons.start(lessons.find("2"))
