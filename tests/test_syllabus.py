"""The course's list of lessons and its map."""

import pytest

from lmlab import figures
from lmlab.runner import lessons, syllabus


def test_the_course_has_its_lessons_in_order_and_each_in_a_part():
    numbers = [int(entry.number) for entry in syllabus.COURSE]
    assert numbers == list(range(24))
    parts = [entry.part for entry in syllabus.COURSE]
    assert parts == sorted(parts)
    assert set(parts) == set(range(1, len(syllabus.PARTS) + 1))


def test_what_a_lesson_needs_comes_before_it():
    for entry in syllabus.COURSE:
        assert all(earlier < entry.number for earlier in entry.needs)
        assert entry.needs or entry.number == "00"


def test_no_two_lessons_stand_in_one_place_and_parts_do_not_share_a_row():
    places = [entry.place for entry in syllabus.COURSE]
    assert len(set(places)) == len(places)
    rows = {(entry.place[1], entry.part) for entry in syllabus.COURSE}
    assert len(rows) == len({row for row, _ in rows})


def test_every_lesson_that_is_there_is_in_the_course_by_its_name():
    named = {f"{entry.number}_{entry.name}" for entry in syllabus.COURSE}
    assert {lesson.name for lesson in lessons.find_all()} <= named
    assert syllabus.written() == sorted(x.number for x in lessons.find_all())


@pytest.mark.parametrize("ready", [[], ["00", "03"]])
def test_the_map_fills_the_lessons_that_are_there(ready):
    fig = syllabus.draw(ready)
    (ax,) = fig.axes
    boxes = [p for p in ax.patches if p.get_zorder() == 2]
    filled = [p for p in boxes if p.get_facecolor()[:3] != (1.0, 1.0, 1.0)]
    assert (len(boxes), len(filled)) == (len(syllabus.COURSE), len(ready))
    assert figures.png(fig).startswith(b"\x89PNG")
    assert ("Filled: 00, 03." in syllabus.describe(ready)) == bool(ready)


def test_no_text_of_the_map_is_wider_than_its_box():
    fig = syllabus.draw([])
    (ax,) = fig.axes
    fig.canvas.draw()
    (left, _), (right, _) = ax.transData.transform([(0, 0), (syllabus.WIDTH, 0)])
    texts = [t for t in ax.texts if t.get_ha() == "center"]
    assert len(texts) == len(syllabus.COURSE)
    assert max(t.get_window_extent().width for t in texts) <= right - left
    figures.png(fig)
