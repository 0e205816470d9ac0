/* The packed form beside `zstd -3` on the raw bytes and a plain copy: size, coding and decoding on one
 * thread.
 *
 *     bench_packed [MEGABYTES] [MODEL.safetensors...]
 *
 * Weights are generated as those of trained networks look to a byte coder: normal values with log-normal row
 * and column scales and a few large columns. Decoding includes the checksums; both sides decode from memory
 * to memory. Times are of this thread's processor clock, the best of several rounds in which the contenders
 * take turns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <time.h>
#include <zstd.h>

#include "core/cpu.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/rng.h"
#include "formats/packed.h"
#include "tensor/dtype.h"

#define COLS   4096
#define POOL   ((size_t)1 << 20)
#define ROUNDS 5

static void stop(const char *what)
{
    fprintf(stderr, "bench_packed: %s\n", what);
    exit(1);
}

static void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        stop(err->message);
}

static void *block(size_t bytes)
{
    vise_error err = {0};
    void *out;
    must(vise_alloc(bytes, &out, &err), &err);
    memset(out, 1, bytes); /* page faults are not what is timed */
    return out;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- data ---------------------------------------------------------------------------------------- */

typedef enum sparsity { DENSE, UNSTRUCTURED, TWO_OF_FOUR } sparsity;
typedef enum coding { AS_FLOATS, INT8_ROWS, INT4_GROUPS } coding;

typedef struct data_set {
    const char *name;
    vise_dtype dtype;
    sparsity sparsity;
    coding coding;
    double max_percent; /* the size that must not be exceeded; 0: none */
} data_set;

static const data_set sets[] = {
    {"bf16 dense", VISE_DTYPE_BF16, DENSE, AS_FLOATS, 67.5},
    {"bf16 50 %", VISE_DTYPE_BF16, UNSTRUCTURED, AS_FLOATS, 40},
    {"bf16 2:4", VISE_DTYPE_BF16, TWO_OF_FOUR, AS_FLOATS, 40},
    {"f16 dense", VISE_DTYPE_F16, DENSE, AS_FLOATS, 0},
    {"f32 dense", VISE_DTYPE_F32, DENSE, AS_FLOATS, 0},
    {"f32 50 %", VISE_DTYPE_F32, UNSTRUCTURED, AS_FLOATS, 0},
    {"int8 rows", VISE_DTYPE_I8, DENSE, INT8_ROWS, 0},
    {"int4 g128", VISE_DTYPE_I32, DENSE, INT4_GROUPS, 0},
};

static int by_magnitude(const void *a, const void *b)
{
    float x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
    return (x > y) - (x < y);
}

static void prune_row(float *row, sparsity how)
{
    if (how == UNSTRUCTURED) {
        static float sorted[COLS];
        memcpy(sorted, row, sizeof(sorted));
        qsort(sorted, COLS, sizeof(float), by_magnitude);
        float limit = fabsf(sorted[COLS / 2]);
        for (size_t c = 0; c < COLS; c++)
            row[c] = fabsf(row[c]) < limit ? 0.0f : row[c];
    } else if (how == TWO_OF_FOUR) {
        for (size_t c = 0; c < COLS; c += 4) {
            for (int drop = 0; drop < 2; drop++) {
                size_t least = SIZE_MAX;
                for (size_t i = c; i < c + 4; i++)
                    if (row[i] != 0.0f && (least == SIZE_MAX || fabsf(row[i]) < fabsf(row[least])))
                        least = i;
                if (least != SIZE_MAX)
                    row[least] = 0.0f;
            }
        }
    }
}

/* Symmetric codes of a row, rounded to nearest: int8 with one scale, or int4 with one per 128, eight to a
 * word. */
static size_t code_row(const float *row, coding how, uint8_t *out)
{
    const size_t group = how == INT8_ROWS ? COLS : 128;
    const float top = how == INT8_ROWS ? 127.0f : 7.0f;
    for (size_t g = 0; g < COLS; g += group) {
        float max = 0;
        for (size_t c = g; c < g + group; c++)
            max = fmaxf(max, fabsf(row[c]));
        for (size_t c = g; c < g + group; c++) {
            int code = (int)lrintf(row[c] / max * top);
            if (how == INT8_ROWS)
                out[c] = (uint8_t)code;
            else
                out[c / 2] = (uint8_t)(c % 2 ? out[c / 2] | (code + 8) << 4 : code + 8);
        }
    }
    return how == INT8_ROWS ? COLS : COLS / 2;
}

static void generate(const data_set *set, uint8_t *out, size_t bytes)
{
    static float normal[POOL], scale[COLS], row[COLS];
    vise_rng rng;
    vise_rng_init(&rng, 1, set->name);
    for (size_t i = 0; i < POOL; i++)
        normal[i] = (float)vise_rng_normal(&rng);
    for (size_t c = 0; c < COLS; c++)
        scale[c] = (float)(exp(0.12 * vise_rng_normal(&rng)) * (vise_rng_uniform(&rng) < 0.002 ? 4 : 1));
    size_t row_bytes;
    for (size_t at = 0; at < bytes; at += row_bytes) {
        float row_scale = (float)(0.02 * exp(0.25 * vise_rng_normal(&rng)));
        size_t start = (size_t)vise_rng_below(&rng, POOL);
        for (size_t c = 0; c < COLS; c++)
            row[c] = normal[(start + c) % POOL] * row_scale * scale[c];
        prune_row(row, set->sparsity);
        if (set->coding == AS_FLOATS) {
            row_bytes = COLS * (size_t)vise_dtype_of(set->dtype)->bits / 8;
            vise_from_f32(set->dtype, row, out + at, COLS);
        } else {
            row_bytes = code_row(row, set->coding, out + at);
        }
    }
}

/* ---- the contest --------------------------------------------------------------------------------- */

typedef struct figures {
    double original, packed, zstd;                     /* bytes */
    double copy, pack, unpack, zstd_code, zstd_decode; /* best seconds */
} figures;

static void best(double *least, double time)
{
    if (*least == 0 || time < *least)
        *least = time;
}

/* Adds one tensor. */
static void contest(vise_packer *packer, ZSTD_CCtx *cctx, ZSTD_DCtx *dctx, vise_dtype dtype,
                    const uint8_t *original, size_t bytes, figures *sum)
{
    vise_error err = {0};
    size_t chunks = (size_t)vise_pack_chunks(bytes), zstd_room = ZSTD_compressBound(bytes), zstd_bytes = 0,
           packed_bytes = 0;
    vise_pack_entry *entries = block(chunks * sizeof(vise_pack_entry));
    uint8_t *packed = block((size_t)vise_pack_payload_bound(bytes)), *zstd = block(zstd_room),
            *back = block(bytes);
    figures one = {0};
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        memcpy(back, original, bytes);
        best(&one.copy, seconds() - start);

        start = seconds();
        packed_bytes = 0;
        for (size_t i = 0; i < chunks; i++) {
            must(vise_pack_chunk(packer, dtype, original + i * VISE_PACK_CHUNK,
                                 vise_pack_chunk_bytes(bytes, i), packed + packed_bytes, &entries[i], &err),
                 &err);
            entries[i].offset = packed_bytes;
            packed_bytes += entries[i].coded_bytes;
        }
        best(&one.pack, seconds() - start);

        memset(back, 0, bytes);
        start = seconds();
        for (size_t i = 0; i < chunks; i++) {
            uint8_t *out = back + i * VISE_PACK_CHUNK;
            must(vise_unpack_chunk(packer, packed + entries[i].offset, entries[i].coded_bytes, out,
                                   entries[i].original_bytes, "bench", &err),
                 &err);
            if (vise_xxh64(out, entries[i].original_bytes, 0) != entries[i].xxh64)
                stop("a chunk's checksum is wrong");
        }
        best(&one.unpack, seconds() - start);
        if (memcmp(back, original, bytes) != 0)
            stop("unpacking does not restore the original");

        if (round < 2) { /* slow, and not what we are held against */
            start = seconds();
            zstd_bytes = ZSTD_compressCCtx(cctx, zstd, zstd_room, original, bytes, 3);
            best(&one.zstd_code, seconds() - start);
        }
        start = seconds();
        if (ZSTD_isError(zstd_bytes) || ZSTD_decompressDCtx(dctx, back, bytes, zstd, zstd_bytes) != bytes)
            stop("zstd failed");
        best(&one.zstd_decode, seconds() - start);
    }
    sum->original += (double)bytes;
    sum->packed += (double)(packed_bytes + vise_pack_seek_bytes(bytes));
    sum->zstd += (double)zstd_bytes;
    sum->copy += one.copy;
    sum->pack += one.pack;
    sum->unpack += one.unpack;
    sum->zstd_code += one.zstd_code;
    sum->zstd_decode += one.zstd_decode;
    vise_free(entries);
    vise_free(packed);
    vise_free(zstd);
    vise_free(back);
}

static void print(const char *name, const figures *f)
{
    double gb = f->original * 1e-9;
    printf("%-14s %7.0f MB | %6.2f %%  %5.2f  %5.2f | %6.2f %%  %5.2f  %5.2f | %6.1f | %5.2fx\n", name,
           f->original * 1e-6, 100 * f->packed / f->original, gb / f->pack, gb / f->unpack,
           100 * f->zstd / f->original, gb / f->zstd_code, gb / f->zstd_decode, gb / f->copy,
           f->zstd_decode / f->unpack);
    fflush(stdout);
}

/* All tensors of a safetensors file. */
static void contest_model(vise_packer *packer, ZSTD_CCtx *cctx, ZSTD_DCtx *dctx, const char *path)
{
    vise_error err = {0};
    char *file, *name = NULL;
    size_t length, header = 0;
    cJSON *json;
    figures sum = {0};
    must(vise_file_read_all(path, (size_t)4 << 30, &file, &length, &err), &err);
    if (length >= 8)
        memcpy(&header, file, 8);
    if (length < 8 || header > length - 8)
        stop("not a safetensors file");
    must(vise_json_parse(path, file + 8, header, &json, &err), &err);
    const cJSON *tensor;
    cJSON_ArrayForEach(tensor, json)
    {
        const char *dtype_name;
        vise_dtype dtype;
        const cJSON *offsets = cJSON_GetObjectItem(tensor, "data_offsets");
        if (strcmp(tensor->string, "__metadata__") == 0)
            continue;
        must(vise_json_text(path, tensor, "dtype", true, &dtype_name, &err), &err);
        size_t begin = (size_t)cJSON_GetNumberValue(cJSON_GetArrayItem(offsets, 0));
        size_t end = (size_t)cJSON_GetNumberValue(cJSON_GetArrayItem(offsets, 1));
        if (!vise_dtype_from_name(dtype_name, strlen(dtype_name), &dtype) || end > length - 8 - header ||
            begin > end)
            stop("not a safetensors file");
        if (end - begin >= VISE_PACK_TENSOR_MIN)
            contest(packer, cctx, dctx, dtype, (const uint8_t *)file + 8 + header + begin, end - begin, &sum);
    }
    must(vise_strdup(vise_path_base(path), &name, &err), &err);
    name[strlen(name) < 14 ? strlen(name) : 14] = '\0';
    print(name, &sum);
    vise_free(name);
    cJSON_Delete(json);
    vise_free(file);
}

int main(int argc, char **argv)
{
    vise_error err = {0};
    size_t megabytes = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 256;
    vise_packer *packer;
    ZSTD_CCtx *cctx = ZSTD_createCCtx();
    ZSTD_DCtx *dctx = ZSTD_createDCtx();
    int failed = 0;
    must(vise_packer_new(NULL, &packer, &err), &err);
    printf("packed form, 1 thread, CPU level %s, %s, zstd %s; sizes in %% of the original, speeds in GB/s of "
           "original bytes\n",
           vise_cpu_level_name(vise_cpu()), vise_cpu_model(), ZSTD_versionString());
    printf("%-14s %10s | %8s  %5s  %5s | %8s  %5s  %5s | %6s | %s\n", "data", "", "ours", "pack", "unpk",
           "zstd -3", "code", "decd", "memcpy", "unpack / zstd");
    for (size_t s = 0; megabytes > 0 && s < sizeof(sets) / sizeof(sets[0]); s++) {
        figures sum = {0};
        size_t row = COLS * 4, bytes = (megabytes * 1000000 + row - 1) / row * row;
        uint8_t *original = block(bytes);
        generate(&sets[s], original, bytes);
        contest(packer, cctx, dctx, sets[s].dtype, original, bytes, &sum);
        print(sets[s].name, &sum);
        vise_free(original);
        if (sets[s].max_percent > 0 && 100 * sum.packed / sum.original > sets[s].max_percent) {
            printf("FAIL %s is larger than %.1f %%\n", sets[s].name, sets[s].max_percent);
            failed = 1;
        }
    }
    for (int i = 2; i < argc; i++)
        contest_model(packer, cctx, dctx, argv[i]);
    vise_packer_free(packer);
    ZSTD_freeCCtx(cctx);
    ZSTD_freeDCtx(dctx);
    return failed;
}
