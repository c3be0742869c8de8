"""Make the small Chinese font that figures are labelled with.

    python tools/font.py /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc

Takes from Noto Sans CJK SC (SIL Open Font License 1.1; Debian's fonts-noto-cjk) the
characters that stand in notebooks, package and tests, and names the result anew, as
the licence asks of a changed font whose name is reserved. A test says when a lesson has
a character that is not in it: then run it again.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FONT = ROOT / "lmlab" / "assets" / "fonts" / "lmlab-sans-sc.otf"
NAME = "lmlab Sans SC"
CHINESE = re.compile(r"[\u2e80-\u9fff\uff00-\uffef]")


def characters():
    """The Chinese characters that the project's own files hold, sorted."""
    paths = [*ROOT.glob("notebooks/**/*.ipynb"), *ROOT.glob("lmlab/**/*.py")]
    paths += ROOT.glob("tests/*.py")
    texts = (path.read_text(encoding="utf-8") for path in paths)
    return sorted({sign for text in texts for sign in CHINESE.findall(text)})


def main(source):
    """Write the font."""
    from fontTools import subset
    from fontTools.ttLib import TTCollection

    fonts = TTCollection(source).fonts
    (font,) = [f for f in fonts if f["name"].getDebugName(1) == "Noto Sans CJK SC"]
    options = subset.Options(
        layout_features=[], name_IDs=[0, 1, 2, 13, 14], hinting=False
    )
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(characters()))
    subsetter.subset(font)
    font["name"].setName(NAME, 1, 3, 1, 0x409)
    font["name"].setName(NAME, 4, 3, 1, 0x409)
    font["name"].setName(NAME.replace(" ", ""), 6, 3, 1, 0x409)
    top = font["CFF "].cff
    top.fontNames = [NAME.replace(" ", "")]
    top.topDictIndex[0].FamilyName = top.topDictIndex[0].FullName = NAME
    FONT.parent.mkdir(exist_ok=True)
    font.save(FONT)
    print(f"{FONT.relative_to(ROOT)}: {len(characters())} characters")


if __name__ == "__main__":
    main(sys.argv[1])
