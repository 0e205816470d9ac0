/* What llama.cpp makes of a GGUF file: linked with its libraries by check_llama_cpp.py.
 *
 *   llama_main MODEL.gguf tokens TEXT            the ids that its tokenizer gives, as a line
 *   llama_main MODEL.gguf logits OUT ID...       float32 logits [ids][vocab] in OUT, computed on the CPU
 *   llama_main MODEL.gguf hidden OUT ID...       what an encoder makes of each id, [ids][width] */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

static void silent(enum ggml_log_level level, const char *text, void *data)
{
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static int print_tokens(const struct llama_vocab *vocab, const char *text)
{
    enum { MOST = 4096 };
    static llama_token tokens[MOST];
    int n = llama_tokenize(vocab, text, (int)strlen(text), tokens, MOST, true, true);
    for (int i = 0; i < n; i++)
        printf("%s%d", i > 0 ? " " : "", tokens[i]);
    puts("");
    return n < 0;
}

static int write_values(struct llama_model *model, bool hidden, int width, const char *path, int n, char **ids)
{
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (unsigned)n + 8;
    params.n_batch = params.n_ubatch = (unsigned)n + 8;
    params.n_threads = params.n_threads_batch = 1;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.embeddings = hidden;
    if (hidden)
        params.pooling_type = LLAMA_POOLING_TYPE_NONE;
    struct llama_context *context = llama_init_from_model(model, params);
    struct llama_batch batch = llama_batch_init(n, 0, 1);
    FILE *out = fopen(path, "wb");
    if (context == NULL || out == NULL)
        return 1;
    for (int i = 0; i < n; i++) {
        batch.token[i] = (llama_token)strtol(ids[i], NULL, 10);
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    batch.n_tokens = n;
    if (llama_decode(context, batch) != 0)
        return 1;
    for (int i = 0; i < n; i++)
        if (fwrite(hidden ? llama_get_embeddings_ith(context, i) : llama_get_logits_ith(context, i), sizeof(float),
                   (size_t)width, out) != (size_t)width)
            return 1;
    fclose(out);
    llama_batch_free(batch);
    llama_free(context);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    llama_log_set(silent, NULL);
    llama_backend_init();
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    struct llama_model *model = llama_model_load_from_file(argv[1], params);
    if (model == NULL)
        return 1;
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    const bool hidden = strcmp(argv[2], "hidden") == 0;
    const int width = hidden ? llama_model_n_embd(model) : llama_vocab_n_tokens(vocab);
    int status = strcmp(argv[2], "tokens") == 0 ? print_tokens(vocab, argv[3])
                                                : write_values(model, hidden, width, argv[3], argc - 4, argv + 4);
    llama_model_free(model);
    llama_backend_free();
    return status;
}
