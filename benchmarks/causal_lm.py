"""Causal language modelling: Hugging Face's GPT2LMHeadModel through its Trainer, and glassformer, on the same text.

    python benchmarks/causal_lm.py --data DIR      tokens per second, interleaved, with the spread

DIR holds WikiText-2 as train.txt and valid.txt. Both sides read rows of 128 tokens of the same WordPiece tokenizer, 32
rows a batch, with the same number of threads, in models of equal size. The results go to docs/results/causal_lm.json.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import contest

LENGTH, ROWS = 128, 32
MODEL = {"n_layers": 4, "d_model": 256, "n_heads": 8, "d_ff": 1024, "vocab_size": 8192}
SAME = ["training.compile=false", "optimizer.name=adamw", "model.positions=learned"]
CONTESTANTS: dict[str, dict[str, Any]] = {
    "peer-default": {"side": "peer", "bf16": False, "compile": False, "dropout": 0.1},
    "peer-best": {"side": "peer", "bf16": True, "compile": True, "dropout": 0.0},
    "glassformer": {"side": "ours", "changes": SAME},
    "glassformer-recipe": {"side": "ours", "changes": ["training.compile=false"]},
}
"""`glassformer` does the same work as the peers, with AdamW and learned positions; the recipe has Muon and rotary
positions. Neither is compiled, as in the masked benchmark."""


def run_peer(task: dict[str, Any], gate: contest.Gate) -> None:
    """Hugging Face's GPT2LMHeadModel."""
    import torch
    from transformers import DataCollatorForLanguageModeling, GPT2Config, GPT2LMHeadModel

    from glassformer.assemble import assemble

    parts = assemble(contest.our_recipe(task))
    torch.manual_seed(task["seed"])
    dropouts = dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), task["dropout"])
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=MODEL["vocab_size"],
            n_positions=LENGTH,
            n_embd=MODEL["d_model"],
            n_layer=MODEL["n_layers"],
            n_head=MODEL["n_heads"],
            n_inner=MODEL["d_ff"],
            **dropouts,
        )
    )
    windows = parts.train_dataset.windows
    rows = [windows.row(i * LENGTH, (i + 1) * LENGTH)[0].tolist() for i in range(parts.train.n_tokens // LENGTH)]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = contest.peer_tokenizer(parts.tokenizer, folder)
        collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
        contest.train_peer(task, gate, model, rows, collator, folder)


def flops_per_token() -> float:
    """Multiplications and additions of a step for each token: three times the forward pass. Linear layers, attention
    scores and mixing over half of the row on average, and the head everywhere."""
    d, f, n = MODEL["d_model"], MODEL["d_ff"], MODEL["n_layers"]
    block = 2 * (4 * d * d + 2 * d * f) + 2 * 2 * LENGTH / 2 * d
    return 3.0 * (n * block + 2 * d * MODEL["vocab_size"])


def main() -> None:
    """Parse, measure, write."""
    if len(sys.argv) == 3 and sys.argv[1] == "worker":
        contest.serve(json.loads(sys.argv[2]), run_peer)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.txt and valid.txt")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9, help="rounds")
    parser.add_argument("--steps", type=int, default=6, help="steps of each contestant in a round")
    options = parser.parse_args()
    settings = {"data": str(options.data.resolve()), "threads": options.threads, "seed": 1, "total": 3_000}
    settings |= {"recipe": "clm-wikitext2", "model": MODEL, "rows": ROWS}
    with tempfile.TemporaryDirectory() as cache:
        os.environ.setdefault("GLASSFORMER_CACHE", cache)
        import torch

        torch.set_num_threads(options.threads)
        tasks = {name: {**contestant, **settings} for name, contestant in CONTESTANTS.items()}
        result = contest.speed(tasks, options.rounds, options.steps, flops_per_token())

        from glassformer.run import describe_environment
        from glassformer.snapshot import write_text_durably

        record = {"benchmark": "causal_lm speed", "machine": describe_environment(), **result}
        contest.RESULTS.mkdir(parents=True, exist_ok=True)
        write_text_durably(contest.RESULTS / "causal_lm.json", json.dumps(record, indent=1) + "\n")
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
