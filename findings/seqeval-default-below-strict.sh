#!/usr/bin/env bash
# seqeval's default ("lenient") F1 of the same tags may be below its strict F1: lenience makes entities, also wrong ones.
#
# Versions: seqeval 1.2.2, numpy 2.4.6, Python 3.11.
# Guessed: a lenient reading gives at least the F1 of the strict one.
# Behaviour: a guessed I- that goes on with nothing is an entity by default, and no entity in strict mode with IOB2. Where it
# is wrong, it is one more false entity by default, and costs nothing in strict mode. Neither number bounds the other.
# Seen:
#   gold B-PER O O, guessed B-PER O I-LOC:     default 0.667, strict 1.000
#   gold B-PER I-PER O, guessed I-PER I-PER O: default 1.000, strict 0.000
#
# Makes a temporary folder, installs the packages there, prints what it sees, ends with 1 if that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check seqeval==1.2.2 numpy==2.4.6 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

found = []
print(f"seqeval {version('seqeval')}")
for gold, guessed in (("B-PER O O", "B-PER O I-LOC"), ("B-PER I-PER O", "I-PER I-PER O")):
    tags = [gold.split()], [guessed.split()]
    default, strict = f1_score(*tags), f1_score(*tags, mode="strict", scheme=IOB2)
    found.append((round(float(default), 3), round(float(strict), 3)))
    print(f"gold {gold}, guessed {guessed}: default {default:.3f}, strict {strict:.3f}")
raise SystemExit(found != [(0.667, 1.0), (1.0, 0.0)])
PYTHON
