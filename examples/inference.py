"""Use a trained model that generates: greedy, beam search, sampling, and a text as it grows.

python examples/inference.py
python examples/inference.py --run runs/my "a beginning" --temperature 0.8
"""

import argparse
import sys
from pathlib import Path

import glassformer as gf

DEMO = Path(__file__).resolve().parents[1] / "runs" / "seq2seq-demo"  # where `make demo` puts it


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate texts with a trained model, in four ways.")
    parser.add_argument("texts", nargs="*", default=["I love dogs", "What is the capital of France?"])
    parser.add_argument("--run", default=DEMO, type=Path, help="a run directory; default the demo's")
    parser.add_argument("--temperature", default=1.0, type=float, help="below 1 favours the likely tokens")
    parser.add_argument("--max-tokens", default=32, type=int, help="stop after so many")
    args = parser.parse_args()

    run = gf.load(args.run)
    length = {"max_tokens": args.max_tokens}

    for answer in run.generate(args.texts, **length):  # all texts in one batch
        print(f"{answer.text}\n  greedy   {answer.outputs[0].text}")

    for text in args.texts:
        print(text)
        for output in run.generate(text, beam=4, number=2, **length).outputs:
            print(f"  beam     {output.text}")
        for output in run.generate(text, sample=True, temperature=args.temperature, number=3, **length).outputs:
            print(f"  sampled  {output.text}")
        print("  grows    ", end="")
        for piece in run.stream(text, **length):
            print(piece, end="|", flush=True)
        print()


if __name__ == "__main__":
    try:
        main()
    except gf.GlassformerError as error:
        sys.exit(f"error: {error}")
