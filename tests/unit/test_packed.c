/* The packed form: round trips, damage, limits, determinism, and stock zstd reading our planes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <zstd.h>

#include "core/cpu.h"
#include "core/hash.h"
#include "core/mem.h"
#include "core/rng.h"
#include "formats/packed.h"
#include "formats/packed_zeros.h"
#include "tensor/dtype.h"

/* ---- data ---------------------------------------------------------------------------------------- */

typedef enum distribution {
    NORMAL,
    CONSTANT,
    SPECIALS,
    ALL_EXPONENTS,
    HALF_ZERO,
    TWO_OF_FOUR,
    ALL_ZERO,
    RANDOM,
    RAMP,
    TEXT,
    KINDS
} distribution;
static const char *const kind_names[KINDS] = {"normal", "constant", "specials", "all exponents", "half zero",
                                              "2 of 4", "all zero", "random",   "ramp",          "text"};

static void *block(size_t bytes)
{
    vise_error err = {0};
    void *out;
    assert_int_equal(vise_alloc(bytes ? bytes : 1, &out, &err), VISE_OK);
    return out;
}

static void put_float(vise_dtype dtype, float value, uint8_t *out)
{
    const vise_dtype_traits *traits = vise_dtype_of(dtype);
    if (traits->from_f32)
        traits->from_f32(&value, out, 1);
    else
        out[0] = (uint8_t)(int)(value * 20);
}

/* n bytes, whole elements of dtype. */
static void fill(vise_dtype dtype, distribution kind, uint8_t *bytes, size_t n)
{
    static const uint32_t specials[] = {0x7FC00000u, 0x7F800000u, 0xFF800000u, 0x80000000u, 0x00000001u,
                                        0x807FFFFFu, 0x7F7FFFFFu, 0x00000000u, 0x3F800000u, 0xFFFFFFFFu};
    size_t size = (size_t)vise_dtype_of(dtype)->bits / 8;
    vise_rng rng;
    size = size ? size : 1;
    vise_rng_init(&rng, 7, kind_names[kind]);
    for (size_t i = 0, at = 0; at < n; i++, at += size) {
        uint64_t bits = 0;
        float special;
        switch (kind) {
        case NORMAL:
        case HALF_ZERO:
        case TWO_OF_FOUR:
            memset(bytes + at, 0, size);
            if (kind == NORMAL || (kind == HALF_ZERO && vise_rng_below(&rng, 2)) ||
                (kind == TWO_OF_FOUR && ((i & 3) == (i >> 2 & 3) || (i & 3) == (i >> 3 & 3))))
                put_float(dtype, (float)(0.02 * vise_rng_normal(&rng)), bytes + at);
            break;
        case CONSTANT:
            put_float(dtype, 1.0f, bytes + at);
            break;
        case SPECIALS:
            memcpy(&special, &specials[i % 10], 4);
            put_float(dtype, special, bytes + at);
            break;
        case ALL_EXPONENTS:
            bits = i;
            if (size > 1)
                bits = (uint64_t)(i & 0xff) << (size * 8 - 9) | (uint64_t)(i >> 8 & 1) << (size * 8 - 1) |
                       (i >> 9 & 0x3f);
            memcpy(bytes + at, &bits, size);
            break;
        case ALL_ZERO:
            memset(bytes + at, 0, size);
            break;
        case RANDOM:
            bits = vise_rng_next(&rng);
            memcpy(bytes + at, &bits, size);
            break;
        case RAMP:
            bits = i;
            memcpy(bytes + at, &bits, size);
            break;
        case TEXT:
        case KINDS:
            for (size_t b = 0; b < size; b++)
                bytes[at + b] = (uint8_t) "the same few words, again and again; "[(at + b) % 37];
            break;
        }
    }
}

/* ---- a packed tensor in memory ------------------------------------------------------------------- */

typedef struct payload {
    uint8_t *bytes;
    size_t length;
    size_t reads; /* calls of the reader */
} payload;

static vise_status read_payload(void *context, uint64_t offset, void *bytes, size_t n, vise_error *err)
{
    payload *p = context;
    p->reads++;
    if (offset > p->length || n > p->length - offset)
        return VISE_FAIL(err, VISE_EINTERNAL, "the reader was asked for bytes outside the payload");
    memcpy(bytes, p->bytes + offset, n);
    return VISE_OK;
}

static vise_pack_info describe(vise_dtype dtype, size_t n)
{
    vise_pack_info info;
    int64_t shape = (int64_t)(n * 8 / (size_t)vise_dtype_of(dtype)->bits);
    assert_true(vise_pack_describe(dtype, 1, &shape, &info));
    assert_int_equal(info.bytes, n);
    return info;
}

static payload pack(vise_packer *packer, const vise_pack_info *info, const uint8_t *original)
{
    vise_error err = {0};
    size_t chunks = (size_t)vise_pack_chunks(info->bytes);
    payload p = {.bytes = block((size_t)vise_pack_payload_bound(info->bytes))};
    vise_pack_entry *entries = block(chunks * sizeof(*entries));
    for (size_t i = 0; i < chunks; i++) {
        size_t n = vise_pack_chunk_bytes(info->bytes, i);
        const uint8_t *from = original + i * VISE_PACK_CHUNK;
        assert_int_equal(vise_pack_chunk(packer, info->dtype, from, n, p.bytes + p.length, &entries[i], &err),
                         VISE_OK);
        assert_true(entries[i].coded_bytes <= vise_pack_bound(n));
        assert_int_equal(entries[i].original_bytes, n);
        entries[i].offset = p.length;
        p.length += entries[i].coded_bytes;
    }
    vise_pack_seek_table(info, entries, p.bytes + p.length);
    p.length += (size_t)vise_pack_seek_bytes(info->bytes);
    assert_true(p.length <= vise_pack_payload_bound(info->bytes));
    vise_free(entries);
    return p;
}

/* Opens and reads everything. */
static vise_status unpack(vise_packer *packer, const vise_pack_info *info, payload *p, uint8_t *out,
                          vise_error *err)
{
    vise_packed packed;
    vise_packed_reader reader = {read_payload, p};
    VISE_TRY(vise_packed_open("file: tensor", info, p->length, &reader, &packed, err));
    vise_status status = vise_packed_read(&packed, packer, &reader, 0, info->bytes, out, err);
    vise_packed_close(&packed);
    return status;
}

static vise_packer *new_packer(void)
{
    vise_packer *packer;
    vise_error err = {0};
    assert_int_equal(vise_packer_new(NULL, &packer, &err), VISE_OK);
    return packer;
}

/* ---- tests --------------------------------------------------------------------------------------- */

static const vise_dtype dtypes[] = {VISE_DTYPE_BF16,    VISE_DTYPE_F16, VISE_DTYPE_F32, VISE_DTYPE_U8,
                                    VISE_DTYPE_I8,      VISE_DTYPE_I32, VISE_DTYPE_I64, VISE_DTYPE_F64,
                                    VISE_DTYPE_F8_E4M3, VISE_DTYPE_BOOL};
#define DTYPES (sizeof(dtypes) / sizeof(dtypes[0]))

static void test_round_trip(void **state)
{
    static const size_t elements[] = {0, 1, 2, 7, 8, 9, 63, 64, 65, 1000, 20001};
    vise_packer *packer = new_packer();
    (void)state;
    for (size_t d = 0; d < DTYPES; d++) {
        size_t size = (size_t)vise_dtype_of(dtypes[d])->bits / 8;
        for (int kind = 0; kind < KINDS; kind++) {
            for (size_t e = 0; e < sizeof(elements) / sizeof(elements[0]) + 3; e++) {
                /* the last three: one chunk less an element, one chunk, one chunk and an element */
                size_t listed = sizeof(elements) / sizeof(elements[0]);
                size_t n = e < listed ? elements[e] * size : VISE_PACK_CHUNK + (e - listed) * size - size;
                vise_error err = {0};
                vise_pack_info info = describe(dtypes[d], n);
                uint8_t *original = block(n), *back = block(n);
                fill(dtypes[d], (distribution)kind, original, n);
                memset(back, 0xA5, n);
                payload p = pack(packer, &info, original);
                if (unpack(packer, &info, &p, back, &err) != VISE_OK || memcmp(original, back, n) != 0)
                    fail_msg("%s, %s, %zu bytes: %s", vise_dtype_of(dtypes[d])->name, kind_names[kind], n,
                             err.message);
                vise_free(p.bytes);
                vise_free(original);
                vise_free(back);
            }
        }
    }
    vise_packer_free(packer);
}

static void test_ranges(void **state)
{
    const size_t n = 3 * VISE_PACK_CHUNK + 4096;
    vise_error err = {0};
    vise_packer *packer = new_packer();
    vise_pack_info info = describe(VISE_DTYPE_BF16, n);
    uint8_t *original = block(n), *back = block(n);
    vise_packed packed;
    vise_rng rng;
    (void)state;
    fill(VISE_DTYPE_BF16, NORMAL, original, n);
    payload p = pack(packer, &info, original);
    vise_packed_reader reader = {read_payload, &p};
    assert_int_equal(vise_packed_open("t", &info, p.length, &reader, &packed, &err), VISE_OK);
    vise_rng_init(&rng, 1, "ranges");
    for (int i = 0; i < 200; i++) {
        uint64_t a = vise_rng_below(&rng, n + 1), b = vise_rng_below(&rng, n + 1 - a);
        memset(back, 0, n);
        assert_int_equal(vise_packed_read(&packed, packer, &reader, a, b, back, &err), VISE_OK);
        assert_memory_equal(back, original + a, b);
    }
    /* Reading a chunk in small steps decodes it once. */
    p.reads = 0;
    for (size_t at = 0; at < VISE_PACK_CHUNK; at += 65536)
        assert_int_equal(vise_packed_read(&packed, packer, &reader, at, 65536, back + at, &err), VISE_OK);
    assert_memory_equal(back, original, VISE_PACK_CHUNK);
    assert_true(p.reads <= 1);
    /* Outside is refused. */
    assert_int_equal(vise_packed_read(&packed, packer, &reader, n, 1, back, &err), VISE_EINTERNAL);
    err = (vise_error){0};
    assert_int_equal(vise_packed_read(&packed, packer, &reader, 1, UINT64_MAX, back, &err), VISE_EINTERNAL);
    vise_packed_close(&packed);
    vise_packer_free(packer);
    vise_free(p.bytes);
    vise_free(original);
    vise_free(back);
}

static void test_sizes(void **state)
{
    static const struct {
        vise_dtype dtype;
        distribution kind;
        double max_percent;
    } rows[] = {
        {VISE_DTYPE_BF16, NORMAL, 67.0},      {VISE_DTYPE_BF16, HALF_ZERO, 41.0},
        {VISE_DTYPE_BF16, TWO_OF_FOUR, 38.0}, {VISE_DTYPE_BF16, CONSTANT, 0.1},
        {VISE_DTYPE_BF16, ALL_ZERO, 0.1},     {VISE_DTYPE_F16, NORMAL, 86.0},
        {VISE_DTYPE_F32, NORMAL, 84.0},       {VISE_DTYPE_F32, ALL_ZERO, 0.1},
        {VISE_DTYPE_I8, CONSTANT, 0.1},       {VISE_DTYPE_I64, RAMP, 30.0},
        {VISE_DTYPE_U8, TEXT, 0.2},           {VISE_DTYPE_BF16, RANDOM, 100.02},
        {VISE_DTYPE_U8, RANDOM, 100.02},
    };
    const size_t n = 2 * VISE_PACK_CHUNK;
    vise_packer *packer = new_packer();
    uint8_t *original = block(n);
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vise_pack_info info = describe(rows[i].dtype, n);
        fill(rows[i].dtype, rows[i].kind, original, n);
        payload p = pack(packer, &info, original);
        double percent = 100.0 * (double)p.length / (double)n;
        if (percent > rows[i].max_percent)
            fail_msg("%s, %s: %.2f %% of the original, more than %.2f", vise_dtype_of(rows[i].dtype)->name,
                     kind_names[rows[i].kind], percent, rows[i].max_percent);
        vise_free(p.bytes);
    }
    vise_free(original);
    vise_packer_free(packer);
}

/* Other packers, other histories of a packer and other CPU levels give the same bytes. */
static void test_deterministic(void **state)
{
    const size_t n = VISE_PACK_CHUNK;
    vise_packer *used = new_packer();
    uint8_t *original = block(n);
    const vise_cpu_level level = vise_cpu();
    (void)state;
    for (size_t d = 0; d < DTYPES; d++) {
        for (int kind = 0; kind < KINDS; kind++) {
            vise_pack_info info = describe(dtypes[d], n);
            fill(dtypes[d], (distribution)kind, original, n);
            payload first = pack(used, &info, original);
            for (int l = 0; l <= (int)vise_cpu_highest(); l++) {
                vise_packer *fresh = new_packer();
                vise_cpu_force((vise_cpu_level)l);
                payload p = pack(fresh, &info, original);
                assert_int_equal(p.length, first.length);
                assert_memory_equal(p.bytes, first.bytes, p.length);
                vise_free(p.bytes);
                vise_packer_free(fresh);
            }
            vise_cpu_force(level);
            vise_free(first.bytes);
        }
    }
    vise_free(original);
    vise_packer_free(used);
}

/* A damaged tensor is refused, or - where a bit does not matter - reads as it was. */
static void expect_error_or_equal(vise_packer *packer, const vise_pack_info *info, payload *p,
                                  const uint8_t *original, const char *how, size_t where, size_t *refused)
{
    vise_error err = {0};
    uint8_t *back = block((size_t)info->bytes);
    memset(back, 0, (size_t)info->bytes);
    vise_status status = unpack(packer, info, p, back, &err);
    if (status == VISE_OK && memcmp(back, original, (size_t)info->bytes) != 0)
        fail_msg("%s at %zu goes unnoticed", how, where);
    if (status != VISE_OK && (status == VISE_EINTERNAL || strstr(err.message, "file: tensor") == NULL))
        fail_msg("%s at %zu: status %d: %s", how, where, (int)status, err.message);
    *refused += status != VISE_OK;
    vise_free(back);
}

static void test_damage(void **state)
{
    static const struct {
        vise_dtype dtype;
        distribution kind;
    } rows[] = {{VISE_DTYPE_BF16, NORMAL}, {VISE_DTYPE_BF16, HALF_ZERO}, {VISE_DTYPE_F32, TWO_OF_FOUR},
                {VISE_DTYPE_U8, TEXT},     {VISE_DTYPE_I8, NORMAL},      {VISE_DTYPE_F16, RANDOM}};
    const size_t n = 3000;
    vise_packer *packer = new_packer();
    uint8_t original[3000];
    (void)state;
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        vise_pack_info info = describe(rows[r].dtype, n);
        fill(rows[r].dtype, rows[r].kind, original, n);
        payload p = pack(packer, &info, original);
        size_t refused = 0, length = p.length;
        for (size_t i = 0; i < length; i++) {
            for (int bit = 0; bit < 8; bit++) {
                p.bytes[i] = (uint8_t)(p.bytes[i] ^ 1u << bit);
                expect_error_or_equal(packer, &info, &p, original, "a flipped bit", i, &refused);
                p.bytes[i] = (uint8_t)(p.bytes[i] ^ 1u << bit);
            }
        }
        assert_true(refused >= length * 8 - 64); /* nearly every bit matters */
        refused = 0;
        for (p.length = 0; p.length < length; p.length++)
            expect_error_or_equal(packer, &info, &p, original, "truncation", p.length, &refused);
        assert_int_equal(refused, length);
        vise_free(p.bytes);
    }
    vise_packer_free(packer);
}

/* Metadata that does not belong to the payload. */
static void test_wrong_description(void **state)
{
    uint8_t original[64 * 32 * 2], back[64 * 32 * 2];
    vise_packer *packer = new_packer();
    vise_pack_info right, wrong[4];
    (void)state;
    fill(VISE_DTYPE_BF16, NORMAL, original, sizeof(original));
    assert_true(vise_pack_describe(VISE_DTYPE_BF16, 2, (const int64_t[]){64, 32}, &right));
    assert_true(vise_pack_describe(VISE_DTYPE_BF16, 2, (const int64_t[]){32, 64}, &wrong[0]));
    assert_true(vise_pack_describe(VISE_DTYPE_F16, 2, (const int64_t[]){64, 32}, &wrong[1]));
    assert_true(vise_pack_describe(VISE_DTYPE_BF16, 2, (const int64_t[]){64, 33}, &wrong[2]));
    assert_true(vise_pack_describe(VISE_DTYPE_BF16, 2, (const int64_t[]){1 << 20, 1 << 20}, &wrong[3]));
    payload p = pack(packer, &right, original);
    for (int i = 0; i < 4; i++) {
        vise_error err = {0};
        assert_int_equal(unpack(packer, &wrong[i], &p, back, &err), VISE_EFORMAT);
    }
    vise_free(p.bytes);
    vise_packer_free(packer);
}

/* Chunks made by hand: what no writer of ours makes. */
static void test_hostile_chunks(void **state)
{
    /* A zstd frame that claims 2^62 bytes, and one that is legitimate but too large for the plane. */
    static const uint8_t bomb[] = {0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x01, 0, 0};
    uint8_t large[64], chunk[256], out[64];
    uint8_t zeros[1000] = {0};
    size_t large_bytes = ZSTD_compress(large, sizeof(large), zeros, sizeof(zeros), 3);
    vise_packer *packer = new_packer();
    static const struct {
        const char *what;
        uint8_t head[24]; /* of a chunk of 16 bytes: 8 elements of 2 bytes */
        size_t bytes;     /* of the chunk */
        vise_status status;
    } rows[] = {
        {"empty", {0}, 0, VISE_EFORMAT},
        {"header alone", {1, 0, 2, 0, 8, 0, 0, 0}, 8, VISE_EFORMAT},
        {"unknown transform", {9, 0, 2, 0, 8, 0, 0, 0}, 40, VISE_EUNSUPPORTED},
        {"unknown flag", {1, 2, 2, 0, 8, 0, 0, 0}, 40, VISE_EUNSUPPORTED},
        {"unknown codec",
         {1, 0, 2, 0, 8, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0},
         40,
         VISE_EUNSUPPORTED},
        {"plane count", {1, 0, 3, 0, 8, 0, 0, 0}, 48, VISE_EFORMAT},
        {"too many kept",
         {1, 0, 2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0},
         42,
         VISE_EFORMAT},
        {"raw size",
         {1, 0, 2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0},
         40,
         VISE_EFORMAT},
        {"plane beyond chunk",
         {1, 0, 2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255},
         40,
         VISE_EFORMAT},
        {"junk behind",
         {1, 0, 2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0},
         41,
         VISE_EFORMAT},
        {"fine", {1, 0, 2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0}, 40, VISE_OK},
        {"no frame",
         {1, 0, 2, 0, 8, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0},
         40,
         VISE_EFORMAT},
    };
    (void)state;
    assert_false(ZSTD_isError(large_bytes));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vise_error err = {0};
        memset(chunk, 0, sizeof(chunk));
        memcpy(chunk, rows[i].head, sizeof(rows[i].head));
        vise_status status = vise_unpack_chunk(packer, chunk, rows[i].bytes, out, 16, "t", &err);
        if (status != rows[i].status)
            fail_msg("%s: status %d: %s", rows[i].what, (int)status, err.message);
    }
    for (int i = 0; i < 2; i++) {
        const uint8_t *frame = i ? large : bomb;
        size_t bytes = i ? large_bytes : sizeof(bomb);
        uint8_t head[16] = {0, 0, 1, 0, 16, 0, 0, 0, VISE_PACK_ZSTD, 0, 0, 0, (uint8_t)bytes, 0, 0, 0};
        vise_error err = {0};
        memcpy(chunk, head, 16);
        memcpy(chunk + 16, frame, bytes);
        assert_int_equal(vise_unpack_chunk(packer, chunk, 16 + bytes, out, 16, "t", &err), VISE_EFORMAT);
    }
    /* The bitmap of zeros must have as many bits as there are kept elements, inside the tensor. */
    for (int i = 0; i < 4; i++) {
        static const uint8_t bits[4] = {0x03, 0x07, 0x00, 0x81};
        uint8_t head[] = {1, 1, 3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0,       0, 0, 0, 0, 0,
                          0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, bits[i], 1, 2, 3, 4};
        vise_error err = {0};
        vise_status status = vise_unpack_chunk(packer, head, sizeof(head), out, 14, "t", &err);
        assert_int_equal(status, i == 0 ? VISE_OK : VISE_EFORMAT);
    }
    vise_packer_free(packer);
}

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static void test_hostile_tables(void **state)
{
    static const struct {
        const char *what;
        size_t from_end; /* of a u32 in the footer */
        uint32_t value;
        vise_status status;
    } rows[] = {
        {"fine", 32, 1u << 20, VISE_OK},
        {"chunk size 0", 32, 0, VISE_EFORMAT},
        {"chunk size odd", 32, 1000003, VISE_EFORMAT},
        {"chunk size huge", 32, 1u << 31, VISE_EFORMAT},
        {"no chunks", 28, 0, VISE_EFORMAT},
        {"too many chunks", 28, UINT32_MAX, VISE_EFORMAT},
        {"unknown flags", 24, 1, VISE_EUNSUPPORTED},
        {"later version", 20, 2, VISE_EUNSUPPORTED},
    };
    uint8_t original[4096], back[4096];
    vise_packer *packer = new_packer();
    vise_pack_info info = describe(VISE_DTYPE_F32, sizeof(original));
    (void)state;
    fill(VISE_DTYPE_F32, NORMAL, original, sizeof(original));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vise_error err = {0};
        payload p = pack(packer, &info, original);
        put_u32(p.bytes + p.length - rows[i].from_end, rows[i].value);
        vise_status status = unpack(packer, &info, &p, back, &err);
        if (status != rows[i].status)
            fail_msg("%s: status %d: %s", rows[i].what, (int)status, err.message);
        vise_free(p.bytes);
    }
    vise_packer_free(packer);
}

/* Any zstd reads the planes: here through its simplest function. */
static void test_stock_zstd(void **state)
{
    const size_t n = VISE_PACK_CHUNK, elements = n / 2;
    vise_error err = {0};
    vise_packer *packer = new_packer();
    uint8_t *original = block(n), *coded = block(vise_pack_bound(n)), *plane = block(elements);
    vise_pack_entry entry;
    (void)state;
    fill(VISE_DTYPE_BF16, NORMAL, original, n);
    assert_int_equal(vise_pack_chunk(packer, VISE_DTYPE_BF16, original, n, coded, &entry, &err), VISE_OK);
    /* Two planes: exponents as literals-only frame, sign and mantissa raw. */
    assert_int_equal(coded[8], VISE_PACK_LITERALS);
    assert_int_equal(coded[16], VISE_PACK_RAW);
    size_t frame = (size_t)coded[12] | (size_t)coded[13] << 8 | (size_t)coded[14] << 16;
    assert_int_equal(ZSTD_decompress(plane, elements, coded + 24, frame), elements);
    for (size_t i = 0; i < elements; i++) {
        uint16_t x;
        memcpy(&x, original + 2 * i, 2);
        assert_int_equal(plane[i], (uint8_t)(x >> 7));
        assert_int_equal(coded[24 + frame + i], (x & 0x7f) | (x >> 8 & 0x80));
    }
    vise_free(original);
    vise_free(coded);
    vise_free(plane);
    vise_packer_free(packer);
}

static void test_metadata(void **state)
{
    static const struct {
        const char *value;
        vise_status status;
    } rows[] = {
        {"{\"dtype\":\"BF16\",\"shape\":[2,3]}", VISE_OK},
        {"{\"shape\":[2,3],\"dtype\":\"BF16\",\"later\":1}", VISE_OK},
        {"{\"dtype\":\"BF16\",\"shape\":[]}", VISE_OK},
        {"{\"dtype\":\"BF16\"}", VISE_EFORMAT},
        {"{\"shape\":[2]}", VISE_EFORMAT},
        {"{\"dtype\":\"BF17\",\"shape\":[2,3]}", VISE_EFORMAT},
        {"{\"dtype\":\"BF16\",\"shape\":[-2]}", VISE_EFORMAT},
        {"{\"dtype\":\"BF16\",\"shape\":[2.5]}", VISE_EFORMAT},
        {"{\"dtype\":\"BF16\",\"shape\":[\"2\"]}", VISE_EFORMAT},
        {"{\"dtype\":\"BF16\",\"shape\":[1e300]}", VISE_EFORMAT},
        {"{\"dtype\":\"BF16\",\"shape\":[4000000000,4000000000,4000000000]}", VISE_EFORMAT},
        {"{\"dtype\":\"BF16\",\"shape\":[1,1,1,1,1,1,1,1,1]}", VISE_EFORMAT},
        {"{\"dtype\":\"F4\",\"shape\":[3]}", VISE_EFORMAT},
        {"{\"dtype\":\"BF16\",\"shape\":{\"a\":2}}", VISE_EFORMAT},
        {"[]", VISE_EFORMAT},
        {"", VISE_EFORMAT},
    };
    vise_pack_info info;
    vise_buf buf;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vise_error err = {0};
        vise_status status = vise_pack_get_tensor("f: t", rows[i].value, strlen(rows[i].value), &info, &err);
        if (status != rows[i].status)
            fail_msg("%s: status %d: %s", rows[i].value, (int)status, err.message);
    }
    assert_true(vise_pack_describe(VISE_DTYPE_BF16, 2, (const int64_t[]){2, 3}, &info));
    assert_int_equal(info.bytes, 12);
    vise_buf_init(&buf, 1 << 16);
    vise_pack_put_version(&buf);
    vise_buf_add_char(&buf, ',');
    vise_pack_put_tensor(&buf, "a \"b\"\\\n", &info);
    assert_string_equal(buf.data, "\"vise.packed\":\"1\",\"vise.packed:a \\\"b\\\"\\\\\\u000a\":"
                                  "\"{\\\"dtype\\\":\\\"BF16\\\",\\\"shape\\\":[2,3]}\"");
    vise_buf_deinit(&buf);

    vise_error err = {0};
    assert_int_equal(vise_pack_get_version("f", "1", &err), VISE_OK);
    assert_int_equal(vise_pack_get_version("f", "2", &err), VISE_EUNSUPPORTED);
    err = (vise_error){0};
    assert_int_equal(vise_pack_get_version("f", "one", &err), VISE_EFORMAT);
    err = (vise_error){0};
    assert_int_equal(vise_pack_get_version("f", "", &err), VISE_EFORMAT);
}

/* Within the room that a memory plan gives it, and with a clear error where that is not there. */
static void test_memory(void **state)
{
    const size_t n = VISE_PACK_CHUNK;
    uint8_t *original = block(n), *back = block(n);
    (void)state;
    for (int coding = 0; coding < 2; coding++) {
        for (size_t d = 0; d < DTYPES; d++) {
            for (int kind = 0; kind < KINDS; kind++) {
                vise_error err = {0};
                vise_pool *pool;
                vise_packer *helper = new_packer(), *packer;
                vise_pack_info info = describe(dtypes[d], n);
                assert_int_equal(vise_pool_new(vise_packer_bytes(coding) + 65536, &pool, &err), VISE_OK);
                assert_int_equal(vise_packer_new(pool, &packer, &err), VISE_OK);
                fill(dtypes[d], (distribution)kind, original, n);
                payload p = pack(coding ? packer : helper, &info, original);
                if (unpack(coding ? helper : packer, &info, &p, back, &err) != VISE_OK)
                    fail_msg("%s", err.message);
                assert_memory_equal(original, back, n);
                vise_free(p.bytes);
                vise_packer_free(packer);
                vise_packer_free(helper);
                assert_int_equal(vise_pool_used(pool), 0);
                vise_pool_free(pool);
            }
        }
    }
    vise_pool *pool;
    vise_packer *packer;
    vise_error err = {0};
    vise_pack_entry entry;
    uint8_t *coded = block(vise_pack_bound(n));
    fill(VISE_DTYPE_BF16, NORMAL, original, n);
    for (size_t limit = 65536; limit < vise_packer_bytes(true) / 2; limit *= 2) {
        err = (vise_error){0};
        assert_int_equal(vise_pool_new(limit, &pool, &err), VISE_OK);
        assert_int_equal(vise_packer_new(pool, &packer, &err), VISE_OK);
        vise_status status = vise_pack_chunk(packer, VISE_DTYPE_BF16, original, n, coded, &entry, &err);
        assert_true(status == VISE_ERESOURCE || status == VISE_OK);
        vise_packer_free(packer);
        vise_pool_free(pool);
    }
    vise_free(coded);
    vise_free(original);
    vise_free(back);
}

/* Every allocation fails once: an error, no leak (seen by the address sanitizer), and the packer still
 * works. */
static void test_allocation_failures(void **state)
{
    const size_t n = 50000;
    vise_packer *helper = new_packer();
    vise_pack_info info = describe(VISE_DTYPE_BF16, n);
    uint8_t *original = block(n), *back = block(n), *coded = block(vise_pack_bound(n));
    (void)state;
    fill(VISE_DTYPE_BF16, HALF_ZERO, original, n);
    payload p = pack(helper, &info, original);
    int failures = 0;
    for (uint64_t i = 1; i < 100; i++) {
        vise_error err = {0};
        vise_packer *packer;
        vise_pack_entry entry;
        vise_alloc_fail_after(i);
        vise_status status = vise_packer_new(NULL, &packer, &err);
        if (status == VISE_OK) {
            status = vise_pack_chunk(packer, VISE_DTYPE_BF16, original, n, coded, &entry, &err);
            if (status == VISE_OK)
                status = unpack(packer, &info, &p, back, &err);
            vise_alloc_fail_after(0);
            err = (vise_error){0};
            assert_int_equal(unpack(packer, &info, &p, back, &err), VISE_OK);
            assert_memory_equal(original, back, n);
            vise_packer_free(packer);
        }
        vise_alloc_fail_after(0);
        assert_true(status == VISE_OK || status == VISE_ERESOURCE);
        failures += status != VISE_OK;
    }
    assert_true(failures >= 8);
    vise_packer_free(helper);
    vise_free(p.bytes);
    vise_free(original);
    vise_free(back);
    vise_free(coded);
}

/* The fast zero-compact against its reference. */
static void test_zeros(void **state)
{
    const vise_cpu_level level = vise_cpu();
    static uint8_t elements[4 * 1100], bitmap[2][200], kept[2][4 * 1100 + VISE_ZEROS_SLACK], back[4 * 1100];
    vise_rng rng;
    (void)state;
    vise_rng_init(&rng, 3, "zeros");
    for (int l = 0; l <= (int)vise_cpu_highest(); l++) {
        vise_cpu_force((vise_cpu_level)l);
        for (size_t size = 1; size <= 4; size *= 2) {
            for (size_t n = 0; n < 1100; n += n < 70 ? 1 : 97) {
                for (size_t i = 0; i < n * size; i++)
                    elements[i] = vise_rng_below(&rng, 3) ? 0 : (uint8_t)vise_rng_next(&rng);
                size_t a = vise_zeros_map_ref(size, elements, n, bitmap[0]);
                size_t b = vise_zeros_map(size, elements, n, bitmap[1]);
                assert_int_equal(a, b);
                assert_int_equal(a, vise_zeros_kept(bitmap[0], n));
                assert_memory_equal(bitmap[0], bitmap[1], (n + 7) / 8);
                vise_zeros_compact_ref(size, elements, n, bitmap[0], kept[0]);
                vise_zeros_compact(size, elements, n, bitmap[0], kept[1]);
                assert_memory_equal(kept[0], kept[1], a * size);
                memset(back, 0xA5, sizeof(back));
                vise_zeros_expand(size, kept[1], n, bitmap[0], back);
                assert_memory_equal(back, elements, n * size);
                assert_int_equal(n * size < sizeof(back) ? back[n * size] : 0xA5, 0xA5);
                vise_zeros_expand_ref(size, kept[0], n, bitmap[0], back);
                assert_memory_equal(back, elements, n * size);
            }
        }
    }
    vise_cpu_force(level);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_damage),         cmocka_unit_test(test_wrong_description),
        cmocka_unit_test(test_hostile_chunks), cmocka_unit_test(test_hostile_tables),
        cmocka_unit_test(test_stock_zstd),     cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_memory),         cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
