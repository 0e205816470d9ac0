"""What the checks of `make interop` share: running vise, making models, comparing tensors, and one line per check:
`ok NAME: ...`, `FAIL NAME: ...` or `SKIP NAME: ...`."""
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["LOGURU_LEVEL"] = "ERROR"
os.environ["TQDM_DISABLE"] = "1"
import torch
import transformers
from safetensors.torch import load_file

warnings.filterwarnings("ignore", message=".*already has a `quantization_config`.*")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
logging.getLogger("compressed_tensors").setLevel(logging.ERROR)
torch.set_num_threads(1)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VISE = os.path.join(ROOT, os.environ.get("VISE", "build/vise"))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build/release"))
EXAMPLE = os.path.join(ROOT, "examples/stories260K")
CALIBRATION = os.path.join(ROOT, "examples/text/calib.txt")
FIXTURE = os.path.join(ROOT, "tests/data/llmcompressor-int")
MODELS = os.path.join(ROOT, "../shared/models")
LIMIT = 1e-3  # greatest relative distance of logits

failures = 0
scratch = tempfile.TemporaryDirectory(prefix="vise-interop-")


def path(*names):
    return os.path.join(scratch.name, *names)


def report(name, good, detail=""):
    global failures
    failures += not good
    print(f"{'ok' if good else 'FAIL'} {name}{': ' if detail else ''}{detail}", flush=True)


def skip(name, why):
    print(f"SKIP {name}: {why}", flush=True)


def check(name, work, *arguments, **options):
    """Runs work, which returns (good, detail); what it raises is a failure of this check alone."""
    try:
        good, detail = work(*arguments, **options)
    except Exception as error:
        good, detail = False, f"{type(error).__name__}: {str(error).strip()[:1500]}"
        if not isinstance(error, ViseError):
            traceback.print_exc()
    report(name, good, detail)


def finish():
    scratch.cleanup()
    sys.exit(failures > 0)


# ---- vise ------------------------------------------------------------------------------------------------------------


class ViseError(Exception):
    pass


def vise(*arguments):
    """Runs vise quietly and returns its stdout."""
    run = subprocess.run([VISE, *map(str, arguments), "--quiet"], capture_output=True, text=True)
    if run.returncode != 0:
        raise ViseError(f"vise {' '.join(map(str, arguments))} ended with {run.returncode}: {run.stderr.strip()}")
    return run.stdout


def vise_logits(model, rows):
    """Logits [rows, length, vocab] and mean NLL by `vise eval --ids`."""
    with open(path("rows.json"), "w") as file:
        json.dump(rows.tolist(), file)
    out = vise("eval", model, "--ids", path("rows.json"), "--save-logits", path("logits.safetensors"), "--json")
    return load_file(path("logits.safetensors"))["logits"], json.loads(out)["accuracy"]


# ---- transformers ----------------------------------------------------------------------------------------------------


def load(folder, **options):
    """The model in float32 arithmetic, and what from_pretrained says of its keys: an empty text when all fit."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **options)
    wrong = {key: sorted(value) for key, value in info.items() if value}
    return model.eval(), "" if not wrong else f"loading info {wrong}"


@torch.no_grad()
def logits_of(model, rows):
    return model(rows).logits.float()


@torch.no_grad()
def sample_rows(model, n, length, seed=0):
    """Token ids that the model finds likely, so that logits are of the size they have in use; it draws them itself,
    n rows at a time, beginning with BOS (or 0)."""
    torch.manual_seed(seed)
    bos = getattr(model.config, "bos_token_id", None) or 0
    rows = torch.full((n, 1), bos)
    cache = transformers.DynamicCache()
    for _ in range(length - 1):
        out = model(rows[:, -1:], past_key_values=cache, use_cache=True)
        rows = torch.cat([rows, torch.multinomial(out.logits[:, -1].softmax(-1), 1)], 1)
    return rows


def nlls(logits, rows):
    """Of each prediction, in float64."""
    return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]).double(), rows[:, 1:].reshape(-1),
                                             reduction="none")


def nll(logits, rows):
    return nlls(logits, rows).mean().item()


def distance(a, b):
    """The greatest over positions of |a - b| / |b|, lengths of the vectors of logits."""
    if a.shape != b.shape:
        return float("inf")
    worst = ((a - b).norm(dim=-1) / b.norm(dim=-1)).max().item()
    return worst if worst == worst else float("inf")


def unigrams(folder):
    """XLM-RoBERTa's tokenizer in a folder: fairseq's ids over a model of sentencepiece."""
    import sentencepiece
    if not os.path.exists(path("unigrams.model")):
        sentencepiece.SentencePieceTrainer.train(input=CALIBRATION, model_prefix=path("unigrams"), vocab_size=600,
                                                 model_type="unigram", normalization_rule_name="nmt_nfkc", minloglevel=2)
    shutil.copy(path("unigrams.model"), os.path.join(folder, "sentencepiece.bpe.model"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({"tokenizer_class": "XLMRobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                   "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>",
                   "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "special": True}}, file)


def make_llama(folder, seed=0, dtype=torch.float32, max_shard_size="5GB", **config):
    """A small Llama with every parameter drawn at random, norms and biases too, as transformers saves it."""
    sizes = dict(vocab_size=96, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=8,
                 num_key_value_heads=4, max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
                 tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**sizes, **config}))
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if "norm" in name:
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
            elif parameter.dim() == 1:
                parameter.copy_(0.3 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * (1.5 / parameter.shape[-1] ** 0.5))
    model = model.to(dtype)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    return model.float().eval()


def source_for_peers(folder):
    """What other quantizers are given: a folder with a model, and a tokenizer that they ask for and never use; and rows of
    ids to calibrate with."""
    from tokenizers import Tokenizer, models
    source = os.path.join(folder, "source")
    model = make_llama(source, seed=21, dtype=torch.bfloat16, hidden_size=128, intermediate_size=256, num_hidden_layers=2)
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(model.config.vocab_size)}, unk_token="t0"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="t1", eos_token="t2", pad_token="t2").save_pretrained(source)
    return source, sample_rows(model, 16, 64, seed=3)
