#!/usr/bin/env python3
"""Files that llm-compressor wrote (peers_write.py): vise gives the logits that transformers gives of them, and decodes the
weights that the compressed-tensors library decodes.

    build/venv/bin/python tests/interop/check_peers.py FOLDER
"""
import glob
import os
import sys

import common
from common import check, load, sample_rows
from compressed import compare, load_compressed

folder = sys.argv[1]
for config in sorted(glob.glob(os.path.join(folder, "*/*/config.json"))):
    model = os.path.dirname(config)
    if os.path.basename(model) != "source":
        check(f"llm-compressor {os.path.relpath(model, folder)}",
              lambda: compare(model, sample_rows(load_compressed(model)[0], 16, 96)))
common.finish()
