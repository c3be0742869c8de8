"""The committed form of a notebook holds nothing that changes without meaning."""

import copy

import nbformat
import pytest

from lmlab.runner.notebooks import merge_streams, normalize

new = nbformat.v4


def stream(text, name="stdout"):
    return new.new_output("stream", name=name, text=text)


@pytest.fixture
def executed():
    """A notebook as papermill and JupyterLab leave it."""
    volatile = {"execution": {"iopub.status.busy": "2026"}, "papermill": {"a": 1}}
    volatile |= {"collapsed": False, "ExecuteTime": {}}
    result = new.new_output("execute_result", {"text/plain": "3"}, execution_count=9)
    cells = [
        new.new_markdown_cell("# Title", metadata={"papermill": {}, "tags": []}),
        new.new_code_cell(
            "seed: int = 0",
            execution_count=7,
            metadata={**volatile, "tags": ["parameters"]},
        ),
        new.new_code_cell("x", execution_count=9, outputs=[result], metadata=volatile),
        new.new_code_cell("x", execution_count=10),
        new.new_code_cell("", metadata={"deletable": False, "nbgrader": {"grade": 1}}),
    ]
    metadata = {"papermill": {"output_path": "/home/me"}, "widgets": {}, "title": "T"}
    metadata |= {"kernelspec": {"name": "mine", "display_name": "Mine"}}
    metadata |= {"language_info": {"name": "python", "version": "3.11.7"}}
    return new.new_notebook(cells=cells, metadata=metadata)


def test_metadata_is_the_kernel_the_language_and_the_title(executed):
    metadata = normalize(executed).metadata
    assert set(metadata) == {"kernelspec", "language_info", "title"}
    assert metadata.kernelspec.name == "python3"
    assert metadata.kernelspec.display_name == "Python 3 (ipykernel)"
    assert "version" not in metadata.language_info


def test_a_cell_keeps_what_was_written_by_hand(executed):
    kept = [cell.metadata for cell in normalize(executed).cells]
    by_hand = {"deletable": False, "nbgrader": {"grade": 1}}
    assert kept == [{}, {"tags": ["parameters"]}, {}, {}, by_hand]


def test_counts_run_from_one_also_in_results(executed):
    code = [cell for cell in normalize(executed).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, None]
    assert code[1].outputs[0].execution_count == 2


def test_ids_follow_the_source_and_are_unique(executed):
    before = [cell.id for cell in normalize(copy.deepcopy(executed)).cells]
    assert before[3] == f"{before[2]}-2"
    assert len(set(before)) == len(before)
    executed.cells.insert(1, new.new_markdown_cell("inserted"))
    after = [cell.id for cell in normalize(executed).cells]
    assert after[:1] + after[2:] == before


def test_it_is_valid_and_a_second_time_changes_nothing(executed):
    once = nbformat.writes(normalize(executed))
    nbformat.validate(nbformat.reads(once, 4))
    assert nbformat.writes(normalize(nbformat.reads(once, 4))) == once


def test_pieces_of_a_stream_are_joined_but_not_moved():
    picture = new.new_output("display_data", {"text/plain": "picture"})
    outputs = [stream("a"), stream("b\n"), picture, stream("c"), stream("!", "stderr")]
    merged = merge_streams(outputs)
    assert [output.get("text") for output in merged] == ["ab\n", None, "c", "!"]
