#!/usr/bin/env bash
# BertNormalizer deletes U+200C and U+200D, which are letters' business in Persian, Malayalam and Sinhala.
#
# Guessed: clean_text removes control characters (category Cc), as its documentation says.
# Seen (tokenizers 0.23.3): the joiners (category Cf) go as well, with strip_accents and lowercase off too, so that
# two Persian words become one other string, and decoding cannot give the text back; clean_text=False keeps them.
#
# Makes a temporary folder, installs the package there, prints what it sees, ends with 1 if that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import tokenizers
from tokenizers.normalizers import BertNormalizer

word = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # "I want", written with a non-joiner
settings = {"handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
cleaned = BertNormalizer(clean_text=True, **settings).normalize_str(word)
kept = BertNormalizer(clean_text=False, **settings).normalize_str(word)
print(f"tokenizers {tokenizers.__version__}")
print(f"clean_text=True:  {len(word)} characters become {len(cleaned)}; the joiner is there: {chr(0x200C) in cleaned}")
print(f"clean_text=False: {len(word)} characters become {len(kept)}; the joiner is there: {chr(0x200C) in kept}")
raise SystemExit(not (chr(0x200C) not in cleaned and kept == word))
PYTHON
