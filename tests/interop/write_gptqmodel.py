#!/usr/bin/env python3
"""Small Llamas that GPTQModel quantizes, for check_packed.py.

    build/venv-gptqmodel/bin/python tests/interop/write_gptqmodel.py FOLDER
"""
import os
import sys

os.cpu_count = lambda: 4  # GPTQModel refuses two cores
import common  # first: it silences what is imported next

from gptqmodel import GPTQModel
from gptqmodel.quantization import FORMAT, GPTAQConfig, GPTQConfig

CONFIGS = {
    "int4-g32": dict(bits=4, group_size=32),
    "int4-g128-asym": dict(bits=4, group_size=128, sym=False),
    "int4-g32-act-order": dict(bits=4, group_size=32, desc_act=True, act_group_aware=False),
    "int4-g32-v2": dict(bits=4, group_size=32, sym=False, format=FORMAT.GPTQ_V2),
    "int3-g32": dict(bits=3, group_size=32),
    "int2-g32-asym": dict(bits=2, group_size=32, sym=False),
    "int8-g128": dict(bits=8, group_size=128),
    "int4-g32-gptaq": dict(bits=4, group_size=32, gptaq=GPTAQConfig()),
}


def main():
    folder = os.path.abspath(sys.argv[1])
    source, rows = common.source_for_peers(folder)
    data = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows.tolist()]
    os.chdir(folder)  # it leaves logs where it runs
    for name, options in CONFIGS.items():
        model = GPTQModel.load(source, GPTQConfig(**options))
        model.quantize(data, batch_size=4)
        model.save(os.path.join(folder, "GPTQModel " + name))
        print(f"wrote {name}", flush=True)


if __name__ == "__main__":
    main()
