"""Sliders for the reader in JupyterLab; without a reader, nothing that moves.

A lesson shows a still picture where nobody is there to move a slider (a run from the
command line, a page), so that no widget's state and no script gets into what is kept.
"""

import os
import sys


def live():
    """True in a kernel that a Jupyter front end started, with ipywidgets installed.

    Jupyter's server names the notebook in JPY_SESSION_NAME, VS Code in a variable;
    papermill, nbclient and nbval do neither. LMLAB_WIDGETS=0 or 1 decides instead.
    """
    import importlib.util

    from lmlab.record import in_kernel

    if not in_kernel() or importlib.util.find_spec("ipywidgets") is None:
        return False
    chosen = os.environ.get("LMLAB_WIDGETS")
    if chosen is not None:
        return chosen == "1"
    in_vscode = "__vsc_ipynb_file__" in vars(sys.modules["__main__"])
    return "JPY_SESSION_NAME" in os.environ or in_vscode


def sliders(draw, **ranges):
    """Show draw(**values) as a picture that follows one slider for each range.

    draw: returns a matplotlib figure; its defaults are where the sliders start.
    ranges: name=(low, high), whole steps for ints and 50 steps for floats.
    Does nothing unless `live()`. Returns the widget (None when not live).
    Raises ValueError when draw has no default within a range.
    """
    starts = {name: _start(draw, name, *ends) for name, ends in ranges.items()}
    if not live():
        return None
    import ipywidgets
    from IPython.display import display

    from lmlab import figures

    handles = {
        name: _slider(ipywidgets, name, starts[name], *ends)
        for name, ends in ranges.items()
    }
    picture = ipywidgets.Image(format="png")

    def redraw(_=None):
        values = {name: handle.value for name, handle in handles.items()}
        picture.value = figures.png(draw(**values))

    for handle in handles.values():
        handle.observe(redraw, "value")
    redraw()
    box = ipywidgets.VBox([*handles.values(), picture])
    display(box)
    return box


def _start(draw, name, low, high):
    import inspect

    given = inspect.signature(draw).parameters.get(name)
    start = None if given is None else given.default
    if not isinstance(start, (int, float)) or not low <= start <= high:
        raise ValueError(
            f"{draw.__name__} needs a default for {name} in {low} … {high}, got {start}"
        )
    return start


def _slider(ipywidgets, name, start, low, high):
    whole = isinstance(low, int) and isinstance(high, int)
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    step = 1 if whole else (high - low) / 50
    # A picture for each position that the handle passes would come too late.
    return kind(
        value=start,
        min=low,
        max=high,
        step=step,
        description=name,
        continuous_update=False,
    )
