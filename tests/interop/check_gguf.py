#!/usr/bin/env python3
"""GGUF files of vise read by others: the package gguf decodes every type of block to the values that vise gives, and
transformers loads files and computes the logits that vise computes."""
import os

from common import check, finish, load_file, logits_of, make_llama, path, sample_rows, vise, vise_logits, distance
import gguf
import numpy
import torch
import transformers

TYPES = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "tq1_0",
         "tq2_0", "mxfp4", "q4_k_m"]
FED = ["q8_0", "q4_0", "q5_1", "q2_k", "q3_k", "q4_k", "q6_k", "iq4_nl", "iq4_xs", "q4_k_m"]  # by --method gptq
SIZES = dict(vocab_size=96, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=8,
             num_key_value_heads=4)


def paired(name, values):
    """A matrix of the model in the row order of GGUF's llama."""
    heads = {"q_proj": 8, "k_proj": 4}.get(name.split(".")[-2])
    if heads is None:
        return values
    return values.reshape(heads, 2, values.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def same_values(scheme, model, *method):
    vise("quant", model, "-o", path("q.gguf"), "--scheme", scheme, *method, "--force")
    vise("convert", path("q.gguf"), "-o", path("back"), "--dequantize", "--dtype", "f32", "--force")
    ours = load_file(os.path.join(path("back"), "model.safetensors"))
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path("q.gguf")).tensors}
    count, worst = 0, 0.0
    for layer in range(2):
        for name, other in NAMES.items():
            tensor = tensors[f"blk.{layer}.{other}.weight"]
            theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            mine = paired(name + ".weight", ours[f"model.layers.{layer}.{name}.weight"].numpy())
            worst = max(worst, float(numpy.abs(theirs - mine).max() / numpy.abs(theirs).max()))
            count += 1
    return worst <= 1e-6, f"{count} matrices, off by {worst:.0e} at most"


def same_logits(scheme, model, rows, *method):
    folder = path("loads-" + scheme)
    kind = ["convert", model, "--dtype", "f16"] if scheme == "f16" else ["quant", model, "--scheme", scheme, *method]
    vise(*kind, "-o", folder, "--layout", "gguf", "--force")
    config = transformers.AutoConfig.from_pretrained(folder)
    loaded, info = transformers.LlamaForCausalLM.from_pretrained(
        folder, gguf_file="model.gguf", dtype=torch.float32, config=config, attn_implementation="eager",
        output_loading_info=True)
    wrong = {key: value for key, value in info.items() if value}
    off = distance(vise_logits(folder, rows)[0], logits_of(loaded.eval(), rows))
    return off < 1e-3 and not wrong, f"off by {off:.0e}" + (f", {wrong}" if wrong else "")


def main():
    model = make_llama(path("model"), **SIZES)
    rows = sample_rows(model, 2, 24)
    for scheme in TYPES:
        check(f"gguf decodes {scheme}", same_values, scheme, path("model"))
    for scheme in ("f16", "q8_0", "q4_k_m"):
        check(f"transformers loads {scheme}", same_logits, scheme, path("model"), rows)
    with open(path("rows.jsonl"), "w") as file:
        file.writelines(f'{{"input_ids": {row}}}\n' for row in sample_rows(model, 8, 64, seed=5).tolist())
    text = ["--calibration", path("rows.jsonl"), "--samples", "8", "--length", "64"]
    gptq = ["--method", "gptq", *text]
    for scheme in FED:
        check(f"gguf decodes {scheme} gptq", same_values, scheme, path("model"), *gptq)
    for scheme in ("q4_0", "q2_k"):
        check(f"transformers loads {scheme} gptq", same_logits, scheme, path("model"), rows, *gptq)
    check("transformers loads q5_k gptq, smoothed", same_logits, "q5_k", path("model"), rows, *gptq, "--smooth", "0.5")
    finish()


if __name__ == "__main__":
    main()
