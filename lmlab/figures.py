"""One style for every figure, and one way to show and keep it.

    fig, ax = figures.new(width=6)
    ax.plot(steps, losses, color=figures.COLORS[0])
    figures.show(fig, "08-loss", "the loss falls from 7.6 to 4.1 in 800 steps")

COLORS are used in their order; a line or a bar is told by its label, its dashes or its
place, too, never by its colour alone.
"""

import dataclasses
import os
import sys
from pathlib import Path

from lmlab.files import ASSETS, checkout, publish_changed

# Okabe and Ito's palette (2008), made to be told apart by colour-blind readers.
COLORS = [
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # green
    "#CC79A7",  # purple
    "#E69F00",  # orange
    "#56B4E9",  # sky
    "#000000",
]
OWN_FONT = "lmlab Sans SC"
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "WenQuanYi Micro Hei",
)
DPI = 110


def fonts():
    """The font families to use, each for what those before it lack.

    DejaVu Sans; a font of ours with the Chinese characters that lessons draw, which
    look the same on every machine; an installed Chinese font, for those of your own.
    """
    from matplotlib import font_manager

    if OWN_FONT not in font_manager.get_font_names():
        font_manager.fontManager.addfont(ASSETS / "fonts" / "lmlab-sans-sc.otf")
        own = font_manager.fontManager.ttflist[-1]
        # It has one weight, and a bold title would be told so each time.
        font_manager.fontManager.ttflist.append(dataclasses.replace(own, weight=700))
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", OWN_FONT, *[f for f in CJK_FONTS if f in installed][:1]]


def style():
    """Set lmlab's look for every figure drawn from now on.

    It begins with matplotlib's defaults: a reader's matplotlibrc, with light text on
    dark or TeX, has no part in a lesson.
    """
    import matplotlib
    from cycler import cycler

    matplotlib.rcdefaults()
    matplotlib.rcParams.update(
        {
            "font.family": fonts(),
            "font.size": 9.5,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.dpi": DPI,
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycler(color=COLORS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlesize": 10.5,
            "grid.alpha": 0.25,
            "image.cmap": "viridis",
            "image.interpolation": "nearest",
            "lines.linewidth": 1.8,
            "legend.frameon": False,
        }
    )


def new(nrows=1, ncols=1, *, width=8.0, height=3.0, **options):
    """A figure and its axes in lmlab's style; width and height in inches.

    A notebook shows 8 inches as its whole width. options: passed to plt.subplots.
    Returns (fig, axes) as plt.subplots does.
    """
    import matplotlib.pyplot as plt

    style()
    return plt.subplots(nrows, ncols, figsize=(width, height), **options)


def show(fig, name, alt):
    """Save the figure as <folder>/<name>.png, show it with its description, close it.

    name: NN-what-it-shows; in notebooks/deeper NN-deeper-what-it-shows, since both
    are kept in one folder. alt: what a reader should see in it, in words, for those
    who cannot: the finding, not only the kind of plot. It is the picture's alt text,
    and what is compared when the stored outputs are tested, so nothing in it may rest
    on a number that another processor would compute otherwise.
    Raises ValueError when alt says nothing, and OSError when LMLAB_FIGURES cannot be
    written to; from a checkout that is only to be read, the figure is shown anyway.
    """
    if len(alt.split()) < 3:
        raise ValueError(f"figure {name!r} needs a description in words, got {alt!r}")
    drawn = png(fig)
    try:
        publish_changed(folder() / f"{name}.png", drawn)
    except OSError as error:
        if os.environ.get("LMLAB_FIGURES"):
            raise
        print(f"{name}.png is not kept: {error.strerror}", file=sys.stderr)
    _display(drawn, alt)


def folder():
    """Where figures are kept: LMLAB_FIGURES, or figures/ of this checkout."""
    chosen = os.environ.get("LMLAB_FIGURES")
    if chosen:
        return Path(chosen)
    return (checkout() or Path()) / "figures"


def png(fig):
    """The figure as the bytes of a small PNG; closes the figure."""
    from io import BytesIO

    import matplotlib.pyplot as plt
    from PIL import Image

    drawn, small = BytesIO(), BytesIO()
    fig.savefig(drawn, format="png", dpi=DPI)
    plt.close(fig)
    # A palette of 256 colours is a third of the size, and no eye sees it in a plot.
    # What PIL writes names no software: the same drawing gives the same bytes.
    picture = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def _display(png, alt):
    from lmlab.record import in_kernel

    if not in_kernel():
        return
    from IPython.display import display

    display(
        {"image/png": png, "text/plain": alt},
        raw=True,
        metadata={"image/png": {"alt": alt}},
    )
