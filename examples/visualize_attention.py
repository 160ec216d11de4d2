"""Look inside a trained run: heatmaps of every head, one head in numbers, and a blank with what it attends to.

python examples/visualize_attention.py
python examples/visualize_attention.py --run runs/my --text "one word of this is [MASK]" --layer 0 --head 2
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import glassformer as gf

DEMO = Path(__file__).resolve().parents[1] / "runs" / "mlm-demo"  # where `make demo` puts it


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the attention of a trained run.")
    parser.add_argument("--run", default=DEMO, type=Path, help="a run directory; default the demo's")
    parser.add_argument("--text", default="Mars is called the [MASK] planet", help="a text, with or without [MASK]")
    parser.add_argument("--layer", default=0, type=int, help="counted from 0")
    parser.add_argument("--head", default=0, type=int, help="counted from 0")
    parser.add_argument("--output", default=Path("attention"), type=Path, help="a folder for the pictures")
    args = parser.parse_args()

    run = gf.load(args.run)
    seen = run.attention(args.text)  # weights: layers x heads x query x key
    blanks = [blank.position for blank in seen.filled.blanks] if seen.filled else []

    def draw(name: str, **which: int) -> None:
        figure = gf.heatmap(seen.weights, seen.tokens, seen.tokens, marked=blanks, **which)
        print(gf.save(figure, args.output / f"{name}.png"))

    draw("all-heads")
    draw("one-head", layer=args.layer, head=args.head)
    if seen.filled:
        print(gf.save(gf.overlay_of(seen), args.output / "overlay.png"))

    for query in blanks:
        row = seen.weights[args.layer, args.head, query]
        print(f"layer {args.layer}, head {args.head}: what {seen.tokens[query]} at position {query} attends to")
        for key in np.argsort(-row)[:5]:
            print(f"  {seen.tokens[key]:<16} {row[key]:6.1%}")


if __name__ == "__main__":
    try:
        main()
    except gf.GlassformerError as error:
        sys.exit(f"error: {error}")
