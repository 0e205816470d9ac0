#!/usr/bin/env python3
"""vise generate beside transformers' generate: greedy ids of every family that predicts the next token must be equal, from
prompts of several lengths, beyond windows and original contexts. The random models are those of check_architectures.py.

usage: check_generate.py [FAMILY...]; VISE names the program.
"""
import json
import os
import subprocess
import sys
import tempfile

import check_architectures as architectures
import torch

# prompt, tokens: within a window of 16, across it, far beyond it; across the original contexts of 32 and 80.
RUNS = [(1, 12), (7, 30), (20, 20), (70, 15)]


def expected(model, prompt, tokens):
    ids = torch.tensor([prompt])
    # Where longrope's factors change, transformers computes the kept keys again for Phi-3 alone; others would go on with
    # keys of two rotations, which no pass over the whole text has.
    rope = getattr(model.config, "rope_parameters", None) or {}
    mixed = rope.get("rope_type") == "longrope" and model.config.model_type != "phi3"
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens,
                             pad_token_id=0, use_cache=not mixed)
    return out[0, len(prompt):].tolist()


def generated(vise, folder, prompt, tokens, *options):
    path = os.path.join(folder, "prompt.json")
    with open(path, "w") as f:
        json.dump([prompt], f)
    done = subprocess.run([vise, "generate", folder, "--ids", path, "--tokens", str(tokens), "--json", "--quiet", *options],
                          capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()[-300:]
    return json.loads(done.stdout)["ids"], None


def check(vise, folder, model, name):
    generator = torch.Generator().manual_seed(11)
    for length, tokens in RUNS:
        prompt = torch.randint(3, 120, (length,), generator=generator).tolist()
        want = expected(model, prompt, tokens)
        got, problem = generated(vise, folder, prompt, tokens)
        if problem is None and got != want:
            same = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            problem = f"prompt of {length}: token {same} differs: {got[same:same + 3]}, expected {want[same:same + 3]}"
        if problem is not None:
            return problem
    return None


def main():
    torch.set_num_threads(1)  # the models are small
    vise, only = os.environ.get("VISE", "build/vise"), set(sys.argv[1:])
    with tempfile.TemporaryDirectory() as root:
        for family, prefix, suffix, variants in architectures.MODELS:
            if (only and family not in only) or suffix not in (architectures.LM, "") or prefix == "Bert":
                continue
            for number, options in enumerate(variants):
                folder = os.path.join(root, f"{family}-{number}")
                model = architectures.make(family, prefix, suffix, options)
                model.save_pretrained(folder)
                problem = check(vise, folder, model, family)
                architectures.report(f"generate {family} {number}: {problem or 'ids are equal'}", problem is None)
    return 1 if architectures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
