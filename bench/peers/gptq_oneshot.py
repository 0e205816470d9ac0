"""The peer of bench_run_gptq.sh: llm-compressor's GPTQ on the same windows. Usage: MODEL TEXT SAMPLES OUT, where TEXT is plain
text or JSON lines with `input_ids`. Prints seconds and peak MB."""
import json
import os
import resource
import sys
import time

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import GPTQModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

model_path, text_path, samples, out = sys.argv[1:5]
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.bfloat16)
with open(text_path, encoding="utf-8") as file:
    if text_path.endswith(".jsonl"):
        windows = [json.loads(line)["input_ids"] for line in file][:int(samples)]
    else:
        tokenizer = AutoTokenizer.from_pretrained(model_path)
        ids = tokenizer(file.read(), add_special_tokens=False)["input_ids"]
        windows = [[tokenizer.bos_token_id] + ids[i * 255:(i + 1) * 255] for i in range(int(samples))]
data = Dataset.from_dict({"input_ids": windows, "attention_mask": [[1] * 256 for _ in windows]})
recipe = GPTQModifier(targets="Linear", scheme="W4A16", ignore=["lm_head"])
start = time.time()
oneshot(model=model, dataset=data, recipe=recipe, max_seq_length=256, num_calibration_samples=len(windows), output_dir=out)
print("seconds", round(time.time() - start, 2), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
