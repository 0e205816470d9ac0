#include "cli/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/event.h"
#include "core/json.h"
#include "core/mem.h"

typedef enum how { HOW_NONE, HOW_LINES, HOW_BAR, HOW_JSON } how;

#define PHASE_MAX     32
#define BAR_SECONDS   0.1 /* between two drawings */
#define LINES_SECONDS 5.0
#define RATE_AFTER    0.5 /* seconds before a rate means something */
#define BAR_CELLS     24
#define LINE_MAX      512

/* The library calls the listener under a lock: this needs none. */
static struct {
    how how;
    bool quiet;
    bool drawn; /* a bar stands on the line */
    char phase[PHASE_MAX];
    double phase_start, phase_first; /* time, and work done then */
    double last;                     /* time of the last drawing */
    bool finished;                   /* the phase's last line was printed */
} state;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void clear_bar(void)
{
    if (state.drawn)
        fputs("\r\033[K", stderr);
    state.drawn = false;
}

/* ---- notes ------------------------------------------------------------------------------------------ */

static void put_json(const vise_event *event, const char *kind)
{
    vise_json_writer writer;
    vise_buf line;

    vise_buf_init(&line, 16384);
    vise_json_begin(&writer, &line, 0);
    vise_json_object(&writer);
    vise_json_key(&writer, "event");
    vise_json_put_text(&writer, kind);
    if (event->kind != VISE_EVENT_PROGRESS) {
        vise_json_key(&writer, "text");
        vise_json_put_text(&writer, event->text);
    } else {
        vise_json_key(&writer, "phase");
        vise_json_put_text(&writer, event->phase);
        if (event->item) {
            vise_json_key(&writer, "item");
            vise_json_put_text(&writer, event->item);
        }
        vise_json_key(&writer, "done");
        vise_json_put_double(&writer, event->done);
        vise_json_key(&writer, "total");
        vise_json_put_double(&writer, event->total);
    }
    vise_json_object_end(&writer);
    if (!line.failed)
        fprintf(stderr, "%s\n", line.data);
    vise_buf_deinit(&line);
}

static void hear_note(const vise_event *event)
{
    bool warning = event->kind == VISE_EVENT_WARNING;

    if (state.quiet && !warning)
        return;
    if (state.how == HOW_JSON) {
        put_json(event, warning ? "warning" : "info");
        return;
    }
    clear_bar();
    fprintf(stderr, "%s: %s\n", warning ? "warning" : "note", event->text);
}

/* ---- progress --------------------------------------------------------------------------------------- */

/* Phases whose work is counted in bytes show a rate. */
static bool counts_bytes(const char *phase)
{
    static const char *const phases[] = {"compress", "measure"};

    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++)
        if (strcmp(phases[i], phase) == 0)
            return true;
    return false;
}

/* "1:05", "2:03:09" */
static const char *duration(double seconds, char text[32])
{
    long whole = seconds > 359999.0 ? 359999 : (long)(seconds + 0.5);

    if (whole >= 3600)
        snprintf(text, 32, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(text, 32, "%ld:%02ld", whole / 60, whole % 60);
    return text;
}

/* "  123 MB/s  0:12 left", as far as it is known. */
static void describe_pace(const vise_event *event, double time, char text[96])
{
    double passed = time - state.phase_start, worked = event->done - state.phase_first;
    char size[VISE_SIZE_TEXT_MAX], left[32];
    int used = 0;

    text[0] = '\0';
    if (passed < RATE_AFTER || worked <= 0.0)
        return;
    if (counts_bytes(event->phase))
        used = snprintf(text, 96, "  %s/s", vise_format_size((uint64_t)(worked / passed), size));
    if (event->total > event->done)
        snprintf(text + used, 96 - (size_t)used, "  %s left",
                 duration(passed * (event->total - event->done) / worked, left));
}

static int terminal_columns(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static double share_of(const vise_event *event)
{
    double share = event->total > 0.0 ? event->done / event->total : 0.0;

    return fmin(1.0, fmax(0.0, share));
}

static void draw_bar(const vise_event *event, double time)
{
    double share = share_of(event);
    int filled = (int)(share * BAR_CELLS), columns = terminal_columns();
    char bar[BAR_CELLS + 1], pace[96], line[LINE_MAX];

    memset(bar, '-', BAR_CELLS);
    memset(bar, '#', (size_t)filled);
    bar[BAR_CELLS] = '\0';
    describe_pace(event, time, pace);
    snprintf(line, sizeof line, "%-9s [%s] %3.0f %%%s  %s", event->phase, bar, 100.0 * share, pace,
             event->item ? event->item : "");
    if (columns - 1 < (int)sizeof line)
        line[columns - 1] = '\0';
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    state.drawn = true;
}

static void put_line(const vise_event *event, double time)
{
    char pace[96];

    describe_pace(event, time, pace);
    fprintf(stderr, "%s: %.0f %%%s%s%s\n", event->phase, 100.0 * share_of(event), pace,
            event->item ? "  " : "", event->item ? event->item : "");
}

static void end_phase(const vise_event *event, double time)
{
    double passed = time - state.phase_start, worked = event->done - state.phase_first;
    char size[VISE_SIZE_TEXT_MAX];

    clear_bar();
    if (counts_bytes(event->phase) && passed >= RATE_AFTER && worked > 0.0)
        fprintf(stderr, "%s: done in %.1f s, %s/s\n", event->phase, passed,
                vise_format_size((uint64_t)(worked / passed), size));
    else
        fprintf(stderr, "%s: done in %.1f s\n", event->phase, passed);
}

static void hear_progress(const vise_event *event)
{
    double time = now(), pause = state.how == HOW_LINES ? LINES_SECONDS : BAR_SECONDS;
    bool ended = event->total > 0.0 && event->done >= event->total;

    if (strncmp(state.phase, event->phase, PHASE_MAX - 1) != 0 || (state.finished && !ended)) {
        snprintf(state.phase, sizeof state.phase, "%s", event->phase);
        state.phase_start = time;
        state.phase_first = event->done;
        state.last = state.how == HOW_LINES ? time : 0.0;
        state.finished = false;
    }
    if (state.finished || (!ended && time - state.last < pause))
        return;
    state.last = time;
    state.finished = ended;
    if (state.how == HOW_JSON)
        put_json(event, "progress");
    else if (ended)
        end_phase(event, time);
    else if (state.how == HOW_BAR)
        draw_bar(event, time);
    else
        put_line(event, time);
}

static void hear(void *context, const vise_event *event)
{
    (void)context;
    if (event->kind != VISE_EVENT_PROGRESS)
        hear_note(event);
    else if (state.how != HOW_NONE)
        hear_progress(event);
}

static how how_of(const char *mode)
{
    const char *terminal = getenv("TERM");

    if (strcmp(mode, "none") == 0)
        return HOW_NONE;
    if (strcmp(mode, "lines") == 0)
        return HOW_LINES;
    if (strcmp(mode, "json") == 0)
        return HOW_JSON;
    if (strcmp(mode, "bar") == 0)
        return HOW_BAR;
    return isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0 ? HOW_BAR : HOW_LINES;
}

void vise_progress_start(const char *mode, bool quiet)
{
    memset(&state, 0, sizeof state);
    state.how = quiet ? HOW_NONE : how_of(mode);
    state.quiet = quiet;
    vise_listen(hear, NULL);
}

void vise_progress_stop(void)
{
    vise_listen(NULL, NULL);
    clear_bar();
}
