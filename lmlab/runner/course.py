"""Run lessons in parallel and sum up what they gave, in a folder of the run's own."""

from lmlab.runner import lessons, parameters, report, results, runs, terminal


def run(names, profile, assignments, out=None, *, workers=None, timeout=None):
    """Run the lessons: (the signal that cut the run short or 0, whether all is ok).

    Executed notebooks, records and the summary go to out, or to a new folder under
    runs/. Raises LessonError for input that cannot be used, before anything is run.
    """
    chosen = lessons.select(names)
    values = parameters.settings(chosen, profile, assignments)
    defaults = {
        lesson.name: {p.name: p.default for p in parameters.inspect(lesson).values()}
        for lesson in chosen
    }
    folder = runs.new_folder(out)
    requests = [(lesson.name, lesson.path, values[lesson]) for lesson in chosen]
    found = {}

    def keep(job, outcome):
        found[job.name] = results.keep(job, outcome, folder, defaults[job.name])
        return found[job.name]

    signal = terminal.run(requests, keep, workers=workers, timeout=timeout)
    rows = [found.get(x.name) or results.interrupted(x.name) for x in chosen]
    title = f"{len(rows)} lessons, {profile} profile" + " (interrupted)" * bool(signal)
    written = True
    try:
        results.summarize(rows, folder, title)
        if not out:
            results.lead_to_newest(folder.parent)
    except OSError as error:
        reason = f"{folder}: {error.strerror}"
        terminal.complain(f"The summary cannot be written to {reason}.")
        written = False
    _show(rows, folder)
    if written:
        print(f"Results: {folder / 'index.html'}")
    return signal, written and all(row["status"] == "ok" for row in rows)


def _show(rows, folder):
    terminal.show(report.table(rows))
    for row in rows:
        if row["status"] not in ("ok", "interrupted"):
            kept = folder / row["notebook"] if row["notebook"] else None
            terminal.explain(row["lesson"], row, kept)
