#!/usr/bin/env bash
# torch.optim.Muon computes its Newton-Schulz steps in bfloat16, whatever the parameters are.
#
# Versions: torch 2.13.0 (CPU build), numpy 2.4.6, Python 3.11.
# Guessed: the steps are in the parameters' own number format, float32 here, or an argument chooses it.
# Behaviour: each update, divided by its rate, is a number that bfloat16 holds exactly; the same iteration in float32
# gives others; no argument is about number formats. A processor without instructions for bfloat16 (AVX2) is slow at it.
# Seen:
#   torch 2.13.0+cpu, parameters in torch.float32
#   distance of the update from the nearest bfloat16 numbers: 3.0e-08
#   distance of the update from the same iteration in float32: 8.0e-03
#   arguments about number formats: none
#
# Makes a temporary folder, installs the packages there, prints what it sees, ends with 1 if that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import inspect

import torch
from torch import nn

torch.manual_seed(0)
matrix = nn.Parameter(torch.zeros(48, 16))
matrix.grad = torch.randn(48, 16)
optimizer = torch.optim.Muon([matrix], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False, adjust_lr_fn="match_rms_adamw")
before = matrix.detach().clone()
optimizer.step()
scale = 0.2 * max(matrix.shape) ** 0.5
update = (before - matrix.detach()) / scale
rounded = update.bfloat16().float()
error = float((update - rounded).abs().max())

x = matrix.grad.T
x = x / x.norm()
a, b, c = optimizer.param_groups[0]["ns_coefficients"]
for _ in range(optimizer.param_groups[0]["ns_steps"]):
    gram = x @ x.T
    x = a * x + (b * gram + c * gram @ gram) @ x
exact = float((update - x.T).abs().max())
names = [name for name in inspect.signature(torch.optim.Muon).parameters if "type" in name]

print(f"torch {torch.__version__}, parameters in {matrix.dtype}")
print(f"distance of the update from the nearest bfloat16 numbers: {error:.1e}")
print(f"distance of the update from the same iteration in float32: {exact:.1e}")
print(f"arguments about number formats: {names or 'none'}")
raise SystemExit(not (error < 1e-6 and exact > 1e-4 and not names))
PYTHON
