#!/usr/bin/env bash
# BertNormalizer deletes U+200C and U+200D, which stand inside words of Persian, Malayalam and Sinhala.
#
# Versions: tokenizers 0.23.3, Python 3.11.
# Guessed: clean_text removes control characters (category Cc) and leaves the joiners (category Cf).
# Behaviour: clean_text removes the joiners too, also where accents and case are left alone, so that no decoding can give
# the text back; clean_text=False keeps them.
# Seen:
#   tokenizers 0.23.3
#   clean_text=True:  8 characters become 7; the joiner is there: False
#   clean_text=False: 8 characters become 8; the joiner is there: True
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
