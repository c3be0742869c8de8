"""The `lmlab` command."""

import sys
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Names = Annotated[list[str] | None, typer.Argument(metavar="[LESSON]...")]


@app.callback()
def about():
    """The lmlab workbook: lessons that check what they say."""


@app.command()
def notebooks(
    names: Names = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1)] = None,
    timeout: Annotated[float | None, typer.Option(min=1)] = None,
):
    """Execute the committed notebooks again, in place."""
    from lmlab import lessons, runs

    chosen = lessons.select(names or [], exercises=True)
    figures = lessons.folder().parent / "figures"
    good = True
    for name, outcome in runs.refresh(
        chosen, workers=jobs, timeout=timeout, figures=figures
    ):
        good = good and outcome.status == "ok"
        print(f"{name}: {outcome.status}, {outcome.seconds:.1f} s")
        if outcome.error:
            print(f"  In [{outcome.cell}] {outcome.line}\n  {outcome.error}")
    if not good:
        raise typer.Exit(1)


def main():
    """Entry point: errors are sentences, not tracebacks."""
    from lmlab.lessons import LessonError

    try:
        app()
    except LessonError as error:
        print(f"lmlab: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
