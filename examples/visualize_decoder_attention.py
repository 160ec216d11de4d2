"""Look inside an encoder-decoder: what the source's words, the target's words, and both together attend to.

python examples/visualize_decoder_attention.py
python examples/visualize_decoder_attention.py --run runs/my --text "a source" --target "its target"
"""

import argparse
import sys
from pathlib import Path

import glassformer as gf

DEMO = Path(__file__).resolve().parents[1] / "runs" / "seq2seq-demo"  # where `make demo` puts it


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the three kinds of attention of an encoder-decoder.")
    parser.add_argument("--run", default=DEMO, type=Path, help="a run directory; default the demo's")
    parser.add_argument("--text", default="I love dogs", help="a source")
    parser.add_argument("--target", default=None, help="what the decoder reads; default the model's own answer")
    parser.add_argument("--output", default=Path("decoder-attention"), type=Path, help="a folder for the pictures")
    args = parser.parse_args()

    run = gf.load(args.run)
    source = run.attention(args.text)
    cross = run.attention(args.text, kind="cross", target=args.target)
    decoder = run.attention(args.text, kind="decoder", target=args.target)

    for name, seen in (("source", source), ("cross", cross), ("decoder", decoder)):
        figure = gf.heatmap(seen.weights, seen.tokens, seen.keys or seen.tokens)
        print(gf.save(figure, args.output / f"{name}.png"))

    mean = cross.weights.mean((0, 1))  # target x source, over all layers and heads
    for word, row in zip(cross.tokens, mean, strict=True):
        best = int(row.argmax())
        print(f"{word:<16} attends most to {cross.keys[best]:<16} {row[best]:6.1%}")


if __name__ == "__main__":
    try:
        main()
    except gf.GlassformerError as error:
        sys.exit(f"error: {error}")
