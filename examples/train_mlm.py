"""Train a masked language model and ask it: on the built-in facts, or on a text of your own.

python examples/train_mlm.py
python examples/train_mlm.py my.txt --text "one word of this is [MASK]" --change training.minutes=5
"""

import argparse
import sys

import glassformer as gf


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a masked language model and fill a blank with it.")
    parser.add_argument("recipe", nargs="?", default="mlm-demo", help="a shipped recipe, a YAML file or a text")
    parser.add_argument("--change", action="append", default=[], metavar="KEY=VALUE", help="training.steps=500")
    parser.add_argument("--run", default=None, help="the run directory; default runs/NAME")
    parser.add_argument("--text", default="Mars is called the [MASK] planet", help="a text with [MASK]")
    args = parser.parse_args()

    run = gf.train(args.recipe, args.change, run=args.run)
    print(f"trained: {run.path}")

    for record in run.metrics():
        if record["event"] == "evaluation":
            print(f"step {record['step']:>5}  validation loss {record['loss']:.3f}  {record['verdict']}")

    filled = run.fill(args.text)
    print(filled.text)
    for blank in filled.blanks:
        for candidate in blank.candidates:
            print(f"  {candidate.token:<16} {candidate.probability:6.1%}")


if __name__ == "__main__":
    try:
        main()
    except gf.GlassformerError as error:
        sys.exit(f"error: {error}")
