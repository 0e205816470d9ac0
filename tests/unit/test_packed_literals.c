/* The fast reader of literals-only frames against zstd's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include "core/cpu.h"
#include "core/mem.h"
#include "core/rng.h"
#include "formats/packed_literals.h"

#define MOST ((size_t)400000)

typedef struct row {
    const char *name;
    double entropy;  /* about, of a geometric distribution; 0: see `spread` */
    unsigned spread; /* this many symbols, equally likely */
    size_t n;
    size_t block; /* symbols of a zstd block */
    bool fast;    /* must be taken, not left to zstd */
} row;

static const row rows[] = {
    {"exponents", 2.6, 0, 400000, 131072, true},   {"short last block", 2.6, 0, 131072 + 70, 131072, false},
    {"small blocks", 2.6, 0, 20000, 1000, true},   {"one-bit codes", 0.9, 0, 300000, 131072, true},
    {"very skewed", 0.2, 0, 300000, 131072, true}, {"two symbols", 0, 2, 100000, 65536, true},
    {"three symbols", 0, 3, 100000, 65536, true},  {"nine symbols", 0, 9, 100000, 65536, true},
    {"constant", 0, 1, 300000, 131072, true},      {"high entropy", 0, 60, 100000, 131072, false},
    {"uncoded", 0, 256, 300000, 131072, false},    {"long codes", 4.2, 0, 300000, 131072, true},
    {"tiny", 1.5, 0, 60, 131072, false},
};

static void fill(const row *r, uint8_t *bytes)
{
    vise_rng rng;
    vise_rng_init(&rng, 5, r->name);
    double stay = 1 - 1 / (1 + r->entropy * r->entropy / 2);
    for (size_t i = 0; i < r->n; i++) {
        unsigned v = 0;
        if (r->spread)
            v = (unsigned)vise_rng_below(&rng, r->spread);
        else
            while (v < 255 && vise_rng_uniform(&rng) < stay)
                v++;
        bytes[i] = (uint8_t)(v * 37 + 11);
    }
}

static void *block(size_t n)
{
    void *out;
    vise_error err = {0};
    assert_int_equal(vise_alloc(n, &out, &err), VISE_OK);
    return out;
}

static size_t frame_of(const row *r, const uint8_t *bytes, uint8_t *frame)
{
    ZSTD_Sequence sequences[512];
    size_t count = 0;
    ZSTD_CCtx *cctx = ZSTD_createCCtx();
    memset(sequences, 0, sizeof(sequences));
    for (size_t at = 0; at < r->n; at += r->block)
        sequences[count++].litLength = (unsigned)(r->n - at < r->block ? r->n - at : r->block);
    ZSTD_CCtx_setParameter(cctx, ZSTD_c_blockDelimiters, ZSTD_sf_explicitBlockDelimiters);
    ZSTD_CCtx_setParameter(cctx, ZSTD_c_literalCompressionMode, ZSTD_ps_enable);
    size_t size =
        ZSTD_compressSequences(cctx, frame, ZSTD_compressBound(MOST), sequences, count, bytes, r->n);
    assert_false(ZSTD_isError(size));
    ZSTD_freeCCtx(cctx);
    return size;
}

static void test_agrees_with_zstd(void **state)
{
    const vise_cpu_level level = vise_cpu();
    uint8_t *bytes = block(MOST), *frame = block(ZSTD_compressBound(MOST)), *out = block(MOST);
    vise_literals_tables *tables = block(sizeof(*tables));
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fill(&rows[i], bytes);
        size_t size = frame_of(&rows[i], bytes, frame);
        for (int l = 0; l <= (int)vise_cpu_highest(); l++) {
            vise_cpu_force((vise_cpu_level)l);
            memset(out, 0xA5, rows[i].n);
            bool taken = vise_literals_decode(tables, frame, size, out, rows[i].n);
            if (rows[i].fast && !taken)
                fail_msg("%s: left to zstd", rows[i].name);
            if (taken && memcmp(out, bytes, rows[i].n) != 0)
                fail_msg("%s: decoded wrongly", rows[i].name);
            /* The size must be right. */
            assert_false(vise_literals_decode(tables, frame, size, out, rows[i].n - 1));
            assert_false(vise_literals_decode(tables, frame, size - 1, out, rows[i].n));
        }
    }
    vise_cpu_force(level);
    vise_free(bytes);
    vise_free(frame);
    vise_free(out);
    vise_free(tables);
}

/* Frames with matches are not for this reader, whatever they begin with. */
static void test_leaves_matches_to_zstd(void **state)
{
    uint8_t *bytes = block(MOST), *frame = block(ZSTD_compressBound(MOST)), *out = block(MOST);
    vise_literals_tables *tables = block(sizeof(*tables));
    (void)state;
    fill(&rows[0], bytes);
    memcpy(bytes + 200000, bytes, 200000);
    size_t size = ZSTD_compress(frame, ZSTD_compressBound(MOST), bytes, MOST, 3);
    assert_false(ZSTD_isError(size));
    assert_false(vise_literals_decode(tables, frame, size, out, MOST));
    vise_free(bytes);
    vise_free(frame);
    vise_free(out);
    vise_free(tables);
}

/* Damaged frames, in buffers of their exact size so that the sanitizers see every byte too far: what both
 * readers take, they decode alike. The damage is spread, but heaviest at the start, where trees and sizes
 * stand. */
static void test_damaged(void **state)
{
    uint8_t *bytes = block(MOST), *frame = block(ZSTD_compressBound(MOST));
    vise_literals_tables *tables = block(sizeof(*tables));
    size_t both = 0;
    vise_rng rng;
    (void)state;
    vise_rng_init(&rng, 9, "damage");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        row r = rows[i];
        r.n = r.n < 3000 ? r.n : 3000;
        fill(&r, bytes);
        size_t size = frame_of(&r, bytes, frame);
        uint8_t *damaged = block(size), *ours = block(r.n), *theirs = block(r.n);
        for (int trial = 0; trial < 4000; trial++) {
            memcpy(damaged, frame, size);
            size_t changes = 1 + (size_t)vise_rng_below(&rng, 3);
            for (size_t c = 0; c < changes; c++) {
                size_t range = vise_rng_below(&rng, 3) && size > 60 ? 60 : size;
                size_t at = (size_t)vise_rng_below(&rng, range);
                damaged[at] = (uint8_t)(damaged[at] ^ (vise_rng_below(&rng, 2) ? 1u << vise_rng_below(&rng, 8)
                                                                               : vise_rng_below(&rng, 256)));
            }
            bool taken = vise_literals_decode(tables, damaged, size, ours, r.n);
            if (taken && ZSTD_decompress(theirs, r.n, damaged, size) == r.n) {
                both++;
                if (memcmp(ours, theirs, r.n) != 0)
                    fail_msg("%s: a damaged frame decodes differently", r.name);
            }
        }
        vise_free(damaged);
        vise_free(ours);
        vise_free(theirs);
    }
    assert_true(both > 100); /* or this compared nothing */
    vise_free(bytes);
    vise_free(frame);
    vise_free(tables);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_zstd),
        cmocka_unit_test(test_leaves_matches_to_zstd),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
