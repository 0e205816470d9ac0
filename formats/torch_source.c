/* Checkpoints of torch.save as shards of a source. */
#include <string.h>

#include "core/event.h"
#include "core/json.h"
#include "formats/names.h"
#include "formats/source_internal.h"
#include "formats/torch.h"

bool vise_source_is_torch_name(const char *name)
{
    static const char *const ends[] = {".bin", ".pt", ".pth", ".ckpt"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (vise_ends_with(name, ends[i]))
            return true;
    return false;
}

/* ---- tied names ---------------------------------------------------------------------------------------- */

/* Whether transformers ties the head to the embedding: as config.json says, or as its class does for such files. */
static bool ties_head(const cJSON *config)
{
    static const char *const tied[] = {"gpt2",   "gpt_neo", "opt",        "bloom",
                                       "falcon", "gemma",   "gemma2",     "gemma3_text",
                                       "bert",   "roberta", "distilbert", "xlm-roberta"};
    const cJSON *says = cJSON_GetObjectItemCaseSensitive(config, "tie_word_embeddings");
    const cJSON *family = cJSON_GetObjectItemCaseSensitive(config, "model_type");
    if (cJSON_IsBool(says))
        return cJSON_IsTrue(says);
    for (size_t i = 0; cJSON_IsString(family) && i < sizeof tied / sizeof *tied; i++)
        if (strcmp(family->valuestring, tied[i]) == 0)
            return true;
    return false;
}

/* A name that transformers makes from another one; it leaves these out when it writes safetensors. */
static bool is_head(const char *name)
{
    static const char *const ends[] = {"lm_head.weight",           "lm_head.decoder.weight",
                                       "lm_head.decoder.bias",     "predictions.decoder.weight",
                                       "predictions.decoder.bias", "vocab_projector.weight"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (vise_ends_with(name, ends[i]))
            return true;
    return false;
}

/* Another tensor with the same elements under a name that stays. Those stand side by side: they have one offset. */
static const vise_torch_tensor *find_twin(const vise_torch *torch, size_t index)
{
    const vise_torch_tensor *head = &torch->tensors[index];
    size_t first = index;
    while (first > 0 && torch->tensors[first - 1].offset == head->offset)
        first--;
    for (size_t i = first; i < torch->n && torch->tensors[i].offset == head->offset; i++)
        if (i != index && !is_head(torch->tensors[i].name) && vise_torch_same(head, &torch->tensors[i]))
            return &torch->tensors[i];
    return NULL;
}

/* ---- the shard ----------------------------------------------------------------------------------------- */

static vise_status add_tensor(vise_source *source, const vise_torch_tensor *tensor, vise_error *err)
{
    VISE_TRY(vise_source_grow(source, err));
    vise_tensor_info info = {
        .name = tensor->name,
        .dtype = tensor->dtype,
        .ndim = tensor->view.ndim,
        .elements = tensor->elements,
        .bytes = tensor->bytes,
        .stored_bytes = tensor->bytes,
        .file = (int)source->n_shards - 1,
        .offset = tensor->offset,
        .view = tensor->apart ? &tensor->view : NULL,
    };
    memcpy(info.shape, tensor->view.shape, sizeof info.shape);
    source->tensors[source->n_tensors++] = info;
    return VISE_OK;
}

static void tell(const vise_torch *torch, const char *path)
{
    if (torch->left_out != NULL && torch->part != NULL)
        vise_warn("%s: the part \"%s\" is taken as the model; left out: %s", path, torch->part,
                  torch->left_out);
    else if (torch->left_out != NULL)
        vise_warn("%s: the tensors are taken as the model; left out: %s", path, torch->left_out);
}

vise_status vise_source_add_torch(vise_source *source, const char *name, const char *path, vise_error *err)
{
    vise_shard *shard;
    vise_torch torch;
    const bool ties = source->config != NULL && ties_head(source->config);
    VISE_TRY(vise_source_new_shard(source, name, path, &shard, err));
    source->is_torch = true;
    vise_st_input input = vise_st_input_file(&shard->handle);
    VISE_TRY(vise_torch_parse(&input, source->arena, &torch, err));
    memcpy(shard->view.header_sha256, torch.sha256, sizeof shard->view.header_sha256);
    tell(&torch, path);
    for (size_t i = 0; i < torch.n; i++) {
        const char *tensor = torch.tensors[i].name;
        if (ties && is_head(tensor) && source->n_tied < VISE_TIED_MAX && find_twin(&torch, i) != NULL)
            source->tied[source->n_tied++] = tensor;
        else
            VISE_TRY(add_tensor(source, &torch.tensors[i], err));
    }
    return VISE_OK;
}
