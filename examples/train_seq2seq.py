"""Train an encoder-decoder on pairs of texts and ask it: on the built-in pairs, or on pairs of your own.

python examples/train_seq2seq.py
python examples/train_seq2seq.py pairs.tsv --change objective.name=seq2seq --text "a source"
"""

import argparse
import sys

import glassformer as gf


def main() -> None:
    parser = argparse.ArgumentParser(description="Train an encoder-decoder on pairs of texts.")
    parser.add_argument(
        "recipe", nargs="?", default="seq2seq-demo", help="a shipped recipe, a YAML file or rows of pairs"
    )
    parser.add_argument("--change", action="append", default=[], metavar="KEY=VALUE", help="training.steps=500")
    parser.add_argument("--run", default=None, help="the run directory; default runs/NAME")
    parser.add_argument("--text", default="AI improves healthcare", help="a source")
    args = parser.parse_args()

    run = gf.train(args.recipe, args.change, run=args.run)
    print(f"trained: {run.path}")

    for record in run.metrics():
        if record["event"] == "evaluation":
            print(f"step {record['step']:>5}  validation loss {record['loss']:.3f}  {record['accuracy']:.1%} right")

    print(args.text)
    print("  greedy ", run.generate(args.text).outputs[0].text)
    for output in run.generate(args.text, beam=4, number=3).outputs:
        print(f"  beam    {output.text}  (log-probability {output.log_probability:.2f})")


if __name__ == "__main__":
    try:
        main()
    except gf.GlassformerError as error:
        sys.exit(f"error: {error}")
