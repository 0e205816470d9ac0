/* vise imatrix: the importance matrix of a model over a text, for quantization to GGUF's types. */
#include "cli/cli.h"
#include "core/cpu.h"
#include "core/event.h"
#include "core/file.h"
#include "model/model.h"
#include "pipeline/apart.h"
#include "pipeline/gguf_tokenizer.h"
#include "pipeline/session.h"
#include "pipeline/text_options.h"
#include "quant/imatrix.h"
#include "text/tokenizer.h"
#include "text/windows.h"

typedef struct making {
    const vise_imatrix_options *own;
    const char *path;
    vise_model *model;
    vise_session session;
    vise_windows *sets;
    size_t n_sets;
} making;

static vise_status load_windows(const vise_cli *cli, making *m, vise_error *err)
{
    const vise_text_source source = vise_text_source_of(&cli->windows, vise_cli_seed(cli));
    vise_window_options cut;
    vise_tokenizer *tokenizer = NULL;
    vise_status status;

    VISE_TRY(vise_text_windows(&source, m->model->config.max_positions, 0, &cut, err));
    VISE_TRY(vise_model_tokenizer(m->path, m->own->text, &tokenizer, err));
    status = vise_window_sets_load(m->own->text, tokenizer, (int32_t)m->model->config.vocab, &cut, &m->sets,
                                   &m->n_sets, err);
    vise_tokenizer_close(tokenizer);
    return status;
}

/* An older matrix is replaced when asked; a folder, the model or the text never is. */
static vise_status check_output(const making *m, vise_error *err)
{
    const char *out = m->own->output;

    if (vise_path_is_folder(out))
        return VISE_FAIL(err, VISE_EUSAGE, "%s is a folder; give a file, such as imatrix.gguf", out);
    VISE_TRY(vise_check_apart_from_model(out, m->model, err));
    VISE_TRY(vise_check_apart(out, m->own->text, err));
    if (vise_path_exists(out) && !m->own->force)
        return VISE_FAIL(err, VISE_EUSAGE, "%s exists; --force replaces it", out);
    return VISE_OK;
}

static vise_status make(const vise_cli *cli, making *m, vise_error *err)
{
    int threads = cli->common.threads == VISE_UNSET_INT ? vise_cpu_usable_cores() : (int)cli->common.threads;
    size_t longest = 0, count = 0;

    VISE_TRY(vise_model_open(m->path, &m->model, err));
    VISE_TRY(check_output(m, err));
    VISE_TRY(load_windows(cli, m, err));
    for (size_t i = 0; i < m->n_sets; i++) {
        longest = m->sets[i].length > longest ? m->sets[i].length : longest;
        count += m->sets[i].count;
    }
    VISE_TRY(vise_session_open(cli->common.device, threads, cli->memory.cpu,
                               vise_imatrix_bytes(m->model, m->n_sets, longest, threads), true, &m->session,
                               err));
    VISE_TRY(vise_imatrix_make(m->model, m->sets, m->n_sets, m->own->text, &m->session, m->own->output, err));
    vise_info("%s: importances over %zu windows of %zu tokens", m->own->output, count, longest);
    return VISE_OK;
}

vise_status vise_cmd_imatrix(vise_cli *cli, vise_error *err)
{
    making m = {.own = cli->own};
    vise_status status;

    VISE_TRY(vise_cli_expect(cli, 1, "MODEL", err));
    if (!m.own->text || !m.own->output)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "give the text, --text FILE, and where the matrix goes, -o OUT.gguf");
    m.path = cli->arguments.items[0];
    status = make(cli, &m, err);
    vise_windows_free_sets(m.sets, m.n_sets);
    vise_model_close(m.model); /* before the session: decoders draw from its pool */
    vise_session_close(&m.session);
    return status;
}
